//! Last trouble with a registry: it gave no answer, proved no identity, or rejected the token.
//!
//! A trouble ends with the registry's next answer, and is kept for `show`. A request that finds no trouble costs one atomic
//! load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use regauth_shared::RegistryName;
use time::OffsetDateTime;

use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::UpstreamFailure;

/// Description of a failure, in the words of `show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Stable name for programs.
    pub cause: &'static str,
    /// Description, with the host or the corporate proxy.
    pub message: String,
    /// Next step for the person.
    pub hint: String,
    /// Time of the last failed request.
    pub at: OffsetDateTime,
    /// True if the registry has answered since.
    pub is_over: bool,
}

impl Trouble {
    /// Trouble that an error of a request to `host` is a sign of; `None` if the registry is not the cause.
    pub(crate) fn of(registry: &RegistryName, host: impl std::fmt::Display, error: &ProxyError) -> Option<Self> {
        let (cause, message, hint) = match error {
            ProxyError::Upstream(failure) | ProxyError::Unconnected { failure, .. } => (
                failure.name(),
                format!("{host}{} {}", error.addresses(), failure.predicate()),
                failure.remedy().to_owned(),
            ),
            ProxyError::CorporateProxy(error) => (
                UpstreamFailure::CorporateProxy.name(),
                error.to_string(),
                error.advice().to_owned(),
            ),
            ProxyError::TokenRejected(_) => (
                REJECTED,
                format!("{host} rejected the token"),
                format!("`regauthctl verify {registry}` asks again, `regauthctl login {registry}` replaces the token"),
            ),
            _ => return None,
        };
        Some(Self {
            cause,
            message,
            hint,
            at: OffsetDateTime::now_utc(),
            is_over: false,
        })
    }

    /// True if the registry answers, and rejects the token.
    pub fn is_rejection(&self) -> bool {
        self.cause == REJECTED
    }
}

/// The last trouble of one registry.
#[derive(Debug, Default)]
pub struct LastTrouble {
    /// True while there is a trouble that is not over.
    is_current: AtomicBool,
    last: Mutex<Option<Trouble>>,
}

impl LastTrouble {
    /// Records a trouble.
    pub(crate) fn begin(&self, trouble: Trouble) {
        *self.lock() = Some(trouble);
        self.is_current.store(true, Ordering::Relaxed);
    }

    /// Ends the trouble, since the registry has answered. A denial does not end a rejection. Returns the trouble that ended.
    pub(crate) fn end(&self, is_denial: bool) -> Option<Trouble> {
        if !self.is_current.load(Ordering::Relaxed) {
            return None;
        }
        let mut last = self.lock();
        let trouble = last.as_mut().filter(|trouble| !trouble.is_over)?;
        if is_denial && trouble.is_rejection() {
            return None;
        }
        trouble.is_over = true;
        self.is_current.store(false, Ordering::Relaxed);
        Some(trouble.clone())
    }

    /// The last trouble, over or not.
    pub fn last(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REJECTED: &str = "token-rejected";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_a_trouble_and_a_denial_ends_no_rejection() {
        let name: RegistryName = "corp".parse().unwrap();
        let refused = ProxyError::Upstream(UpstreamFailure::Refused);
        let rejected = ProxyError::TokenRejected(name.clone());
        for (error, is_denial, ends) in [
            (&refused, false, true),
            (&refused, true, true),
            (&rejected, false, true),
            (&rejected, true, false),
        ] {
            let last = LastTrouble::default();
            assert_eq!(last.end(is_denial), None);
            last.begin(Trouble::of(&name, "corp.example:443", error).unwrap());
            assert_eq!(last.end(is_denial).is_some(), ends, "{error:?} {is_denial}");
            assert_eq!(last.last().unwrap().is_over, ends);
            assert!(last.last().unwrap().message.starts_with("corp.example:443 re"));
        }
        assert_eq!(Trouble::of(&name, "corp.example:443", &ProxyError::Busy), None);
    }
}
