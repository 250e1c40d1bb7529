//! A source for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regauth_shared::Secret;

use crate::credential::source::{Failure, FetchedToken};

/// A source that does as it is told, takes its time, and counts.
#[derive(Clone, Debug, Default)]
pub struct ScriptedSource(Arc<Mutex<Telling>>);

#[derive(Debug, Default)]
struct Telling {
    answers: VecDeque<Option<u64>>,
    runs: u64,
    running: u64,
    most_running: u64,
}

impl ScriptedSource {
    /// Tokens with these lives in seconds, `None` for a failure; the last is repeated.
    pub fn new(answers: &[Option<u64>]) -> Self {
        let told = Self::default();
        told.0.lock().unwrap().answers = answers.iter().copied().collect();
        told
    }

    /// Its next answer, after 0.2 s.
    pub async fn next(&self) -> Result<FetchedToken, Failure> {
        let (answer, run) = {
            let mut telling = self.0.lock().unwrap();
            telling.runs += 1;
            telling.running += 1;
            telling.most_running = telling.most_running.max(telling.running);
            let only = telling.answers.len() == 1;
            let answer = if only {
                telling.answers.front().copied()
            } else {
                telling.answers.pop_front()
            };
            (answer.flatten(), telling.runs)
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.lock().unwrap().running -= 1;
        answer
            .map(|ttl| minted(run, ttl))
            .ok_or_else(|| Failure::new("told so"))
    }

    /// How often it was asked.
    pub fn runs(&self) -> u64 {
        let telling = self.0.lock().unwrap();
        assert!(telling.most_running <= 1, "one at a time");
        telling.runs
    }
}

fn minted(run: u64, ttl: u64) -> FetchedToken {
    FetchedToken {
        secret: Secret::parse(&format!("token-{run}")).unwrap(),
        expires: None,
        ttl: (ttl > 0).then(|| Duration::from_secs(ttl)),
    }
}
