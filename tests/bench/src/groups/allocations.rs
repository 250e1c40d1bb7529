//! How often and how much the daemon allocates for a request: its own library with an allocator that counts.

use regauth_tests::poll;
use rustix::process::{Pid, Signal, kill_process};

use crate::arguments::Binary;
use crate::contender::Contender;
use crate::load::{Amount, Protocol, load};
use crate::origin;
use crate::results::{Results, Row, Unit};
use crate::stage::Stage;
use crate::tools;

/// Measures the daemon of these sources, once: the count hardly varies.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let binary = Binary {
        label: "regauthd".to_owned(),
        path: tools::counted().unwrap(),
    };
    let contender = Contender::regauth(&binary, &stage.origin);
    for (protocol, number, bytes) in [
        (Protocol::h1(), NUMBER_H1, BYTES_H1),
        (Protocol::h2(4), NUMBER_H2, BYTES_H2),
    ] {
        let url = stage.origin.url(contender.section(), origin::SMALL);
        let go = || load(&stage.oha, &contender, &url, protocol, Amount::Of(REQUESTS));
        go();
        let before = allocated(&contender);
        go();
        let after = allocated(&contender);
        results.record(number, &contender.name, (after[0] - before[0]) / REQUESTS as f64);
        results.record(bytes, &contender.name, (after[1] - before[1]) / REQUESTS as f64);
    }
}

/// The number and the bytes so far, in its own words.
fn allocated(contender: &Contender) -> [f64; 2] {
    let daemon = contender.daemon().unwrap();
    let said = || -> Vec<String> {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("allocated "));
        lines.map(str::to_owned).collect()
    };
    let before = said().len();
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    let line = poll::wait_for("the count", || said().into_iter().nth(before));
    let (number, bytes) = line.split_once(' ').unwrap();
    [number.parse().unwrap(), bytes.parse().unwrap()]
}

/// So many that the connections they need hardly count.
const REQUESTS: u64 = 20_000;

const NUMBER_H1: Row = Row::new("allocations per request, h1", Unit::Count, &[]);
const BYTES_H1: Row = Row::new("bytes allocated per request, h1", Unit::Bytes, &[]);
const NUMBER_H2: Row = Row::new("allocations per request, h2", Unit::Count, &[]);
const BYTES_H2: Row = Row::new("bytes allocated per request, h2", Unit::Bytes, &[]);
