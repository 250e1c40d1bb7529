//! Tests of readings: a client asks, entries arrive, and the next questions follow.

use std::time::Duration;

use http::Response;
use serde_json::json;

use super::reading::{GUESSES_FOR_EACH_REQUEST, MIN_GUESSES};
use super::*;
use crate::proxy::read_ahead::budget;

const LIMIT: usize = 64;

struct Index {
    readings: Readings,
    now: Instant,
}

impl Index {
    fn new() -> Self {
        Self {
            readings: Readings::default(),
            now: Instant::now(),
        }
    }

    fn request(name: &str) -> EntryRequest {
        EntryRequest {
            client: Principal::Owner,
            generation: 1,
            headers: HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("cargo/1.95.0"))]),
            validator: None,
            name: CrateName::parse(name).unwrap(),
        }
    }

    /// Request of another version of cargo.
    fn request_of(version: u32, name: &str) -> EntryRequest {
        let mut request = Self::request(name);
        let agent = HeaderValue::from_str(&format!("cargo/1.{version}.0")).unwrap();
        request.headers.insert(USER_AGENT, agent);
        request
    }

    /// A new process of the usual cargo.
    fn begin_process(&mut self) {
        let agent = HeaderValue::from_static("cargo/1.95.0");
        self.readings.begin_process(&Principal::Owner, Some(&agent));
    }

    fn begin(&mut self, name: &str) -> Begun {
        self.readings.begin(Self::request(name), self.now)
    }

    fn read(&mut self, reading: ReadingId, name: &str, dependencies: &[&str]) {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|name| json!({"name": name, "req": "1"}))
            .collect();
        let line = json!({"vers": "1.0.0", "deps": dependencies}).to_string();
        let entry = Entry::parse(line.as_bytes(), |_| true);
        let tag = Validator::Tag(HeaderValue::from_str(&format!("\"{name}\"")).unwrap());
        self.readings
            .arrive(reading, &CrateName::parse(name).unwrap(), Some(tag), entry);
        while let Some((mut walk, name, entry)) = self.readings.next_unread(reading) {
            let steps = walk.read(&name, entry);
            self.readings.put_back(reading, walk, steps);
        }
    }

    /// Questions that are due, with the ends on which their answers go.
    fn ask(&mut self, reading: ReadingId) -> Vec<(Question, oneshot::Sender<Answer>)> {
        std::iter::from_fn(|| self.readings.next(reading, LIMIT, self.now)).collect()
    }

    fn names(&mut self, reading: ReadingId) -> Vec<String> {
        let questions = self.ask(reading);
        questions
            .into_iter()
            .map(|(question, _)| question.name.to_string())
            .collect()
    }
}

#[test]
fn dependencies_are_asked_for_once_and_found_by_the_client() {
    let mut index = Index::new();
    let begun = index.begin("top");
    assert!(begun.is_new && begun.awaited.is_none());
    assert!(index.ask(begun.reading).is_empty());
    index.read(begun.reading, "top", &["left", "right"]);
    let questions = index.ask(begun.reading);
    assert_eq!(questions.len(), 2);
    let left = index.begin("left");
    assert!(left.awaited.is_some() && !left.is_new);
    index.read(begun.reading, "left", &["right", "top"]);
    assert!(index.ask(begun.reading).is_empty());
    assert!(index.begin("left").awaited.is_none(), "an answer is given once");
}

#[test]
fn another_client_generation_or_header_gets_no_answer() {
    let others: [fn(&mut EntryRequest); 3] = [
        |request| request.client = Principal::Grant("g".to_owned()),
        |request| request.generation = 2,
        |request| {
            drop(
                request
                    .headers
                    .insert("accept-encoding", HeaderValue::from_static("br")),
            )
        },
    ];
    for change in others {
        let mut index = Index::new();
        let reading = index.begin("top").reading;
        index.read(reading, "top", &["left"]);
        let _questions = index.ask(reading);
        let mut request = Index::request("left");
        change(&mut request);
        let begun = index.readings.begin(request, index.now);
        assert!(begun.is_new && begun.awaited.is_none());
    }
}

#[test]
fn a_new_process_a_write_and_time_drop_all_answers() {
    let ends: [fn(&mut Index, ReadingId); 3] = [
        |index, _| index.begin_process(),
        |index, _| index.readings.end_all(),
        |index, reading| {
            index.now += MAX_IDLE;
            assert!(!index.readings.clean_up(reading, index.now));
        },
    ];
    for end in ends {
        let mut index = Index::new();
        let reading = index.begin("top").reading;
        index.read(reading, "top", &["left"]);
        let questions = index.ask(reading);
        end(&mut index, reading);
        assert!(questions[0].1.is_closed(), "the question is given up");
        assert!(index.begin("left").awaited.is_none());
    }
}

#[test]
fn an_old_answer_is_not_given() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["left"]);
    let _questions = index.ask(reading);
    for _ in 0..MAX_AGE.as_secs() {
        index.now += Duration::from_secs(1);
        index.begin("other");
        assert!(index.readings.clean_up(reading, index.now));
    }
    assert!(index.begin("left").awaited.is_none());
}

#[test]
fn the_next_walk_asks_for_all_layers_at_once() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["left", "unused"]);
    index.begin("left");
    index.read(reading, "left", &["end"]);
    index.begin("end");
    index.read(reading, "end", &[]);
    index.begin_process();
    let reading = index.begin("top").reading;
    assert_eq!(index.names(reading), ["left", "end"]);
    index.read(reading, "top", &["left", "unused", "new"]);
    assert_eq!(index.names(reading), ["new"], "cargo had no use for the other one");
}

#[test]
fn a_warm_client_makes_conditional_questions() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["left"]);
    index.begin("left");
    index.read(reading, "left", &[]);
    index.begin_process();
    let mut request = Index::request("top");
    request.validator = Some(Validator::Tag(HeaderValue::from_static("\"top\"")));
    let reading = index.readings.begin(request, index.now).reading;
    let questions = index.ask(reading);
    let expected = Validator::Tag(HeaderValue::from_static("\"left\""));
    assert_eq!(questions[0].0.validator, Some(expected));
}

#[test]
fn a_refusal_ends_it_for_a_while() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["left", "right"]);
    index.readings.pause(index.now);
    assert!(index.ask(reading).is_empty());
    index.now += PAUSE;
    let reading = index.begin("other").reading;
    index.read(reading, "other", &["next"]);
    assert_eq!(index.names(reading), ["next"]);
}

#[test]
fn questions_in_flight_and_guesses_are_limited() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    let names: Vec<String> = (0..200).map(|number| format!("part-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    index.read(reading, "top", &names);
    let questions = index.ask(reading);
    let first = questions.len();
    assert_eq!(first, MIN_GUESSES + GUESSES_FOR_EACH_REQUEST);
    index.begin("part-0");
    let second = index.ask(reading);
    assert_eq!(second.len(), 1 + GUESSES_FOR_EACH_REQUEST);
    for (question, _) in questions {
        index.readings.finish(question, false);
    }
    let third = index.ask(reading);
    assert_eq!(third.len(), first - 1);
    for name in &names[..100] {
        index.begin(name);
    }
    assert_eq!(index.ask(reading).len(), LIMIT - second.len() - third.len());
}

#[test]
fn waiting_answers_are_limited_by_size() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["large", "next"]);
    let (large, answer) = index.readings.next(reading, 1, index.now).unwrap();
    let mut charge = large.permit.charge();
    assert!(charge.add(budget::MAX_SIZE));
    assert!(index.ask(reading).is_empty(), "it arrives");
    let head = Response::new(()).into_parts().0;
    answer.send(Answer::Whole(head, charge.hold(Vec::new()))).unwrap();
    index.readings.finish(large, true);
    assert!(index.ask(reading).is_empty(), "it waits");
    let begun = index.begin("large");
    assert!(index.ask(reading).is_empty(), "the client has not taken it");
    drop(begun);
    assert_eq!(index.ask(reading).len(), 1);
}

#[test]
fn two_versions_of_cargo_read_side_by_side() {
    let mut index = Index::new();
    let one = index.begin("top").reading;
    let two = index.readings.begin(Index::request_of(70, "top"), index.now).reading;
    index.read(one, "top", &["left"]);
    index.read(two, "top", &["left"]);
    let (first, second) = (index.ask(one), index.ask(two));
    assert_eq!((first.len(), second.len()), (1, 1));
    index.begin_process();
    assert!(first[0].1.is_closed() && !second[0].1.is_closed());
    let left = index.readings.begin(Index::request_of(70, "left"), index.now);
    assert!(left.awaited.is_some() && left.reading == two);
}

#[test]
fn a_client_has_few_readings_and_one_budget_for_all() {
    let mut index = Index::new();
    let parts: Vec<String> = (0..30).map(|number| format!("part-{number}")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut questions = Vec::new();
    for version in 0..50 {
        index.now += Duration::from_millis(1);
        let reading = index
            .readings
            .begin(Index::request_of(version, "top"), index.now)
            .reading;
        index.read(reading, "top", &parts);
        questions.extend(index.ask(reading));
    }
    assert_eq!(index.readings.readings.len(), MAX_READINGS_OF_A_CLIENT);
    assert_eq!(
        questions.len(),
        LIMIT,
        "also those of readings that have ended are in flight"
    );
    let given_up = questions.iter().filter(|(_, answer)| answer.is_closed());
    assert_eq!(given_up.count(), LIMIT, "the oldest readings end");
    let mut other = Index::request("top");
    other.client = Principal::Grant("g".to_owned());
    let reading = index.readings.begin(other, index.now).reading;
    index.read(reading, "top", &parts);
    assert_eq!(index.ask(reading).len(), 30, "another client has its own");
}

#[test]
fn nothing_is_learned_from_a_reading_that_was_displaced() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["left", "right"]);
    index.begin("left");
    index.begin("right");
    index.begin_process();
    let reading = index.begin("top").reading;
    assert_eq!(index.names(reading), ["left", "right"]);
    // Its client has not come to the other one yet.
    index.begin("left");
    for version in 0..=MAX_READINGS_OF_A_CLIENT {
        index.now += Duration::from_millis(1);
        index
            .readings
            .begin(Index::request_of(version as u32, "other"), index.now);
    }
    let begun = index.begin("top");
    assert!(begun.is_new);
    assert_eq!(index.names(begun.reading), ["left", "right"]);
}

#[test]
fn an_entry_is_copied_once_at_a_time_and_while_the_reading_lasts() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    let [top, left] = ["top", "left"].map(|name| CrateName::parse(name).unwrap());
    let permit = index.readings.begin_copy(reading, &top).unwrap();
    assert!(index.readings.begin_copy(reading, &top).is_none());
    assert!(index.readings.begin_copy(reading, &left).is_some());
    index.readings.end_copy(reading, &top);
    assert!(index.readings.begin_copy(reading, &top).is_some());
    assert!(!permit.ended.is_cancelled());
    index.begin_process();
    assert!(permit.ended.is_cancelled());
    assert!(index.readings.begin_copy(reading, &top).is_none());
}

#[test]
fn entries_wait_for_a_walk_that_another_worker_has() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    let entry = |name: &str| {
        let line = json!({"vers": "1.0.0", "deps": [{"name": name, "req": "1"}]}).to_string();
        Entry::parse(line.as_bytes(), |_| true)
    };
    let [top, other] = ["top", "other"].map(|name| CrateName::parse(name).unwrap());
    index.readings.arrive(reading, &top, None, entry("left"));
    let (mut walk, name, first) = index.readings.next_unread(reading).unwrap();
    index.readings.arrive(reading, &other, None, entry("right"));
    assert!(index.readings.next_unread(reading).is_none());
    let steps = walk.read(&name, first);
    index.readings.put_back(reading, walk, steps);
    index.read(reading, "end", &[]);
    assert_eq!(index.names(reading), ["left", "right"]);
}

#[test]
fn the_walks_of_all_clients_have_a_size() {
    let mut index = Index::new();
    let features: Vec<String> = (0..4000).map(|number| format!("feature-{number:012}")).collect();
    let line = json!({"vers": "1.0.0", "features": {"default": features}}).to_string();
    for client in 0..MAX_READINGS {
        let mut request = Index::request("top");
        request.client = Principal::Grant(client.to_string());
        let reading = index.readings.begin(request, index.now).reading;
        for number in 0..100 {
            let name = CrateName::parse(&format!("c{number}")).unwrap();
            let entry = Entry::parse(line.as_bytes(), |_| true);
            index.readings.arrive(reading, &name, None, entry);
            if index.readings.reading(reading).unwrap().unread.len() <= number {
                break;
            }
        }
        let mut again = Index::request_of(70, "top");
        again.client = Principal::Grant(client.to_string());
        let again = index.readings.begin(again, index.now).reading;
        let entry = Entry::parse(line.as_bytes(), |_| true);
        index
            .readings
            .arrive(again, &CrateName::parse("c").unwrap(), None, entry);
        let own = [reading, again].map(|id| index.readings.reading(id).map_or(0, |reading| reading.size));
        assert!(own.iter().sum::<usize>() <= walk::MAX_SIZE, "{own:?}");
    }
    let readings = index.readings.readings.iter();
    let sizes = readings
        .flat_map(|reading| &reading.unread)
        .map(|(_, entry)| entry.size());
    let size: usize = sizes.sum();
    assert!((MAX_WALKS_SIZE / 2..=MAX_WALKS_SIZE).contains(&size), "{size}");
}
