//! `cargo fetch` with an empty `CARGO_HOME`: a large program's crates, and a small one's over a long wire.

use std::time::{Duration, Instant};

use regauth_tests::cargo::Cargo;
use regauth_tests::curl::Curl;

use crate::contender::Contender;
use crate::origin;
use crate::results::{Goal, Results, Row, Unit};
use crate::shelf;
use crate::stage::Stage;
use crate::wire::Wire;

/// Measures everybody.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let mut contenders = stage.contenders();
    let wire = Wire::to(&stage.origin);
    for contender in &contenders {
        contender.add("far", &wire.authority(), &stage.origin.roots());
    }
    let (near, far) = (stage.origin.authority(), wire.authority());
    let many = shelf::roots_of_many();
    let few = ["serde", "regex"].map(str::to_owned);
    for (authority, needed, row) in [(&near, &many[..], NEAR), (&far, &many[..], FAR), (&far, &few[..], FEW)] {
        stage.in_turns(&mut contenders, |contender| {
            warm(contender, authority);
            let took = fetch(contender, authority, needed);
            results.record(row, &contender.name, took.as_secs_f64());
        });
    }
    stage.in_turns(&mut contenders, |contender| {
        contender.restart();
        contender.until_ready();
        let took = fetch(contender, &far, &few);
        results.record(COLD, &contender.name, took.as_secs_f64());
    });
}

/// A proxy in life has been asked for something lately.
fn warm(contender: &Contender, authority: &str) {
    let Some(proxy) = contender.proxy() else { return };
    let config = format!("https://{authority}/{}/index/config.json", contender.section());
    let curl = Curl::new().proxy(&proxy).trusts(&contender.roots);
    assert_eq!(curl.get(&config).status, 200);
}

fn fetch(contender: &Contender, authority: &str, needed: &[String]) -> Duration {
    let index = format!("sparse+https://{authority}/{}/index/", contender.section());
    let mut cargo = Cargo::within(origin::folder())
        .registry("corp", &index)
        .trusts(&contender.roots);
    if let Some(proxy) = contender.proxy() {
        cargo = cargo.proxy(&proxy);
    }
    let lines: Vec<String> = needed
        .iter()
        .map(|name| format!("{name} = {{ version = \"1\", registry = \"corp\" }}"))
        .collect();
    let cargo = cargo.depends_on(&lines.join("\n"));
    let begin = Instant::now();
    let outcome = cargo.fetch();
    let took = begin.elapsed();
    outcome.succeeds();
    took
}

const NEAR: Row = Row::new("cargo fetch, 507 crates", Unit::Seconds, &[Goal::Direct(1.03)]);
const FAR: Row = Row::new("cargo fetch, 507 crates, 60 ms", Unit::Seconds, &[Goal::Direct(0.8)]);
const FEW: Row = Row::new(
    "cargo fetch, serde + regex, 60 ms",
    Unit::Seconds,
    &[Goal::Direct(0.45)],
);
const COLD: Row = Row::new("the same, the daemon just started", Unit::Seconds, &[]);
