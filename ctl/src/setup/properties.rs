//! Escapes of Java's properties, such as `gradle.properties`. [`ini`](super::ini) edits the lines.

use regauth_shared::ErrorBody;

use crate::error;

/// Checks that each `\u` has four hexadecimal digits. Java reads nothing of a file with another one, such as `C:\users`.
///
/// # Errors
/// An escape is malformed; the message names its line.
pub(super) fn check_escapes(text: &str) -> Result<(), ErrorBody> {
    let malformed = text
        .lines()
        .position(|line| !is_comment(line) && !has_valid_escapes(line));
    malformed.map_or(Ok(()), |index| {
        let message = format!(
            "the file is not a properties file, line {}: \\u without four hexadecimal digits",
            index + 1
        );
        Err(error::failed(message).hint("write a backslash twice in that line, and try again"))
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', '!'])
}

fn has_valid_escapes(line: &str) -> bool {
    let mut parts = line.split('\\').skip(1);
    while let Some(part) = parts.next() {
        if part.is_empty() {
            // An escaped backslash: the next part is plain text.
            parts.next();
        } else if let Some(digits) = part.strip_prefix('u') {
            let digits = digits.get(..4).unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_escape_is_named_with_its_line_and_without_its_text() {
        for (text, line) in [
            ("a=b\nkey=C:\\users\\s3cret\n", 2),
            ("a=\\u12", 1),
            ("a=\\\\\\uZZZZ", 1),
        ] {
            let message = check_escapes(text).unwrap_err().message;
            assert!(message.contains(&format!("line {line}:")), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
        for text in [
            "",
            "a=\\u00e9",
            "a=C:\\\\users",
            "# C:\\users",
            "a=b\\",
            "a=\\n\\\\\\u0041",
        ] {
            assert!(check_escapes(text).is_ok(), "{text}");
        }
    }
}
