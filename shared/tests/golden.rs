//! Golden files: the bytes of every message, written and read back.
//!
//! A change that breaks a file is a new version of the protocol. `REGAUTH_BLESS=1 cargo test -p regauth-shared` rewrites
//! the files.

#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a table is as long as its cases; clippy takes only functions marked #[test] for tests"
)]

mod events;
mod samples;

use std::fmt::Debug;
use std::path::PathBuf;

use regauth_shared::event::{Event, EventKind};
use regauth_shared::frame::Answer;
use regauth_shared::response::{CredentialState, SocketOrigin, Sockets, Status, Stopping, VerdictResult};
use regauth_shared::version::Greeting;
use regauth_shared::{ErrorBody, ErrorKind, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[test]
fn greeting_matches_its_golden_file() {
    let line = compare_with_golden("hello", &serde_json::to_string(&samples::greeting()).unwrap());
    assert_eq!(serde_json::from_str::<Greeting>(&line).unwrap(), samples::greeting());
}

#[test]
fn requests_match_their_golden_files() {
    for (name, request) in samples::requests() {
        let line = compare_with_golden(&format!("request/{name}"), &request.to_line().unwrap());
        // A request may hold a secret and has no `PartialEq`, so its line stands for it.
        assert_eq!(Request::from_line(&line).unwrap().to_line().unwrap(), line, "{name}");
    }
}

#[test]
fn requests_may_leave_out_fields_with_a_default() {
    let short = r#"{"v":1,"method":"add-registry","name":"corp","index":"sparse+https://corp.example/i/","token":"t"}"#;
    let Request::AddRegistry(fields) = Request::from_line(short).unwrap() else {
        panic!("another method");
    };
    assert!(fields.verify);
    assert!(fields.scopes.is_empty());
}

#[test]
fn answers_match_their_golden_files() {
    samples::answers(&mut MatchesGolden);
}

#[test]
fn answers_of_a_newer_daemon_still_parse() {
    samples::answers(&mut HasUnknownFields);
}

#[test]
fn events_match_their_golden_files() {
    for (name, event) in events::events() {
        let line = compare_with_golden(&format!("event/{name}"), &serde_json::to_string(&event).unwrap());
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{name}");
        let mut value = serde_json::to_value(&event).unwrap();
        add_unknown_fields(&mut value);
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event, "{name}");
    }
}

#[test]
fn errors_match_their_golden_files() {
    for (name, error) in samples::errors() {
        let line = compare_with_golden(&format!("error/{name}"), &line(&Answer::<Value>::Err(error.clone())));
        let Answer::Err(parsed) = serde_json::from_str::<Answer<Value>>(&line).unwrap() else {
            panic!("{name} is not an error");
        };
        assert_eq!(parsed, error, "{name}");
    }
}

#[test]
fn values_that_only_a_newer_daemon_knows_parse_as_unknown() {
    let error = json!({"kind": "struck-by-lightning", "message": "It was.", "since": "noon"});
    assert_eq!(
        serde_json::from_value::<ErrorBody>(error).unwrap(),
        ErrorBody::new(ErrorKind::Unknown, "It was.")
    );
    let event: Event =
        serde_json::from_value(json!({"time": 1, "sequence": 2, "event": "eclipse", "of": "sun"})).unwrap();
    assert_eq!(event.kind, EventKind::Unknown);
    let state: CredentialState = serde_json::from_value(json!("dreaming")).unwrap();
    assert_eq!(state, CredentialState::Unknown);
    let origin: SocketOrigin = serde_json::from_value(json!("inherited")).unwrap();
    assert_eq!(origin, SocketOrigin::Unknown);
    let result: VerdictResult = serde_json::from_value(json!("perhaps")).unwrap();
    assert_eq!(result, VerdictResult::Unknown);
}

#[test]
fn answers_of_the_first_release_still_parse() {
    let status = r#"{"ok":{"version":"0.1.0","pid":4242,"started":"2026-03-04T05:00:00Z","listen":"127.0.0.1:9001","proxy":"http://127.0.0.1:9001","bundle":"/b.pem","config":"/c.toml","store":{"kind":"vault","protection":"a file","state":"open"},"registries":2,"connections":3,"requests":1234}}"#;
    assert_eq!(parse::<Status>(status).sockets, Sockets::default());
    let stopping = parse::<Stopping>(r#"{"ok":{"connections":3,"pid":4242}}"#);
    assert_eq!(stopping.at_most, None);
}

/// Compares each answer with its golden file, and parses the file to the same value.
struct MatchesGolden;

impl samples::EachAnswer for MatchesGolden {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, answer: T) {
        let line = compare_with_golden(&format!("response/{name}"), &line(&Answer::Ok(&answer)));
        assert_eq!(parse::<T>(&line), answer, "{name}");
    }
}

/// Adds an unknown field to every object and parses the result to the same value.
struct HasUnknownFields;

impl samples::EachAnswer for HasUnknownFields {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, answer: T) {
        let mut body = serde_json::to_value(&answer).unwrap();
        add_unknown_fields(&mut body);
        assert_eq!(parse::<T>(&json!({"ok": body}).to_string()), answer, "{name}");
    }
}

fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_unknown_fields);
            fields.insert("from-the-future".to_owned(), json!({"x": [1]}));
        }
        Value::Array(values) => values.iter_mut().for_each(add_unknown_fields),
        _ => {}
    }
}

fn line<T: Serialize>(answer: &Answer<T>) -> String {
    serde_json::to_string(answer).unwrap()
}

fn parse<T: DeserializeOwned>(line: &str) -> T {
    match serde_json::from_str::<Answer<T>>(line).unwrap() {
        Answer::Ok(answer) => answer,
        Answer::Err(error) => panic!("{error:?}"),
    }
}

/// Compares a line with its golden file and returns the file's line.
fn compare_with_golden(name: &str, today: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    if std::env::var_os("REGAUTH_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{today}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; REGAUTH_BLESS=1 writes it", file.display()));
    let golden = golden.strip_suffix('\n').unwrap_or(&golden);
    assert_eq!(golden, today, "{name}");
    golden.to_owned()
}
