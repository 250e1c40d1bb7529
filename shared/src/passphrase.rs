//! Rule for a new passphrase of the vault.
//!
//! A copy of the vault can be attacked without limit, and only scrypt slows the guesses. So the shortest passphrases are
//! refused. The rule does not recognise words or names: it keeps a person from a mistake, not from a bad choice.

use std::collections::BTreeSet;

use crate::Secret;

/// Checks a passphrase that is about to be set. One that was set before the rule existed still unlocks.
///
/// ```
/// use regauth_shared::{Secret, passphrase};
///
/// let check = |text| passphrase::check(&Secret::parse(text).unwrap()).is_ok();
/// assert!(check("correct horse battery staple"));
/// assert!(!check("x"));
/// ```
///
/// # Errors
/// [`WeakPassphrase`], which does not describe the passphrase.
pub fn check(passphrase: &Secret) -> Result<(), WeakPassphrase> {
    let characters = passphrase.expose().chars();
    if characters.clone().count() < MIN_CHARACTERS {
        return Err(WeakPassphrase::TooShort);
    }
    if characters.collect::<BTreeSet<_>>().len() < MIN_DIFFERENT {
        return Err(WeakPassphrase::TooFewDifferent);
    }
    Ok(())
}

/// Error of a passphrase that is guessed quickly.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassphrase {
    /// Fewer than 12 characters.
    #[error("a new passphrase needs at least {MIN_CHARACTERS} characters")]
    TooShort,
    /// Fewer than 5 different characters, such as `abababababab`.
    #[error("a new passphrase needs at least {MIN_DIFFERENT} different characters")]
    TooFewDifferent,
}

/// Next step after a [`WeakPassphrase`].
pub const HINT: &str = "nothing was changed; choose a longer one, for example five words picked at random";

const MIN_CHARACTERS: usize = 12;
const MIN_DIFFERENT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_passphrase_has_twelve_characters_of_which_five_differ() {
        for (text, expected) in [
            ("x", Err(WeakPassphrase::TooShort)),
            ("elevenchars", Err(WeakPassphrase::TooShort)),
            // Characters count, not bytes.
            ("\u{e4}\u{f6}\u{fc}\u{df}\u{e9}\u{e8}", Err(WeakPassphrase::TooShort)),
            ("aaaaaaaaaaaaaaaa", Err(WeakPassphrase::TooFewDifferent)),
            ("abcdabcdabcd", Err(WeakPassphrase::TooFewDifferent)),
            ("twelve chars", Ok(())),
        ] {
            assert_eq!(check(&Secret::parse(text).unwrap()), expected, "{text}");
        }
    }
}
