//! Statuses with which a registry rejects a token: the key `rejected-by` of a registry.
//!
//! The list decides how strong a denial is, and what a check of the token means. It never condemns a token by itself: the
//! registry is asked about the token first (`control/token_check.rs`).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use http::StatusCode;
use regauth_shared::rejection::USUAL_REJECTIONS;

/// Statuses that reject a token; never empty. Default: [`USUAL_REJECTIONS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejections(BTreeSet<u16>);

/// Error of making [`Rejections`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRejections {
    /// Nothing is listed.
    #[error("it must not be empty; without it, the statuses are 401 and 403")]
    Empty,
    /// A number is no status that can reject a token.
    #[error("{0} rejects no token: a status is from 400 to 499, but not 407, 408, 425 or 429")]
    OutOfRange(i64),
}

impl Rejections {
    /// Parses one status.
    ///
    /// # Errors
    /// [`InvalidRejections::OutOfRange`].
    pub fn status(number: i64) -> Result<u16, InvalidRejections> {
        let status = u16::try_from(number).ok();
        let allowed = status.filter(|status| CLIENT_ERRORS.contains(status) && !OTHER_REASONS.contains(status));
        allowed.ok_or(InvalidRejections::OutOfRange(number))
    }

    /// The statuses of a request, in any order.
    ///
    /// # Errors
    /// [`InvalidRejections`].
    pub fn new(statuses: &[u16]) -> Result<Self, InvalidRejections> {
        let statuses = statuses.iter().map(|status| Self::status((*status).into()));
        let statuses: BTreeSet<u16> = statuses.collect::<Result<_, _>>()?;
        match statuses.is_empty() {
            true => Err(InvalidRejections::Empty),
            false => Ok(Self(statuses)),
        }
    }

    /// True if the registry rejects a token with this status.
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.contains(&status.as_u16())
    }

    /// The statuses, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }
}

impl Default for Rejections {
    fn default() -> Self {
        Self(USUAL_REJECTIONS.into())
    }
}

const CLIENT_ERRORS: RangeInclusive<u16> = 400..=499;
/// Statuses about a proxy, a slow client, early data and an overload.
const OTHER_REASONS: [u16; 4] = [407, 408, 425, 429];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_client_errors_that_may_be_about_a_token_are_listed() {
        let read = |statuses: &[u16]| Rejections::new(statuses).map(|read| read.iter().collect::<Vec<_>>());
        assert_eq!(read(&[403, 401, 403]), Ok(vec![401, 403]));
        assert_eq!(read(&[400, 404, 499]), Ok(vec![400, 404, 499]));
        assert_eq!(read(&[]), Err(InvalidRejections::Empty));
        for status in [0, 200, 302, 399, 407, 408, 425, 429, 500, 503] {
            let refused = InvalidRejections::OutOfRange(status.into());
            assert_eq!(read(&[401, status]), Err(refused), "{status}");
        }
        for number in [-1, 65_937] {
            assert_eq!(Rejections::status(number), Err(InvalidRejections::OutOfRange(number)));
        }
    }
}
