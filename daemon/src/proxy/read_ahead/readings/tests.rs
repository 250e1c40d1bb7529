//! Tests of readings: a client asks, entries arrive, and the next questions follow.

use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use serde_json::json;

use super::*;

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
            .read(reading, &CrateName::parse(name).unwrap(), Some(tag), entry);
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
        |index, _| index.readings.begin_process(&Principal::Owner),
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
    index.readings.begin_process(&Principal::Owner);
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
    index.readings.begin_process(&Principal::Owner);
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
    assert_eq!(questions.len(), MIN_GUESSES + GUESSES_FOR_EACH_REQUEST);
    index.begin("part-0");
    assert_eq!(index.ask(reading).len(), 1 + GUESSES_FOR_EACH_REQUEST);
    for (question, _) in &questions {
        index.readings.finish(reading, &question.name, None);
    }
    assert_eq!(index.ask(reading).len(), questions.len() - 1);
    for name in &names[..100] {
        index.begin(name);
    }
    assert_eq!(
        index.ask(reading).len(),
        LIMIT - GUESSES_FOR_EACH_REQUEST - questions.len()
    );
}

#[test]
fn waiting_answers_are_limited_by_size() {
    let mut index = Index::new();
    let reading = index.begin("top").reading;
    index.read(reading, "top", &["large", "next"]);
    let (large, _answer) = index.readings.next(reading, 1, index.now).unwrap();
    index.readings.finish(reading, &large.name, Some(MAX_WAITING_SIZE));
    assert!(index.ask(reading).is_empty());
    index.begin("large");
    assert_eq!(index.ask(reading).len(), 1);
}
