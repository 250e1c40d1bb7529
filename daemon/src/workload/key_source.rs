//! Source of an issuer's keys: a URL or a file, read at the start and whenever the keys may have changed.
//!
//! A token with an unknown key asks for the keys again, at most every [`MIN_INTERVAL`] for all tokens together, and waits for
//! the answer. Keys that were read once stay in service while the issuer is away or answers with something else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::configured_file;
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::TokenClient;
use crate::file_stamp::FileStamp;
use crate::file_watch::{FileWatch, FileWatcher};
use crate::proxy::upstream::Trust;
use crate::workload::keys::{Keys, MAX_KEY_SET_BYTES};
use crate::workload::rule::KeyLocation;
use crate::workload::token::UnverifiedToken;

/// Keys of one issuer, kept up to date until it is dropped.
#[derive(Debug)]
pub(crate) struct KeySource {
    state: Arc<State>,
    /// Roots that vouch for the host of a URL.
    roots: Trust,
    _end: DropGuard,
}

#[derive(Debug)]
struct State {
    location: KeyLocation,
    keys: ArcSwapOption<Keys>,
    /// Asks for an attempt before it is due.
    wanted: Notify,
    attempts: watch::Sender<Attempts>,
    /// Error of the last attempt.
    problem: ArcSwap<Option<String>>,
}

/// Numbers of the attempts so far: each ends before the next one begins.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    begun: u64,
    ended: u64,
}

impl KeySource {
    /// Reads the keys from now on, as a task of `tasks`. `client` asks the host of a URL, which `roots` vouch for.
    pub(crate) fn start(
        location: KeyLocation,
        client: TokenClient,
        roots: Trust,
        watcher: &Arc<FileWatcher>,
        tasks: &TaskTracker,
    ) -> Self {
        let watch = match &location {
            KeyLocation::File(path) => Some(FileWatch::new(watcher, [path.clone()])),
            KeyLocation::Url(_) => None,
        };
        let state = Arc::new(State::new(location));
        let (end, follower) = (CancellationToken::new(), Arc::clone(&state));
        let guard = end.clone().drop_guard();
        tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = follower.follow(&client, watch) => {}
            }
        });
        Self {
            state,
            roots,
            _end: guard,
        }
    }

    /// True if the keys come from a host that these roots vouch for, and no others.
    pub(super) fn is_of_roots(&self, roots: &Trust) -> bool {
        self.roots.has_same_roots(roots)
    }

    /// Reason why the last attempt to read the keys has failed.
    pub(crate) fn problem(&self) -> Option<String> {
        let error = self.state.problem.load().as_ref().clone()?;
        let kept = match self.state.keys.load().as_ref() {
            Some(_) => "the keys that were read before stay in service",
            None => "no token of the issuer is accepted",
        };
        Some(format!("cannot read {}: {error}; {kept}", self.state.location))
    }

    /// True if a key of the issuer has signed the token. Waits for an attempt to read the keys if the token's key is unknown.
    pub(super) async fn verify(&self, token: &UnverifiedToken<'_>) -> bool {
        self.state.verify(token).await
    }
}

impl State {
    fn new(location: KeyLocation) -> Self {
        Self {
            location,
            keys: ArcSwapOption::empty(),
            wanted: Notify::new(),
            attempts: watch::Sender::default(),
            problem: ArcSwap::default(),
        }
    }

    async fn verify(&self, token: &UnverifiedToken<'_>) -> bool {
        let is_known = || self.keys.load().as_ref().is_some_and(|keys| keys.has_key_of(token));
        if !is_known() {
            let mut attempts = self.attempts.subscribe();
            // The issuer may have published the key since the attempt that is under way asked for it.
            let needed = attempts.borrow_and_update().begun + 1;
            self.wanted.notify_one();
            let read = attempts.wait_for(|attempts| attempts.ended >= needed || is_known());
            // An attempt that takes longer serves the next token.
            let _ = tokio::time::timeout(MAX_WAIT, read).await;
        }
        self.keys.load().as_ref().is_some_and(|keys| keys.verify(token))
    }

    async fn follow(&self, client: &TokenClient, watch: Option<FileWatch<1>>) {
        match (&self.location, watch) {
            (KeyLocation::File(path), Some(watch)) => self.follow_file(path, watch).await,
            (KeyLocation::File(_), None) => {}
            (KeyLocation::Url(url), _) => self.follow_url(url, client).await,
        }
    }

    async fn follow_url(&self, url: &Endpoint, client: &TokenClient) {
        let mut failures = 0_u32;
        loop {
            let document = client.document(url, MAX_KEY_SET_BYTES);
            let is_read = self.attempt(async { document.await.map_err(|error| error.message) });
            failures = if is_read.await { 0 } else { failures.saturating_add(1) };
            self.until_due(failures).await;
        }
    }

    async fn follow_file(&self, path: &Path, mut watch: FileWatch<1>) {
        loop {
            let last_read = watch.look().await;
            self.attempt(read_file(path.to_owned())).await;
            self.until_changed(&mut watch, last_read).await;
        }
    }

    async fn attempt(&self, read: impl Future<Output = Result<Bytes, String>>) -> bool {
        self.attempts.send_modify(|attempts| attempts.begun += 1);
        let is_read = self.take(read.await);
        self.attempts.send_modify(|attempts| attempts.ended = attempts.begun);
        is_read
    }

    /// Puts the keys in service. False if there are none in this answer: then the earlier ones stay.
    fn take(&self, read: Result<Bytes, String>) -> bool {
        let keys = read.and_then(|text| Keys::parse(&text).map_err(|error| error.to_string()));
        let before = self.problem.load_full();
        match keys {
            Ok(keys) => {
                if before.is_some() || self.keys.load().is_none() {
                    tracing::info!(jwks = %self.location, keys = keys.len(), "read an issuer's keys");
                }
                self.keys.store(Some(Arc::new(keys)));
                self.problem.store(Arc::new(None));
                true
            }
            Err(error) => {
                // Once for each reason: a provider may be away for hours.
                if before.as_ref() != &Some(error.clone()) {
                    tracing::warn!(jwks = %self.location, error, "could not read an issuer's keys");
                }
                self.problem.store(Arc::new(Some(error)));
                false
            }
        }
    }

    /// Waits until the keys are to be asked for again.
    async fn until_due(&self, failures: u32) {
        let (shortest, longest) = pauses(failures);
        tokio::time::sleep(shortest).await;
        tokio::select! {
            () = self.wanted.notified() => {}
            () = tokio::time::sleep(longest - shortest) => {}
        }
    }

    /// Waits until the file differs from this stamp.
    async fn until_changed(&self, watch: &mut FileWatch<1>, last_read: [Option<FileStamp>; 1]) {
        loop {
            let is_wanted = tokio::select! {
                () = self.wanted.notified() => true,
                () = watch.until_look(FILE_CHECK_INTERVAL) => false,
            };
            if watch.look().await != last_read {
                return;
            }
            if is_wanted {
                // A look that finds the file unchanged is an attempt, too.
                self.attempts.send_modify(|attempts| {
                    attempts.begun += 1;
                    attempts.ended = attempts.begun;
                });
            }
        }
    }
}

async fn read_file(path: PathBuf) -> Result<Bytes, String> {
    let read = move || configured_file::read(&path, MAX_KEY_SET_BYTES).map(Bytes::from);
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(io::Error::from)
        .flatten()
        .map_err(|error| error.to_string())
}

/// Shortest and longest pause after so many failed attempts in a row: for tokens with unknown keys, and without any.
fn pauses(failures: u32) -> (Duration, Duration) {
    let doubled = |times: u32| MIN_INTERVAL * 2_u32.saturating_pow(times);
    match failures {
        0 => (MIN_INTERVAL, MAX_AGE),
        _ => (
            doubled(failures - 1).min(MAX_WANTED_INTERVAL),
            doubled(failures).min(MAX_RETRY_INTERVAL),
        ),
    }
}

/// Shortest time between two attempts at a URL, however many tokens ask for unknown keys.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Longest of these times, for an issuer that keeps failing.
const MAX_WANTED_INTERVAL: Duration = Duration::from_secs(20);
/// Age at which keys are read again: an issuer may withdraw a key.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Longest time between two attempts at an issuer that is away.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(60);
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait of a token with an unknown key. Clients wait longer for their proxy.
const MAX_WAIT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use serde_json::json;

    use super::*;
    use crate::workload::tests::issuer::{Issuer, claims};

    /// Runs `future` as far as it gets.
    async fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_waits_for_an_attempt_that_began_after_it_came() {
        let (former, issuer) = (Issuer::new(), Issuer::new());
        let state = State::new(KeyLocation::File("/keys".into()));
        let text = issuer.token(&claims(&json!({})));
        let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
        let begin = || state.attempts.send_modify(|attempts| attempts.begun += 1);
        let end = |keys: serde_json::Value| {
            state.take(Ok(keys.to_string().into()));
            state.attempts.send_modify(|attempts| attempts.ended = attempts.begun);
        };
        begin();
        let mut verified = pin!(state.verify(&token));
        assert_eq!(poll_once(verified.as_mut()).await, None);
        // The issuer publishes the key after it has answered.
        end(json!({"keys": [former.key_set()["keys"][3]]}));
        assert_eq!(poll_once(verified.as_mut()).await, None);
        begin();
        end(issuer.key_set());
        assert_eq!(poll_once(verified.as_mut()).await, Some(true));
        // Nobody waits for a key that is known, and for another one no longer than an attempt.
        assert!(state.verify(&token).await);
        end(json!({"keys": [former.key_set()["keys"][3]]}));
        let mut refused = pin!(state.verify(&token));
        assert_eq!(poll_once(refused.as_mut()).await, None);
        begin();
        end(json!({"keys": [former.key_set()["keys"][3]]}));
        assert_eq!(poll_once(refused.as_mut()).await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_names_no_key_waits_for_the_one_that_has_signed_it() {
        let (former, issuer) = (Issuer::new(), Issuer::new());
        let state = State::new(KeyLocation::File("/keys".into()));
        let text = issuer.token_of(r#"{"alg":"RS256"}"#, &claims(&json!({})), "rsa");
        let token = UnverifiedToken::parse(text.as_bytes()).unwrap();
        state.take(Ok(former.key_set().to_string().into()));
        let mut verified = pin!(state.verify(&token));
        assert_eq!(poll_once(verified.as_mut()).await, None);
        state.take(Ok(issuer.key_set().to_string().into()));
        state.attempts.send_modify(|attempts| {
            attempts.begun += 1;
            attempts.ended = attempts.begun;
        });
        assert_eq!(poll_once(verified.as_mut()).await, Some(true));
        assert!(state.verify(&token).await);
    }

    #[test]
    fn attempts_at_an_issuer_that_is_away_become_rarer_up_to_a_bound() {
        for (failures, shortest, longest) in [
            (0, 5, 900),
            (1, 5, 10),
            (2, 10, 20),
            (3, 20, 40),
            (4, 20, 60),
            (40, 20, 60),
            (u32::MAX, 20, 60),
        ] {
            let expected = (Duration::from_secs(shortest), Duration::from_secs(longest));
            assert_eq!(pauses(failures), expected, "{failures} failures");
        }
    }
}
