//! Spellings of a header's name that servers treat as equal.

/// Is `name` equal to `known` for a server that reads `_` as `-`? Servers that pass headers on in environment variables do
/// (RFC 3875, section 4.1.18). Both names are in lower case.
pub(crate) fn is_alias_of(name: &str, known: &str) -> bool {
    let same = |(one, other): (u8, u8)| one == other || (one == b'_' && other == b'-');
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_and_hyphens_are_equal() {
        for (name, known, equal) in [
            ("private-token", "private-token", true),
            ("private_token", "private-token", true),
            ("privatetoken", "private-token", false),
            ("private-tokens", "private-token", false),
            ("private-token", "private_token", false),
        ] {
            assert_eq!(is_alias_of(name, known), equal, "{name}");
        }
    }
}
