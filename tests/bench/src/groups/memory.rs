//! What stays resident: idle, with a thousand idle clients, and after very many requests.

use crate::contender::Contender;
use crate::idle;
use crate::load::{Amount, Protocol, load};
use crate::memory::resident;
use crate::origin::{self, GUARDED, SMALL};
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;

/// Measures every proxy, once, since memory hardly varies, and freshly started for each row, since some is never given back.
/// Very many requests are for the regauthds alone: there are peers that would take an hour.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    for one in [idle, tunnels, intercepted] {
        for contender in stage.proxies().take_while(|_| !stage.is_interrupted()) {
            one(stage, &contender, results);
        }
    }
    for contender in stage.regauths().take_while(|_| !stage.is_interrupted()) {
        many(stage, &contender, results);
    }
}

fn idle(_: &Stage, contender: &Contender, results: &mut Results) {
    results.record(IDLE, &contender.name, contender.pid().map(resident));
}

fn tunnels(_: &Stage, contender: &Contender, results: &mut Results) {
    let _open = idle::tunnels(contender, CLIENTS);
    results.record(TUNNELS, &contender.name, contender.pid().map(resident));
}

fn intercepted(stage: &Stage, contender: &Contender, results: &mut Results) {
    let path = format!("/{GUARDED}/{SMALL}");
    let _open = idle::intercepted(contender, &stage.origin.authority(), &path, CLIENTS);
    results.record(INTERCEPTED, &contender.name, contender.pid().map(resident));
}

fn many(stage: &Stage, contender: &Contender, results: &mut Results) {
    let url = stage.origin.url(contender.section(), origin::SMALL);
    let mut sent = 0;
    for (requests, row) in AFTER {
        load(
            &stage.oha,
            contender,
            &url,
            Protocol::h1(),
            Amount::Of(requests / stage.haste - sent),
        );
        sent = requests / stage.haste;
        results.record(row, &contender.name, contender.pid().map(resident));
    }
}

const CLIENTS: usize = 1000;

const IDLE: Row = Row::new("resident, idle", Unit::Bytes, &[mebibytes(8.0)]);
const TUNNELS: Row = Row::new("resident, 1,000 idle tunnels", Unit::Bytes, &[mebibytes(25.0)]);
const INTERCEPTED: Row = Row::new("resident, 1,000 idle intercepted", Unit::Bytes, &[mebibytes(60.0)]);
const AFTER: [(u64, Row); 2] = [
    (100_000, Row::new("resident after 100,000 requests", Unit::Bytes, &[])),
    (
        1_000_000,
        Row::new("resident after 1,000,000 requests", Unit::Bytes, &[]),
    ),
];

const fn mebibytes(most: f64) -> Goal {
    Goal::Value(most * 1048576.0)
}
