//! A source for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regauth_shared::Secret;

use crate::credential::source::{FetchError, FetchedToken};

/// A source that follows a script, takes 0.2 s for each answer, and counts fetches.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedSource(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Option<u64>>,
    runs: u64,
    running: u64,
    max_running: u64,
}

impl ScriptedSource {
    /// Gives tokens with these lifetimes in seconds, or an error for `None`, and repeats the last answer.
    pub(crate) fn new(answers: &[Option<u64>]) -> Self {
        let source = Self::default();
        source.0.lock().unwrap().answers = answers.iter().copied().collect();
        source
    }

    pub(crate) async fn next(&self) -> Result<FetchedToken, FetchError> {
        let (answer, run) = {
            let mut script = self.0.lock().unwrap();
            script.runs += 1;
            script.running += 1;
            script.max_running = script.max_running.max(script.running);
            let is_last = script.answers.len() == 1;
            let answer = if is_last {
                script.answers.front().copied()
            } else {
                script.answers.pop_front()
            };
            (answer.flatten(), script.runs)
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.lock().unwrap().running -= 1;
        answer
            .map(|ttl| token(run, ttl))
            .ok_or_else(|| FetchError::new("the script has an error here"))
    }

    /// Number of fetches so far.
    pub(crate) fn runs(&self) -> u64 {
        let script = self.0.lock().unwrap();
        assert!(script.max_running <= 1, "fetches overlapped");
        script.runs
    }
}

fn token(run: u64, ttl: u64) -> FetchedToken {
    FetchedToken {
        secret: Secret::parse(&format!("token-{run}")).unwrap(),
        expires: None,
        ttl: (ttl > 0).then(|| Duration::from_secs(ttl)),
    }
}
