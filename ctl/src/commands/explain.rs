//! `regauthctl explain`: the paragraph about a `regauth-error` code, from docs/troubleshooting.md.

use regauth_shared::{ErrorBody, ErrorKind};
use serde::Serialize;

use crate::output::Report;

/// Explain a code of the header regauth-error
///
/// Prints what the code means and what to do, as docs/troubleshooting.md has it. Without a code, lists all of them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The code, such as write-denied
    code: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl explain
  regauthctl explain token-rejected";

/// Paragraph about a code.
#[derive(Serialize)]
struct Explanation<'a> {
    code: &'a str,
    text: &'a str,
}

/// Prints one paragraph, or the codes.
pub(crate) fn run(arguments: &Arguments) -> Result<Report, ErrorBody> {
    let Some(code) = &arguments.code else {
        let codes: Vec<_> = paragraphs().map(|(code, _)| code).collect();
        return Report::from_value(&codes, codes.join("\n") + "\n");
    };
    let found = paragraphs().find(|(known, _)| known == code);
    let Some((code, text)) = found else {
        return Err(ErrorBody::new(ErrorKind::NotFound, "regauth has no such code")
            .hint("`regauthctl explain` lists the codes; a header without `regauth-error` comes from the registry"));
    };
    Report::from_value(&Explanation { code, text }, format!("{text}\n"))
}

/// Codes with their paragraphs, in the order of the page.
fn paragraphs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = TROUBLESHOOTING.split("\n### `").skip(1);
    sections.filter_map(|section| {
        let (code, rest) = section.split_once("`\n")?;
        let text = rest.split("\n#").next()?;
        Some((code, text.trim()))
    })
}

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_paragraph_of_a_code_and_no_more() {
        let (_, text) = paragraphs().find(|(code, _)| *code == "write-denied").unwrap();
        assert!(
            text.starts_with("A publish") && text.contains("then repeat.") && !text.contains("program"),
            "{text}"
        );
        assert!(paragraphs().count() >= 18);
    }
}
