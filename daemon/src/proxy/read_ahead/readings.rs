//! State of the clients that read one index: questions to make, and answers that wait for the client. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::proxy::downstream::limits::Principal;
use crate::proxy::read_ahead::entry::Entry;
use crate::proxy::read_ahead::memory::Memory;
use crate::proxy::read_ahead::validator::Validator;
use crate::proxy::read_ahead::walk::Walk;
use crate::proxy::read_ahead::{CrateName, MAX_AGE, MAX_IDLE, PAUSE};

/// Readings of all clients of an index.
#[derive(Debug, Default)]
pub(super) struct Readings {
    memory: Memory,
    readings: Vec<Reading>,
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
}

/// Entries that one client reads with one generation and the same headers.
#[derive(Debug)]
struct Reading {
    id: ReadingId,
    client: Principal,
    generation: u64,
    headers: HeaderMap,
    /// True if the client's requests are conditional: its cache is warm.
    is_conditional: bool,
    last_request: Instant,
    walk: Walk,
    /// Crates that the client has asked for.
    asked: HashSet<CrateName>,
    /// Crates that were asked for ahead or are about to be.
    planned: HashSet<CrateName>,
    /// Crates that cargo asked for in an earlier walk.
    remembered: VecDeque<CrateName>,
    /// Crates that an entry of this walk names.
    named: VecDeque<CrateName>,
    ahead: HashMap<CrateName, Ahead>,
    in_flight: usize,
}

/// Answer that the client has not asked for yet.
#[derive(Debug)]
struct Ahead {
    sent: Instant,
    answer: oneshot::Receiver<Answer>,
    /// Size of its body, once it has arrived.
    size: usize,
}

impl Readings {
    /// Ends the reading of a client whose next cargo process begins.
    pub(super) fn begin_process(&mut self, client: &Principal) {
        self.end_if(|reading| reading.client == *client);
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
        reading.asked.insert(name.clone());
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

    /// Takes an entry that has arrived, and plans those that it names.
    pub(super) fn read(&mut self, id: ReadingId, name: &CrateName, validator: Option<Validator>, entry: Option<Entry>) {
        self.memory.note_validator(name, validator);
        let Some(reading) = self.readings.iter_mut().find(|reading| reading.id == id) else {
            return;
        };
        let steps = entry.map(|entry| reading.walk.read(name, entry)).unwrap_or_default();
        for step in steps {
            if reading.is_new(&step.to) && !self.memory.is_unused(&step.from, &step.to) {
                reading.planned.insert(step.to.clone());
                reading.named.push_back(step.to);
            }
        }
    }

    /// The next question of a reading, as long as it has at most so many in flight.
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
        if reading.in_flight >= max_in_flight || now.duration_since(reading.last_request) >= MAX_IDLE {
            return None;
        }
        let name = reading.next_name()?;
        reading.in_flight += 1;
        let (sender, receiver) = oneshot::channel();
        let validator = self.memory.validator(&name).filter(|_| reading.is_conditional);
        let ahead = Ahead {
            sent: now,
            answer: receiver,
            size: 0,
        };
        reading.ahead.insert(name.clone(), ahead);
        let question = Question {
            reading: id,
            generation: reading.generation,
            headers: reading.headers.clone(),
            validator: validator.cloned(),
            name,
        };
        Some((question, sender))
    }

    /// Counts a question that is no longer in flight. `size` is that of its answer, if there is one for the client.
    pub(super) fn finish(&mut self, id: ReadingId, name: &CrateName, size: Option<usize>) {
        let Some(reading) = self.reading(id) else { return };
        reading.in_flight -= 1;
        match size {
            Some(size) => {
                if let Some(ahead) = reading.ahead.get_mut(name) {
                    ahead.size = size;
                }
            }
            None => {
                reading.ahead.remove(name);
            }
        }
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
        let reached = self.memory.reached_from(name, |name| reading.is_new(name));
        reading.planned.extend(reached.iter().cloned());
        reading.remembered.extend(reached);
    }

    fn reading_of(&mut self, request: EntryRequest, now: Instant) -> (&mut Reading, bool) {
        let is_same = |reading: &Reading| {
            reading.client == request.client
                && reading.generation == request.generation
                && reading.headers == request.headers
        };
        self.end_if(|reading| reading.client == request.client && !is_same(reading));
        let present = self.readings.iter().position(is_same);
        let index = present.unwrap_or_else(|| {
            if self.readings.len() >= MAX_READINGS {
                let oldest = self.readings.iter().min_by_key(|reading| reading.last_request);
                let oldest = oldest.map(|reading| reading.id);
                self.end_if(|reading| Some(reading.id) == oldest);
            }
            self.last_id += 1;
            self.readings.push(Reading::new(ReadingId(self.last_id), request, now));
            self.readings.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "the index is that of a reading found or pushed here"
        )]
        (&mut self.readings[index], present.is_none())
    }

    fn reading(&mut self, id: ReadingId) -> Option<&mut Reading> {
        self.readings.iter_mut().find(|reading| reading.id == id)
    }

    /// Ends readings: their answers are dropped, and the memory learns what they used.
    fn end_if(&mut self, is_over: impl Fn(&Reading) -> bool) {
        let memory = &mut self.memory;
        self.readings.retain(|reading| {
            let ends = is_over(reading);
            if ends {
                for name in &reading.asked {
                    memory.learn(name, reading.walk.potential_dependencies(name), &reading.asked);
                }
            }
            !ends
        });
    }
}

impl Reading {
    fn new(id: ReadingId, request: EntryRequest, now: Instant) -> Self {
        Self {
            id,
            client: request.client,
            generation: request.generation,
            headers: request.headers,
            is_conditional: false,
            last_request: now,
            walk: Walk::default(),
            asked: HashSet::new(),
            planned: HashSet::new(),
            remembered: VecDeque::new(),
            named: VecDeque::new(),
            ahead: HashMap::new(),
            in_flight: 0,
        }
    }

    fn is_new(&self, name: &CrateName) -> bool {
        !self.asked.contains(name) && !self.planned.contains(name) && self.planned.len() < MAX_QUESTIONS
    }

    /// The next crate to ask for. One that only an entry names is a guess, so there are few of them until the client has
    /// asked for more itself.
    fn next_name(&mut self) -> Option<CrateName> {
        for queue in [&mut self.remembered, &mut self.named] {
            while queue.front().is_some_and(|name| self.asked.contains(name)) {
                queue.pop_front();
            }
        }
        let waiting = self.ahead.len();
        let size: usize = self.ahead.values().map(|ahead| ahead.size).sum();
        if size >= MAX_WAITING_SIZE {
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

/// Clients of one index that read at once.
const MAX_READINGS: usize = 16;
/// Questions of one reading.
const MAX_QUESTIONS: usize = 4096;
/// Answers that wait for the client, those in flight included, and the size of their bodies.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_SIZE: usize = 16 * 1024 * 1024;
const MIN_GUESSES: usize = 32;
const GUESSES_FOR_EACH_REQUEST: usize = 3;

#[cfg(test)]
mod tests;
