//! Tests of the view: models drawn into a buffer.

use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::style::Color;
use regauth_shared::{ErrorBody, ErrorKind};

use super::*;
use crate::top::keys;
use crate::top::model::{Connection, Model};
use crate::top::samples::{latest, model, now};

fn buffer(model: &Model, width: u16, height: u16, theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = terminal.draw(|frame| draw(frame, model, &theme, now())).unwrap();
    drawn.buffer.clone()
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    to_text(&buffer(model, width, height, Theme::colourless()))
}

fn press(model: &mut Model, code: KeyCode) {
    keys::press(model, KeyEvent::from(code));
}

#[track_caller]
fn assert_shows(screen: &str, texts: &[&str]) {
    for text in texts {
        assert!(screen.contains(text), "{text:?} is not in\n{screen}");
    }
}

#[test]
fn eighty_columns_show_the_most_important_ones_and_the_panel_the_rest() {
    let screen = screen(&model(), 80, 24);
    assert_shows(
        &screen,
        &[
            "regauthd 0.1.0  up 1h  50.0 req/s  4 active  3 connections  2 refused",
            "REGISTRY",
            "REQ/S",
            "P95",
            "OWN P95",
            "EXPIRES",
            "corp",
            "50.0",
            "write-denied 2",
            "generation 3   expires in 5h",
            "open for 4:07",
            "write-denied (3:00 ago)",
            "q quit  ? help  Tab clients",
        ],
    );
    assert!(!screen.contains("TROUBLE"), "{screen}");
}

#[test]
fn two_hundred_columns_show_every_column() {
    let screen = screen(&model(), 200, 50);
    let heading = screen.lines().find(|line| line.starts_with("REGISTRY")).unwrap();
    for column in registries::titles() {
        assert!(heading.contains(column), "{column} is not in {heading}");
    }
    assert_shows(&screen, &["4:07", "99%", "the registry rejects the token", "r reverse"]);
}

#[test]
fn clients_show_program_process_and_grant() {
    let mut model = model();
    press(&mut model, KeyCode::Tab);
    let screen = screen(&model, 80, 24);
    assert_shows(
        &screen,
        &[
            "PROGRAM",
            "cargo",
            "4711",
            "grant 3f9a1c2e",
            "/home/me/project",
            "Tab registries",
        ],
    );
    press(&mut model, KeyCode::Down);
    assert_shows(&self::screen(&model, 80, 24), &["192.0.2.7"]);
}

#[test]
fn a_token_that_cannot_be_fetched_is_named_with_its_reason_and_the_next_attempt() {
    for (state, shown) in [
        (
            "ready",
            "no new token: jfrog.example answered 503: maintenance (0:07 ago)",
        ),
        (
            "expired",
            "the token has expired: jfrog.example answered 503: maintenance",
        ),
    ] {
        let mut sample = crate::top::samples::sample(12, 200);
        let credential = serde_json::json!({
            "state": state, "generation": 3, "expires": "2026-03-04T05:06:00Z", "renews": "2026-03-04T05:06:48Z",
            "failure": {"message": "jfrog.example answered 503: maintenance", "at": "2026-03-04T05:06:00Z"},
        });
        sample.registries[0].credential = serde_json::from_value(credential).unwrap();
        let mut model = model();
        crate::top::samples::take(&mut model, sample);
        assert_shows(&screen(&model, 160, 50), &[shown, "expires over   renews in 0:41"]);
    }
}

#[test]
fn the_detail_pane_lists_requests_with_the_refusal_code() {
    let mut model = model();
    press(&mut model, KeyCode::Enter);
    model.latest = latest();
    assert_shows(
        &screen(&model, 80, 24),
        &["05:06:07", "GET", "200", "/index/se/rd/serde", "85µs", "Esc back"],
    );
    assert_shows(&screen(&model, 200, 50), &["403", "write-denied", "PUT", "reused"]);
    press(&mut model, KeyCode::Down);
    assert!(!screen(&model, 80, 24).contains("/index/se/rd/serde"));
}

#[test]
fn help_and_filter_are_shown_while_they_are_used() {
    let mut model = model();
    press(&mut model, KeyCode::Char('?'));
    assert_shows(&screen(&model, 80, 24), &["quit (also Ctrl-C)", "REUSED"]);
    press(&mut model, KeyCode::Esc);
    for typed in "/wh".chars() {
        press(&mut model, KeyCode::Char(typed));
    }
    let filtered = screen(&model, 80, 24);
    assert_shows(&filtered, &["filter: wh_", "wheels"]);
    assert!(!filtered.contains("corp"), "{filtered}");
}

#[test]
fn a_daemon_that_is_away_or_fails_is_named() {
    let mut model = model();
    model.connection = Connection::Waiting;
    assert_shows(&screen(&model, 80, 24), &["daemon not running, waiting", "corp"]);
    model.connection = Connection::Failing(ErrorBody::new(ErrorKind::Invalid, "it does not know").hint("restart it"));
    assert_shows(&screen(&model, 80, 24), &["it does not know; restart it"]);
    assert_shows(
        &screen(&Model::default(), 80, 24),
        &["waiting for the first answer", "q quit"],
    );
}

#[test]
fn a_tiny_terminal_says_what_is_needed() {
    let text = screen(&model(), 20, 10)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        text,
        "This terminal has 20 columns and 10 lines. top needs 40 and 8. q quits."
    );
}

#[test]
fn no_size_is_too_strange() {
    let mut states = Vec::new();
    for keys in ["", "?", "\t", "\n", "\t\n", "/x"] {
        let mut model = model();
        for key in keys.chars() {
            press(
                &mut model,
                match key {
                    '\t' => KeyCode::Tab,
                    '\n' => KeyCode::Enter,
                    other => KeyCode::Char(other),
                },
            );
        }
        model.latest = latest();
        states.push(model);
    }
    states.push(Model::default());
    for model in &states {
        for (width, height) in (0..48).flat_map(|width| (0..20).map(move |height| (width, height * 2))) {
            screen(model, width, height);
        }
        screen(model, 1_000, 3);
    }
}

#[test]
fn colours_are_of_the_terminals_own_sixteen_and_can_be_turned_off() {
    let coloured = buffer(&model(), 200, 50, Theme::coloured());
    let colours: Vec<_> = coloured.content().iter().map(|cell| (cell.fg, cell.bg)).collect();
    assert!(colours.iter().any(|(foreground, _)| *foreground == Color::Red));
    let is_own = |colour: Color| !matches!(colour, Color::Rgb(..) | Color::Indexed(_) | Color::White | Color::Black);
    assert!(
        colours
            .iter()
            .all(|(foreground, background)| is_own(*foreground) && is_own(*background))
    );
    let plain = buffer(&model(), 200, 50, Theme::colourless());
    assert!(
        plain
            .content()
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn escape_sequences_of_a_program_name_reach_no_terminal() {
    let mut sample = crate::top::samples::sample(12, 200);
    sample.traffic.clients[0].client.program = Some("/tmp/\x1b[2Jevil\u{9b}".to_owned());
    let mut model = model();
    crate::top::samples::take(&mut model, sample);
    press(&mut model, KeyCode::Tab);
    assert!(screen(&model, 200, 50).chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn a_printed_frame_has_both_tables() {
    let text = page(&model(), 120, now());
    assert_shows(&text, &["regauthd 0.1.0", "corp", "wheels", "cargo", "192.0.2.7"]);
    assert!(!text.contains("quit"), "{text}");
}
