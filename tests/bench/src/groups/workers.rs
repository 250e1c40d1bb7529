//! What a request costs when more threads share the work: on a machine with many cores one thread must not be the ceiling,
//! and where there are two, threads that get in each other's way show as processor time.

use crate::contender::Contender;
use crate::load::{Amount, Protocol, load};
use crate::origin;
use crate::results::{Results, Row, Unit};
use crate::stage::Stage;

/// Measures the regauthds, each with one to eight workers.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let with = |number| {
        let binaries = stage.binaries.iter();
        binaries.map(move |binary| Contender::with_workers(binary, &stage.origin, number))
    };
    let mut contenders: Vec<Contender> = NUMBERS.into_iter().flat_map(with).collect();
    let h2 = Protocol::H2 {
        connections: stage.h2_connections,
    };
    for (protocol, rows) in [(Protocol::H1, H1), (h2, H2)] {
        stage.in_turns(&mut contenders, |contender| {
            let url = stage.origin.url(contender.section(), origin::SMALL);
            let load = load(&stage.oha, contender, &url, protocol, Amount::For(stage.duration));
            let place = NUMBERS.iter().position(|number| contender.workers == Some(*number));
            results.record(rows[place.unwrap()], &contender.name, load.processor);
        });
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
