//! Short tokens that a container registry's token service gave for one generation of a credential, by scope.
//!
//! A rotation replaces the generation, and its tokens end with it. Requests that need the same token at the same moment share
//! one fetch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regauth_shared::Secret;
use tokio::sync::OnceCell;

use crate::credential::header::CredentialHeader;
use crate::credential::lifetime::{ClockReading, Lifetime};
use crate::registry::Scheme;

/// Tokens of one generation.
#[derive(Debug, Default)]
pub(crate) struct ScopedTokens(Mutex<HashMap<String, Arc<Flight>>>);

/// Fetch of a token, and its result for all that wait.
type Flight = OnceCell<Result<Arc<ScopedToken>, NoScopedToken>>;

/// Short token, ready to be sent.
#[derive(Debug)]
pub(crate) struct ScopedToken {
    /// The header that carries it.
    pub(crate) header: CredentialHeader,
    /// `None` if the life is too long for a clock.
    lifetime: Option<Lifetime>,
}

/// Reason that a token service gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoScopedToken {
    /// It rejected the credential.
    Rejected,
    /// It gives nobody, or not this credential, a token for the scope.
    Denied,
    /// It gave no usable answer.
    Failed,
}

impl ScopedToken {
    /// A token that was asked for at `asked` and lives for `life`. It is used for nine tenths of it, because the registry has
    /// to get it before its end.
    pub(crate) fn new(token: &Secret, asked: ClockReading, life: Duration) -> Self {
        Self {
            header: CredentialHeader::new(&Scheme::Bearer, token),
            lifetime: Lifetime::new(asked, None, Some(life.mul_f64(USED_FRACTION))),
        }
    }

    fn has_ended(&self) -> bool {
        let lifetime = self.lifetime.as_ref();
        lifetime.is_some_and(|lifetime| lifetime.has_expired(ClockReading::now()))
    }
}

impl ScopedTokens {
    /// The token for a scope. One of the callers fetches it if there is none; the others wait for the result.
    ///
    /// # Errors
    /// The reason that the fetch gave none.
    pub(crate) async fn get(
        &self,
        scope: &str,
        fetch: impl Future<Output = Result<ScopedToken, NoScopedToken>>,
    ) -> Result<Arc<ScopedToken>, NoScopedToken> {
        let flight = self.flight(scope);
        let result = flight.get_or_init(|| async { fetch.await.map(Arc::new) }).await;
        result.clone()
    }

    /// Forgets the token for a scope, unless another one has replaced it: the registry did not accept it.
    pub(crate) fn forget(&self, scope: &str, token: &Arc<ScopedToken>) {
        let mut flights = self.lock();
        let is_it = |flight: &Arc<Flight>| matches!(flight.get(), Some(Ok(kept)) if Arc::ptr_eq(kept, token));
        if flights.get(scope).is_some_and(is_it) {
            flights.remove(scope);
        }
    }

    fn flight(&self, scope: &str) -> Arc<Flight> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(scope).filter(|flight| !is_over(flight)) {
            return Arc::clone(flight);
        }
        if flights.len() >= MAX_TOKENS {
            flights.retain(|_, flight| !is_over(flight));
        }
        if flights.len() >= MAX_TOKENS
            && let Some(any) = flights.keys().next().cloned()
        {
            flights.remove(&any);
        }
        let flight = Arc::<Flight>::default();
        flights.insert(scope.to_owned(), Arc::clone(&flight));
        flight
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if a fetch has failed, or its token has ended: the next request fetches again.
fn is_over(flight: &Flight) -> bool {
    match flight.get() {
        Some(Ok(token)) => token.has_ended(),
        Some(Err(_)) => true,
        None => false,
    }
}

/// More repositories than a build pulls from. A token takes about two kilobytes.
const MAX_TOKENS: usize = 256;
const USED_FRACTION: f64 = 0.9;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn token(text: &str, seconds: u64) -> ScopedToken {
        let secret = Secret::parse(text).unwrap();
        ScopedToken::new(&secret, ClockReading::now(), Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_same_moment_share_one_fetch_also_a_failed_one() {
        for result in [Ok(()), Err(NoScopedToken::Failed)] {
            let (tokens, fetches) = (ScopedTokens::default(), Cell::new(0));
            let fetch = || async {
                fetches.set(fetches.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                result.map(|()| token("short", 60))
            };
            let (one, other) = tokio::join!(tokens.get("a", fetch()), tokens.get("a", fetch()));
            assert_eq!(
                (one.is_ok(), other.is_ok(), fetches.get()),
                (result.is_ok(), result.is_ok(), 1)
            );
            let _ = tokens.get("a", fetch()).await;
            assert_eq!(
                fetches.get(),
                if result.is_ok() { 1 } else { 2 },
                "a failure is not kept"
            );
            let _ = tokens.get("b", fetch()).await;
            assert_eq!(
                fetches.get(),
                if result.is_ok() { 2 } else { 3 },
                "each scope has its own"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_shortly_before_its_end() {
        let tokens = ScopedTokens::default();
        let first = tokens.get("a", async { Ok(token("short", 60)) }).await.unwrap();
        for (seconds, is_same) in [(50, true), (5, false)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let next = tokens.get("a", async { Ok(token("other", 60)) }).await.unwrap();
            assert_eq!(Arc::ptr_eq(&first, &next), is_same, "{seconds}");
        }
    }

    #[tokio::test]
    async fn a_waiting_request_fetches_itself_if_the_first_one_is_dropped() {
        let tokens = ScopedTokens::default();
        let abandoned = tokens.get("a", std::future::pending());
        let mut abandoned = Box::pin(abandoned);
        assert!(futures_util::poll!(&mut abandoned).is_pending());
        let waiting = tokens.get("a", async { Ok(token("short", 60)) });
        drop(abandoned);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn the_number_of_tokens_is_bounded() {
        let tokens = ScopedTokens::default();
        for number in 0..2 * MAX_TOKENS {
            let scope = number.to_string();
            assert!(tokens.get(&scope, async { Ok(token("short", 60)) }).await.is_ok());
        }
        assert_eq!(tokens.lock().len(), MAX_TOKENS);
    }

    #[tokio::test]
    async fn only_the_token_that_was_refused_is_forgotten() {
        let tokens = ScopedTokens::default();
        let first = tokens.get("a", async { Ok(token("one", 60)) }).await.unwrap();
        tokens.forget("a", &first);
        let second = tokens.get("a", async { Ok(token("two", 60)) }).await.unwrap();
        tokens.forget("a", &first);
        let third = tokens.get("a", async { Ok(token("three", 60)) }).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &third));
    }
}
