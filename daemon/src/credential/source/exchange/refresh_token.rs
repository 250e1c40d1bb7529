//! Refresh tokens that a server replaced. A server that rotates them accepts each once (RFC 9700, section 4.14.2), while
//! the configured identity, or a store that was moved, may still have an old one.

use regauth_shared::Secret;

/// Refresh tokens that were replaced since the start, and the one in their place.
#[derive(Debug, Default)]
pub(super) struct ReplacedRefreshToken {
    old: Vec<Secret>,
    new: Option<Secret>,
}

impl ReplacedRefreshToken {
    /// Token to send in place of the one that the identity or the store gives.
    pub(super) fn current<'a>(&'a self, given: &'a Secret) -> &'a Secret {
        match &self.new {
            Some(new) if self.was_replaced(given) => new,
            _ => given,
        }
    }

    /// Records that the server gave `new` in place of [`ReplacedRefreshToken::current`]. A given token of another login
    /// begins a new record.
    pub(super) fn replace(&mut self, given: Secret, new: Secret) {
        let is_known = self.was_replaced(&given);
        if !is_known && !self.new.as_ref().is_some_and(|new| new.is_same(&given)) {
            self.old.clear();
        }
        if !is_known {
            self.old.truncate(MAX_OLD - 1);
            self.old.insert(0, given);
        }
        self.new = Some(new);
    }

    fn was_replaced(&self, given: &Secret) -> bool {
        self.old.iter().any(|old| old.is_same(given))
    }
}

/// Replaced refresh tokens that are remembered: a move of the store takes less time than so many renewals.
const MAX_OLD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(text).unwrap()
    }

    fn check(replaced: &ReplacedRefreshToken, given: &str, current: &str) {
        assert_eq!(replaced.current(&secret(given)).expose(), current, "{given}");
    }

    #[test]
    fn a_configured_token_stands_for_the_newest_one() {
        let mut replaced = ReplacedRefreshToken::default();
        check(&replaced, "a", "a");
        replaced.replace(secret("a"), secret("a2"));
        replaced.replace(secret("a"), secret("a3"));
        check(&replaced, "a", "a3");
        check(&replaced, "b", "b");
    }

    #[test]
    fn every_token_that_the_store_had_stands_for_the_newest_one() {
        let mut replaced = ReplacedRefreshToken::default();
        for (given, new) in [("a", "a2"), ("a2", "a3"), ("a3", "a4")] {
            replaced.replace(secret(given), secret(new));
        }
        for given in ["a", "a2", "a3", "a4"] {
            check(&replaced, given, "a4");
        }
    }

    #[test]
    fn a_token_of_another_login_is_never_sent_in_place_of_one() {
        let mut replaced = ReplacedRefreshToken::default();
        replaced.replace(secret("a"), secret("a2"));
        replaced.replace(secret("b"), secret("b2"));
        check(&replaced, "b", "b2");
        check(&replaced, "a", "a");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut replaced = ReplacedRefreshToken::default();
        for number in 0..=MAX_OLD {
            replaced.replace(secret(&format!("t{number}")), secret(&format!("t{}", number + 1)));
        }
        let newest = format!("t{}", MAX_OLD + 1);
        check(&replaced, "t1", &newest);
        check(&replaced, "t0", "t0");
    }
}
