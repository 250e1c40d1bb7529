//! What a request costs when more threads share the work, each with the sixteen requests that one has otherwise: on a machine
//! with many cores one thread must not be the ceiling, and threads that get in each other's way show as processor time.

use crate::contender::Contender;
use crate::load::{Amount, Protocol, load};
use crate::origin;
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;

/// Measures the regauthds, each with one to eight workers.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let with = |number| {
        let binaries = stage.binaries.iter();
        binaries.map(move |binary| Contender::with_workers(binary, &stage.origin, number))
    };
    let mut contenders: Vec<Contender> = NUMBERS.into_iter().flat_map(with).collect();
    for (protocol, rows, flatness) in [
        (Protocol::h1(), H1, FLATNESS_H1),
        (Protocol::h2(stage.h2_connections), H2, FLATNESS_H2),
    ] {
        stage.in_turns(&mut contenders, |contender| {
            let url = stage.origin.url(contender.section(), origin::SMALL);
            let workers = contender.workers.unwrap();
            let protocol = protocol.times(workers);
            let load = load(&stage.oha, contender, &url, protocol, Amount::For(stage.duration));
            let place = NUMBERS.iter().position(|number| *number == workers);
            results.record(rows[place.unwrap()], &contender.name, load.processor);
        });
        for binary in &stage.binaries {
            let [one, .., eight] = rows.map(|row| results.median(row, &binary.label));
            results.record(flatness, &binary.label, eight.zip(one).map(|(eight, one)| eight / one));
        }
    }
}

const NUMBERS: [u16; 4] = [1, 2, 4, 8];
const H1: [Row; 4] = [
    Row::new("CPU per request, h1, 1 worker", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 2 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 4 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 8 workers", Unit::Seconds, &[]),
];
const H2: [Row; 4] = [
    Row::new("CPU per request, h2, 1 worker", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 2 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 4 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 8 workers", Unit::Seconds, &[]),
];
const FLATNESS_H1: Row = Row::new("eight by one, h1", Unit::Ratio, FLAT);
const FLATNESS_H2: Row = Row::new("eight by one, h2", Unit::Ratio, FLAT);
const FLAT: &[Goal] = &[Goal::Value(1.1)];
