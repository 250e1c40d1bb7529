//! Reading of one client: what it has asked for, what is asked for ahead, and the answers that wait for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use http::header::HeaderMap;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::proxy::downstream::limits::Principal;
use crate::proxy::read_ahead::CrateName;
use crate::proxy::read_ahead::budget::Budget;
use crate::proxy::read_ahead::entry::Entry;
use crate::proxy::read_ahead::readings::{Answer, EntryRequest, ReadingId};
use crate::proxy::read_ahead::walk::Walk;

/// Entries that one client reads with one generation and the same headers.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) id: ReadingId,
    pub(super) client: Principal,
    pub(super) generation: u64,
    pub(super) headers: HeaderMap,
    /// True if the client's requests are conditional: its cache is warm.
    pub(super) is_conditional: bool,
    pub(super) last_request: Instant,
    /// `None` while an entry is read, which happens without the lock.
    pub(super) walk: Option<Walk>,
    /// Entries that wait for the walk.
    pub(super) unread: VecDeque<(CrateName, Entry)>,
    /// Bytes of the walk, and of the entries that wait for it.
    pub(super) size: usize,
    /// Crates that the client has asked for.
    pub(super) asked: HashSet<CrateName>,
    /// Crates that were asked for ahead or are about to be.
    pub(super) planned: HashSet<CrateName>,
    /// Crates that cargo asked for in an earlier walk.
    pub(super) remembered: VecDeque<CrateName>,
    /// Crates that an entry of this walk names.
    pub(super) named: VecDeque<CrateName>,
    pub(super) ahead: HashMap<CrateName, Ahead>,
    /// Crates whose entries are copied as they pass.
    pub(super) copies: HashSet<CrateName>,
    /// Shared with the client's other readings.
    pub(super) budget: Arc<Budget>,
    pub(super) ended: CancellationToken,
    _end: DropGuard,
}

/// Answer that the client has not asked for yet.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) sent: Instant,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Reading {
    pub(super) fn new(id: ReadingId, request: EntryRequest, budget: Arc<Budget>, now: Instant) -> Self {
        let ended = CancellationToken::new();
        Self {
            id,
            client: request.client,
            generation: request.generation,
            headers: request.headers,
            is_conditional: false,
            last_request: now,
            walk: Some(Walk::default()),
            unread: VecDeque::new(),
            size: 0,
            asked: HashSet::new(),
            planned: HashSet::new(),
            remembered: VecDeque::new(),
            named: VecDeque::new(),
            ahead: HashMap::new(),
            copies: HashSet::new(),
            budget,
            ended: ended.clone(),
            _end: ended.drop_guard(),
        }
    }

    pub(super) fn is_new(&self, name: &CrateName) -> bool {
        !self.asked.contains(name) && !self.planned.contains(name) && self.planned.len() < MAX_QUESTIONS
    }

    /// The next crate to ask for. One that only an entry names is a guess, so there are few of them until the client has
    /// asked for more itself.
    pub(super) fn next_name(&mut self) -> Option<CrateName> {
        for queue in [&mut self.remembered, &mut self.named] {
            while queue.front().is_some_and(|name| self.asked.contains(name)) {
                queue.pop_front();
            }
        }
        let waiting = self.ahead.len();
        if !self.budget.has_room() {
            return None;
        }
        if waiting < MAX_WAITING
            && let Some(name) = self.remembered.pop_front()
        {
            return Some(name);
        }
        let max_guesses = MIN_GUESSES + GUESSES_FOR_EACH_REQUEST * self.asked.len();
        if waiting < max_guesses.min(MAX_WAITING) {
            return self.named.pop_front();
        }
        None
    }
}

/// Questions of one reading.
pub(super) const MAX_QUESTIONS: usize = 4096;
/// Answers that wait for the client, those in flight included.
const MAX_WAITING: usize = 1024;
pub(super) const MIN_GUESSES: usize = 32;
pub(super) const GUESSES_FOR_EACH_REQUEST: usize = 3;
