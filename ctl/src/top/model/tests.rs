//! Tests of the model: samples and keys in, rows out.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use regauth_shared::{ErrorBody, ErrorKind};

use super::*;
use crate::top::keys::{self, Effect};
use crate::top::samples::{latest, model, sample, take};

fn press(model: &mut Model, codes: impl IntoIterator<Item = KeyCode>) {
    for code in codes {
        assert_ne!(keys::press(model, KeyEvent::from(code)), Effect::Quit);
    }
}

fn type_text(model: &mut Model, text: &str) {
    press(model, text.chars().map(KeyCode::Char));
}

fn names(model: &Model) -> Vec<String> {
    model.registry_rows().iter().map(|row| row.name.to_string()).collect()
}

fn fail(model: &mut Model, kind: ErrorKind) {
    model.take(PollResult {
        result: Err(ErrorBody::new(kind, "no answer")),
        is_regular: true,
    });
}

#[test]
fn rates_are_differences_of_two_samples() {
    let mut model = Model::default();
    take(&mut model, sample(10, 100));
    assert_eq!(model.registry_rows()[0].requests_per_second, None);
    take(&mut model, sample(12, 150));
    let row = &model.registry_rows()[0];
    assert_eq!(row.requests_per_second, Some(25.0));
    assert_eq!(row.bytes_down_per_second, Some(50_000.0));
    assert_eq!(row.history, [0.0, 25.0]);
    assert_eq!(model.client_rows()[0].requests_per_second, Some(25.0));
}

#[test]
fn an_extra_poll_changes_no_rate() {
    let mut model = model();
    let mut extra = sample(11, 151);
    extra.traffic.latest = latest();
    model.take(PollResult {
        result: Ok(extra),
        is_regular: false,
    });
    assert_eq!(model.registry_rows()[0].requests_per_second, Some(50.0));
    assert_eq!(model.latest.len(), 2);
}

#[test]
fn a_restarted_daemon_has_no_negative_rates() {
    let mut model = model();
    fail(&mut model, ErrorKind::Unreachable);
    assert!(matches!(model.connection, Connection::Waiting));
    assert_eq!(names(&model), ["corp", "wheels"], "the last rows stay");
    let mut restarted = sample(1, 3);
    restarted.traffic.started = "2026-03-04T05:06:06Z".to_owned();
    take(&mut model, restarted);
    assert!(matches!(model.connection, Connection::Up));
    assert_eq!(model.registry_rows()[0].requests_per_second, None);
}

#[test]
fn an_error_of_the_daemon_is_not_a_daemon_that_is_away() {
    let mut model = model();
    fail(&mut model, ErrorKind::UnsupportedVersion);
    assert!(matches!(model.connection, Connection::Failing(_)));
}

#[test]
fn percentiles_cover_the_last_minute_or_everything() {
    let mut model = Model::default();
    take(&mut model, sample(0, 100));
    for seconds in 1..200 {
        take(&mut model, sample(seconds, 100));
    }
    assert_eq!(model.registry_rows()[0].registry_time, None);
    type_text(&mut model, "t");
    assert!(model.registry_rows()[0].registry_time.is_some());
}

#[test]
fn what_stops_requests_now_is_shown_before_the_last_refusal() {
    let rows = model().registry_rows();
    let corp = rows[0].trouble.as_ref().unwrap();
    assert_eq!((corp.message.as_str(), corp.is_present), ("write-denied", false));
    let wheels = rows[1].trouble.as_ref().unwrap();
    assert_eq!(
        (wheels.message.as_str(), wheels.is_present),
        ("the registry rejects the token", true)
    );
}

#[test]
fn the_filter_takes_letters_that_are_commands_elsewhere() {
    let mut model = model();
    type_text(&mut model, "/q");
    assert_eq!(names(&model), [""; 0]);
    press(&mut model, [KeyCode::Backspace]);
    type_text(&mut model, "WH");
    press(&mut model, [KeyCode::Enter]);
    assert_eq!(names(&model), ["wheels"]);
    press(&mut model, [KeyCode::Esc]);
    assert_eq!(names(&model), ["corp", "wheels"]);
    type_text(&mut model, "/4711");
    press(&mut model, [KeyCode::Enter, KeyCode::Tab]);
    assert_eq!(model.client_rows().len(), 1);
}

#[test]
fn orders_by_each_column_and_reversed() {
    let mut model = model();
    type_text(&mut model, "r");
    assert_eq!(names(&model), ["wheels", "corp"]);
    type_text(&mut model, "s");
    assert_eq!(model.order_name(), "requests/s");
    assert_eq!(names(&model), ["corp", "wheels"]);
    let mut seen = Vec::new();
    for _ in 0..REGISTRY_ORDERS.len() {
        type_text(&mut model, "s");
        seen.push(model.order_name());
    }
    assert_eq!(seen.last(), Some(&"requests/s"), "{seen:?}");
}

#[test]
fn the_selection_follows_its_row_and_stops_at_the_ends() {
    let mut model = model();
    type_text(&mut model, "jjj");
    assert_eq!(model.selected_registry().unwrap().name.as_str(), "wheels");
    type_text(&mut model, "r");
    assert_eq!(model.registry_index(&model.registry_rows()), 0);
    type_text(&mut model, "G");
    assert_eq!(model.selected_registry().unwrap().name.as_str(), "corp");
    type_text(&mut model, "g");
    assert_eq!(model.selected_registry().unwrap().name.as_str(), "wheels");
}

#[test]
fn the_detail_pane_asks_for_the_requests_of_its_row() {
    let mut model = model();
    assert_eq!(model.query(), TrafficOf::default());
    press(&mut model, [KeyCode::Enter]);
    let query = model.query();
    assert_eq!(query.latest_of_registry.unwrap().as_str(), "corp");
    press(&mut model, [KeyCode::Esc, KeyCode::Tab, KeyCode::Down, KeyCode::Enter]);
    assert_eq!(model.query().latest_of_client, Some(8));
    press(&mut model, [KeyCode::Tab]);
    assert_eq!(model.query(), TrafficOf::default());
}

#[test]
fn a_detail_pane_of_nothing_does_not_open() {
    let mut model = Model::default();
    press(
        &mut model,
        [KeyCode::Enter, KeyCode::Down, KeyCode::Up, KeyCode::Tab, KeyCode::Enter],
    );
    assert_eq!(model.detail, None);
}

#[test]
fn a_paused_model_takes_no_sample() {
    let mut model = model();
    type_text(&mut model, "p");
    take(&mut model, sample(12, 1_000));
    assert_eq!(model.registry_rows()[0].requests, 150);
    type_text(&mut model, "p");
    take(&mut model, sample(13, 250));
    assert_eq!(model.registry_rows()[0].requests_per_second, Some(50.0));
}

#[test]
fn q_and_control_c_quit_everywhere() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for before in ["", "?", "/x"] {
        let mut model = model();
        type_text(&mut model, before);
        assert_eq!(keys::press(&mut model, control_c), Effect::Quit, "{before}");
    }
    for before in ["", "?"] {
        let mut model = model();
        type_text(&mut model, before);
        let effect = keys::press(&mut model, KeyEvent::from(KeyCode::Char('q')));
        assert_eq!(effect, Effect::Quit, "{before}");
    }
}
