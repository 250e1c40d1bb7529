//! State of the clients that read one index: questions to make, and answers that wait for the client. No I/O.

mod reading;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::response::Parts;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proxy::downstream::limits::Principal;
use crate::proxy::read_ahead::budget::{Budget, QuestionPermit};
use crate::proxy::read_ahead::entry::Entry;
use crate::proxy::read_ahead::memory::Memory;
use crate::proxy::read_ahead::validator::Validator;
use crate::proxy::read_ahead::walk::{self, Step, Walk};
use crate::proxy::read_ahead::{CrateName, MAX_AGE, MAX_IDLE, PAUSE};
use reading::{Ahead, MAX_QUESTIONS, Reading};

/// Readings of all clients of an index.
#[derive(Debug, Default)]
pub(super) struct Readings {
    memory: Memory,
    readings: Vec<Reading>,
    budgets: HashMap<Principal, Weak<Budget>>,
    paused_until: Option<Instant>,
    last_id: u64,
}

/// Request of a client for an entry.
#[derive(Clone, Debug)]
pub(super) struct EntryRequest {
    pub(super) client: Principal,
    /// Number of the credential's generation.
    pub(super) generation: u64,
    /// Headers without a condition. Only a request with equal ones gets an answer.
    pub(super) headers: HeaderMap,
    /// Condition.
    pub(super) validator: Option<Validator>,
    pub(super) name: CrateName,
}

/// Number of a reading; no other of the index ever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadingId(u64);

/// State of a request for an entry as it begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) reading: ReadingId,
    /// True if the request is the first of its reading.
    pub(super) is_new: bool,
    /// Answer that was asked for ahead, and has arrived or will.
    pub(super) awaited: Option<oneshot::Receiver<Answer>>,
}

/// Answer of the registry.
#[derive(Debug)]
pub(super) enum Answer {
    /// 200 with its body.
    Whole(Parts, Bytes),
    /// 304 to a request with this validator.
    Unmodified(Parts, Validator),
}

/// Request to make before the client does.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) reading: ReadingId,
    pub(super) generation: u64,
    pub(super) name: CrateName,
    pub(super) headers: HeaderMap,
    /// Present if the client's cache is warm, and the registry's last validator is known.
    pub(super) validator: Option<Validator>,
    pub(super) permit: QuestionPermit,
}

/// Permission to copy an entry that passes.
#[derive(Debug)]
pub(super) struct CopyPermit {
    pub(super) budget: Arc<Budget>,
    /// Cancelled when the reading ends.
    pub(super) ended: CancellationToken,
}

impl Readings {
    /// Ends the readings of a client whose next process of this cargo begins.
    pub(super) fn begin_process(&mut self, client: &Principal, agent: Option<&HeaderValue>) {
        self.end_if(|reading| reading.client == *client && reading.headers.get(USER_AGENT) == agent);
    }

    /// Ends all readings.
    pub(super) fn end_all(&mut self) {
        self.end_if(|_| true);
    }

    /// Ends the readings whose clients have stopped, and drops old answers. False if the reading has ended.
    pub(super) fn clean_up(&mut self, id: ReadingId, now: Instant) -> bool {
        self.end_if(|reading| now.duration_since(reading.last_request) >= MAX_IDLE);
        let reading = self.reading(id);
        let is_young = |ahead: &mut Ahead| now.duration_since(ahead.sent) < MAX_AGE;
        reading
            .map(|reading| reading.ahead.retain(|_, ahead| is_young(ahead)))
            .is_some()
    }

    /// Begins a client's request for an entry, and plans those that followed in earlier walks.
    pub(super) fn begin(&mut self, request: EntryRequest, now: Instant) -> Begun {
        let (name, validator) = (request.name.clone(), request.validator.clone());
        let (reading, is_new) = self.reading_of(request, now);
        reading.last_request = now;
        reading.is_conditional = validator.is_some();
        if reading.asked.len() < MAX_ASKED {
            reading.asked.insert(name.clone());
        }
        let ahead = reading.ahead.remove(&name);
        let awaited = ahead.filter(|ahead| now.duration_since(ahead.sent) < MAX_AGE);
        let awaited = awaited.map(|ahead| ahead.answer);
        let id = reading.id;
        self.plan_reached(id, &name);
        Begun {
            reading: id,
            is_new,
            awaited,
        }
    }

    /// Plans what followed an entry in earlier walks. False if the entry has another validator and has to be read.
    pub(super) fn follow(&mut self, id: ReadingId, name: &CrateName, validator: Option<&Validator>) -> bool {
        let is_known = self.memory.knows(name, validator);
        if is_known {
            self.plan_reached(id, name);
        }
        is_known
    }

    /// Takes an entry that has arrived. It waits for the reading's walk, unless those of the client or of all have no room.
    pub(super) fn arrive(
        &mut self,
        id: ReadingId,
        name: &CrateName,
        validator: Option<Validator>,
        entry: Option<Entry>,
    ) {
        self.memory.note_validator(name, validator);
        let Some((entry, reading)) = entry.zip(self.readings.iter().find(|reading| reading.id == id)) else {
            return;
        };
        let size = |reading: &Reading| reading.size;
        let all: usize = self.readings.iter().map(size).sum();
        let own = self.readings.iter().filter(|other| other.client == reading.client);
        let own: usize = own.map(size).sum();
        let added = entry.size();
        if all + added <= MAX_WALKS_SIZE
            && own + added <= walk::MAX_SIZE
            && let Some(reading) = self.reading(id)
        {
            reading.size += added;
            reading.unread.push_back((name.clone(), entry));
        }
    }

    /// The walk of a reading, and an entry for it. `None` if there is no entry, or another worker has the walk.
    pub(super) fn next_unread(&mut self, id: ReadingId) -> Option<(Walk, CrateName, Entry)> {
        let reading = self.reading(id).filter(|reading| !reading.unread.is_empty())?;
        let walk = reading.walk.take()?;
        let (name, entry) = reading.unread.pop_front()?;
        Some((walk, name, entry))
    }

    /// Takes a walk back that has read an entry, and plans its steps.
    pub(super) fn put_back(&mut self, id: ReadingId, walk: Walk, steps: Vec<Step>) {
        let Some(reading) = self.readings.iter_mut().find(|reading| reading.id == id) else {
            return;
        };
        let unread = reading.unread.iter().map(|(_, entry)| entry.size());
        reading.size = walk.size() + unread.sum::<usize>();
        reading.walk = Some(walk);
        for step in steps {
            if reading.is_new(&step.to) && !self.memory.is_unused(&step.from, &step.to) {
                reading.planned.insert(step.to.clone());
                reading.named.push_back(step.to);
            }
        }
    }

    /// Begins to copy an entry as it passes. `None` if one of that crate is being copied.
    pub(super) fn begin_copy(&mut self, id: ReadingId, name: &CrateName) -> Option<CopyPermit> {
        let reading = self.reading(id)?;
        reading.copies.insert(name.clone()).then(|| CopyPermit {
            budget: Arc::clone(&reading.budget),
            ended: reading.ended.clone(),
        })
    }

    /// Counts a copy that has ended.
    pub(super) fn end_copy(&mut self, id: ReadingId, name: &CrateName) {
        if let Some(reading) = self.reading(id) {
            reading.copies.remove(name);
        }
    }

    /// The next question of a reading, as long as its client has at most so many in flight.
    pub(super) fn next(
        &mut self,
        id: ReadingId,
        max_in_flight: usize,
        now: Instant,
    ) -> Option<(Question, oneshot::Sender<Answer>)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let reading = self.readings.iter_mut().find(|reading| reading.id == id)?;
        if reading.budget.questions() >= max_in_flight || now.duration_since(reading.last_request) >= MAX_IDLE {
            return None;
        }
        let name = reading.next_name()?;
        let (sender, receiver) = oneshot::channel();
        let validator = self.memory.validator(&name).filter(|_| reading.is_conditional);
        let ahead = Ahead {
            sent: now,
            answer: receiver,
        };
        reading.ahead.insert(name.clone(), ahead);
        let question = Question {
            reading: id,
            generation: reading.generation,
            headers: reading.headers.clone(),
            validator: validator.cloned(),
            name,
            permit: reading.budget.begin_question(),
        };
        Some((question, sender))
    }

    /// Ends a question. `is_awaited` if there is an answer, and the client may ask for it.
    pub(super) fn finish(&mut self, question: Question, is_awaited: bool) {
        if let Some(reading) = self.reading(question.reading)
            && !is_awaited
        {
            reading.ahead.remove(&question.name);
        }
        drop(question.permit);
    }

    /// Makes no more questions for a while.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
        for reading in &mut self.readings {
            reading.remembered.clear();
            reading.named.clear();
        }
    }

    fn plan_reached(&mut self, id: ReadingId, name: &CrateName) {
        let Some(reading) = self.readings.iter_mut().find(|reading| reading.id == id) else {
            return;
        };
        let mut reached = self.memory.reached_from(name, |name| reading.is_new(name));
        reached.truncate(MAX_QUESTIONS.saturating_sub(reading.planned.len()));
        reading.planned.extend(reached.iter().cloned());
        reading.remembered.extend(reached);
    }

    fn reading_of(&mut self, request: EntryRequest, now: Instant) -> (&mut Reading, bool) {
        let is_same = |reading: &Reading| {
            reading.client == request.client
                && reading.generation == request.generation
                && reading.headers == request.headers
        };
        self.displace(|reading| reading.client == request.client && reading.generation < request.generation);
        let present = self.readings.iter().position(is_same);
        let index = present.unwrap_or_else(|| {
            self.make_room(&request.client);
            self.last_id += 1;
            let budget = self.budget_of(&request.client);
            let reading = Reading::new(ReadingId(self.last_id), request, budget, now);
            self.readings.push(reading);
            self.readings.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "the index is that of a reading found or pushed here"
        )]
        (&mut self.readings[index], present.is_none())
    }

    /// Ends the reading that was used least recently if a client's next one would be too many.
    fn make_room(&mut self, client: &Principal) {
        let own = self.readings.iter().filter(|reading| reading.client == *client);
        let oldest = |readings: &mut dyn Iterator<Item = &Reading>| {
            let oldest = readings.min_by_key(|reading| reading.last_request);
            oldest.map(|reading| reading.id)
        };
        let oldest = if own.clone().count() >= MAX_READINGS_OF_A_CLIENT {
            oldest(&mut own.into_iter())
        } else if self.readings.len() >= MAX_READINGS {
            oldest(&mut self.readings.iter())
        } else {
            return;
        };
        self.displace(|reading| Some(reading.id) == oldest);
    }

    /// The budget that all readings of a client share, also those that have ended and still have questions in flight.
    fn budget_of(&mut self, client: &Principal) -> Arc<Budget> {
        if let Some(budget) = self.budgets.get(client).and_then(Weak::upgrade) {
            return budget;
        }
        self.budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::default();
        self.budgets.insert(client.clone(), Arc::downgrade(&budget));
        budget
    }

    fn reading(&mut self, id: ReadingId) -> Option<&mut Reading> {
        self.readings.iter_mut().find(|reading| reading.id == id)
    }

    /// Ends readings in the middle of a walk: the memory learns nothing of them, because cargo may go on.
    fn displace(&mut self, is_over: impl Fn(&Reading) -> bool) {
        self.readings.retain(|reading| !is_over(reading));
    }

    /// Ends readings: their answers are dropped, and the memory learns what they used.
    fn end_if(&mut self, is_over: impl Fn(&Reading) -> bool) {
        let memory = &mut self.memory;
        self.readings.retain(|reading| {
            let ends = is_over(reading);
            if ends {
                let walk = reading.walk.as_ref();
                for name in &reading.asked {
                    let named = walk.and_then(|walk| walk.potential_dependencies(name));
                    memory.learn(name, named, &reading.asked);
                }
            }
            !ends
        });
    }
}

/// Readings of one index at once.
const MAX_READINGS: usize = 16;
/// Different programs of one client: versions of cargo.
const MAX_READINGS_OF_A_CLIENT: usize = 4;
/// Bytes of the walks of all readings.
const MAX_WALKS_SIZE: usize = 4 * walk::MAX_SIZE;
/// Crates that the client itself asks for, and that are remembered.
const MAX_ASKED: usize = 8192;
#[cfg(test)]
mod tests;
