//! Name of a crate, and the path of its index file.

use std::fmt;
use std::sync::Arc;

/// Name of a crate in lower case, as index paths spell it. Cheap to copy.
///
/// ```
/// use regauthd::proxy::read_ahead::CrateName;
///
/// let name = CrateName::parse("Serde_JSON").unwrap();
/// assert_eq!(name.index_path(), "se/rd/serde_json");
/// assert_eq!(CrateName::of_index_path("se/rd/serde_json"), Some(name));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrateName(Arc<str>);

impl CrateName {
    /// Parses a name that cargo accepts in an index: letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_name = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_valid);
        is_name.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// Path of the crate's file below the index (the Cargo book, "Index files").
    pub fn index_path(&self) -> String {
        let name = &*self.0;
        let part = |from: usize, to: usize| name.get(from..to).unwrap_or_default();
        match name.len() {
            1 => format!("1/{name}"),
            2 => format!("2/{name}"),
            3 => format!("3/{}/{name}", part(0, 1)),
            _ => format!("{}/{}/{name}", part(0, 2), part(2, 4)),
        }
    }

    /// The crate whose file has exactly this path below the index.
    pub fn of_index_path(path: &str) -> Option<Self> {
        let name = Self::parse(path.rsplit('/').next()?)?;
        (name.index_path() == path).then_some(name)
    }
}

impl fmt::Display for CrateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// crates.io allows 64.
const MAX_LENGTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_that_cargo_asks_for_is_a_crate() {
        for path in ["1/a", "2/ab", "3/s/syn", "se/rd/serde", "pr/oc/proc-macro2"] {
            assert_eq!(CrateName::of_index_path(path).unwrap().index_path(), path);
        }
        for path in [
            "",
            "config.json",
            "serde",
            "se/rd/",
            "se/rd/syn",
            "Se/rd/Serde",
            "se/rd/serde/",
            "se/rd/../serde",
            "se/rd/s%65rde",
            "3/syn",
            "a",
            "é/x",
        ] {
            assert_eq!(CrateName::of_index_path(path), None, "{path}");
        }
    }
}
