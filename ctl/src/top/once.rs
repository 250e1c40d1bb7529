//! One frame as text, or as one JSON object.

use std::thread;
use std::time::Duration;

use regauth_shared::ErrorBody;
use regauth_shared::request::TrafficOf;
use regauth_shared::response::Status;
use serde::Serialize;
use time::OffsetDateTime;

use super::model::{Model, PollResult};
use super::rows::{ClientRow, RegistryRow, Span};
use super::sample::Sample;
use super::view;
use crate::client::Client;
use crate::output::{self, Report};

/// The object that `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Frame {
    daemon: Option<Status>,
    registries: Vec<RegistryRow>,
    clients: Vec<ClientRow>,
    lost: u64,
}

/// Takes two samples, one interval apart, and reports them. Percentiles are of all requests since the daemon's start.
///
/// # Errors
/// No daemon answers.
pub(crate) fn once(client: &Client, interval: Duration) -> Result<Report, ErrorBody> {
    let mut model = Model::default();
    model.span = Span::SinceStart;
    for pause in [Duration::ZERO, interval] {
        thread::sleep(pause);
        let sample = Sample::fetch(client, TrafficOf::default(), None)?;
        model.take(PollResult {
            result: Ok(sample),
            is_regular: true,
        });
    }
    let text = view::page(&model, width(), OffsetDateTime::now_utc());
    let frame = Frame {
        registries: model.registry_rows(),
        clients: model.client_rows(),
        lost: model.lost(),
        daemon: model.status,
    };
    Report::from_value(&frame, text)
}

/// Width of the terminal, or the width that the environment asks for.
fn width() -> u16 {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = output::width().or_else(columns);
    width.unwrap_or(DEFAULT_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH)
}

const DEFAULT_WIDTH: u16 = 120;
const MIN_WIDTH: u16 = 40;
const MAX_WIDTH: u16 = 400;
