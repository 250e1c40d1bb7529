//! Keys: each changes the [`Model`], or ends `top`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Model;
use super::rows::Span;

/// Consequence of a key for the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Draw the model.
    Draw,
    /// Draw the whole screen again: another program has written to it.
    Clear,
    /// End.
    Quit,
}

/// Applies a key to the model.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> Effect {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Effect::Quit,
            KeyCode::Char('l') => Effect::Clear,
            _ => Effect::Draw,
        };
    }
    if model.filter.is_edited {
        edit_filter(model, key.code);
        return Effect::Draw;
    }
    if model.shows_help {
        model.shows_help = false;
        return if key.code == KeyCode::Char('q') {
            Effect::Quit
        } else {
            Effect::Draw
        };
    }
    match key.code {
        KeyCode::Char('q') => return Effect::Quit,
        KeyCode::Char('?' | 'h') => model.shows_help = true,
        KeyCode::Char('/') => model.filter.is_edited = true,
        KeyCode::Char('s') => model.next_order(),
        KeyCode::Char('r') => model.reverse_order(),
        KeyCode::Char('p' | ' ') => model.is_paused = !model.is_paused,
        KeyCode::Char('t') => model.span = other(model.span),
        KeyCode::Tab | KeyCode::BackTab => model.switch_tab(),
        KeyCode::Enter if model.detail.is_none() => model.open_detail(),
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Enter => close(model),
        KeyCode::Up | KeyCode::Char('k') => model.move_by(-1),
        KeyCode::Down | KeyCode::Char('j') => model.move_by(1),
        KeyCode::PageUp => model.move_by(-PAGE),
        KeyCode::PageDown => model.move_by(PAGE),
        KeyCode::Home | KeyCode::Char('g') => model.move_by(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => model.move_by(isize::MAX),
        _ => {}
    }
    Effect::Draw
}

fn edit_filter(model: &mut Model, code: KeyCode) {
    let filter = &mut model.filter;
    match code {
        KeyCode::Enter => filter.is_edited = false,
        KeyCode::Esc => {
            filter.is_edited = false;
            filter.text.clear();
        }
        KeyCode::Backspace => drop(filter.text.pop()),
        KeyCode::Char(typed) if filter.text.chars().count() < MAX_FILTER => filter.text.push(typed),
        _ => {}
    }
}

/// Closes the detail pane, else removes the filter.
fn close(model: &mut Model) {
    if model.detail.take().is_none() {
        model.filter.text.clear();
    }
}

fn other(span: Span) -> Span {
    match span {
        Span::LastMinute => Span::SinceStart,
        Span::SinceStart => Span::LastMinute,
    }
}

const PAGE: isize = 10;
const MAX_FILTER: usize = 40;
