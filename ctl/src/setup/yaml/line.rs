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
            let ends = content.match_indices(':').map(|(at, _)| at);
            let is_end = |at: &usize| {
                content
                    .get(at + 1..)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let at = ends.into_iter().find(is_end)?;
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
