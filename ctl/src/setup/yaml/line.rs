//! One line of a YAML file: its key and value, read and written. Pure.

/// Key and value of a line; `None` for a line of another form.
pub(super) fn key_and_value(content: &str) -> Option<(String, Option<String>)> {
    let (key, rest) = match content.chars().next()? {
        quote @ ('"' | '\'') => {
            let (key, rest) = content.get(1..)?.split_once(quote)?;
            (key.to_owned(), rest.trim_start().strip_prefix(':')?)
        }
        '[' | '{' | '?' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '-' | '<' => return None,
        _ => {
            let at = colon_before_value(content)?;
            (content.get(..at)?.trim_end().to_owned(), content.get(at + 1..)?)
        }
    };
    let rest = rest.trim();
    let value = match rest.chars().next() {
        None | Some('#') => None,
        Some(quote @ ('"' | '\'')) => {
            let inner = rest.get(1..)?;
            let end = inner.find(quote).unwrap_or(inner.len());
            inner.get(..end).map(str::to_owned)
        }
        Some(_) => Some(rest.split(" #").next().unwrap_or(rest).trim_end().to_owned()),
    };
    Some((key, value))
}

/// Position of the colon that ends a plain key: a blank or the end of the line follows.
fn colon_before_value(content: &str) -> Option<usize> {
    let is_end = |at: &usize| {
        let rest = content.get(at + 1..);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    content.match_indices(':').map(|(at, _)| at).find(is_end)
}

/// Position of the colon after the key of a mapping, which may be in quotation marks; `None` for a line without a key.
pub(super) fn first_mapping_colon(content: &str) -> Option<usize> {
    let content = content.trim_end();
    match content.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = 2 + content.get(1..)?.find(quote)?;
            let blanks = content.get(end..)?.len() - content.get(end..)?.trim_start().len();
            Some(end + blanks).filter(|at| {
                content
                    .get(*at..)
                    .is_some_and(|rest| colon_before_value(rest) == Some(0))
            })
        }
        '[' | '{' => None,
        _ => colon_before_value(without_comment(content)),
    }
}

/// Line without the comment behind a text outside quotation marks.
pub(super) fn without_comment(content: &str) -> &str {
    let comment = content.find(" #").or_else(|| content.find("\t#"));
    content
        .get(..comment.unwrap_or(content.len()))
        .unwrap_or_default()
        .trim_end()
}

/// The text as it is if all its characters are plain; otherwise in double quotes.
pub(super) fn quoted(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }
}

/// True for a character that a key may have without quotes.
pub(super) fn is_plain_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":_-".contains(c)
}

/// True for a character that a value may have without quotes.
pub(super) fn is_plain_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/:._-+=~".contains(c)
}
