//! A daemon that people install and forget: what it remembers from older releases, what it logs and when, certificates
//! that come and go, an end that can be waited for, and no growth.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use regauth_tests::certificates::Authority;
use regauth_tests::client;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::herd::{Felt, Herd, Size};
use regauth_tests::honeypot::Honeypot;
use regauth_tests::keyring::Keyring;
use regauth_tests::leaks::Hunt;
use regauth_tests::poll;
use regauth_tests::registry::Registry;
use rustix::process::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "s3ntinel-of-a-life";

/// A registry that takes any token, added to a daemon.
fn registry(daemon: &Daemon) -> (Honeypot, Authority) {
    let authority = Authority::new("Corp Root");
    let registry = Honeypot::builder(&authority, "localhost").start();
    let place = ["--scope", &registry.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &place, &Scheme::bearer(), &authority.file(), TOKEN)
        .succeeds();
    (registry, authority)
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn the_state_of_the_first_release_is_moved_on_and_kept_as_it_was() {
    let mut daemon = Daemon::builder().store("vault").start();
    let (registry, _authority) = registry(&daemon);
    daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    let bundle = fs::read(daemon.bundle()).unwrap();
    daemon.stop();
    let files = ["ledger.json", "grants.json"].map(|name| daemon.home().join("state").join(name));
    for file in &files {
        let mut content = json_of(file);
        assert_eq!(content["version"], 2);
        assert_eq!(content["release"], env!("CARGO_PKG_VERSION"));
        // As the first release wrote it.
        content["version"] = json!(1);
        content.as_object_mut().unwrap().remove("release");
        fs::write(file, content.to_string()).unwrap();
    }
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    daemon.restart();
    for (file, before) in files.iter().zip(before) {
        assert_eq!(json_of(file)["version"], 2);
        assert_eq!(fs::read(file.with_extension("json.v1")).unwrap(), before);
    }
    assert_eq!(
        fs::read(daemon.bundle()).unwrap(),
        bundle,
        "running clients go on trusting it"
    );
    assert_eq!(Curl::new().behind(&daemon).get(&registry.url("/")).status, 200);
    assert_eq!(daemon.ctl(&["grants"]).json["grants"].as_array().unwrap().len(), 1);
}

#[test]
fn the_state_of_a_newer_release_is_refused_and_nothing_is_touched() {
    let mut daemon = Daemon::builder().store("vault").start();
    registry(&daemon);
    daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    daemon.stop();
    for name in ["ledger.json", "grants.json"] {
        let file = daemon.home().join("state").join(name);
        let good = fs::read(&file).unwrap();
        let older = daemon.home().join("state/ledger.json");
        if name == "grants.json" {
            // One that would be moved on, were it not for the other.
            fs::write(&older, json!({"version": 1}).to_string()).unwrap();
        }
        fs::write(&file, r#"{"version":7,"release":"3.2.1","unheard":["of"]}"#).unwrap();
        fs::remove_file(daemon.home().join("config.toml")).unwrap();
        let before = everything_below(daemon.home());
        let outcome = Daemon::builder().store("vault").run(daemon.home()).fails();
        for part in [
            name,
            "regauthd 3.2.1",
            "nothing was changed",
            "Install that release again",
        ] {
            assert!(outcome.stderr.contains(part), "{}", outcome.report());
        }
        assert_eq!(everything_below(daemon.home()), before);
        fs::write(daemon.home().join("config.toml"), "").unwrap();
        fs::write(&file, good).unwrap();
    }
}

/// All files with their content, but for the lock that every start takes.
fn everything_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(everything_below(&path));
        } else if entry.file_name() != "daemon.lock" {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_regauthctl_of_the_first_release_and_one_of_the_next_are_both_answered() {
    let daemon = Daemon::start();
    let said = |line: &str| {
        let mut stream = UnixStream::connect(daemon.home().join("run/control.sock")).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let greeting: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(
            greeting["hello"]["versions"].as_array().unwrap().contains(&json!(1)),
            "{greeting}"
        );
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()
    };
    let status = said(r#"{"v":1,"method":"status"}"#);
    for field in [
        "version",
        "pid",
        "started",
        "listen",
        "proxy",
        "bundle",
        "config",
        "store",
        "registries",
        "requests",
    ] {
        assert!(
            !status["ok"][field].is_null(),
            "the first release reads {field}: {status}"
        );
    }
    let refused = said(r#"{"v":2,"method":"status","shape":"round"}"#);
    assert_eq!(refused["err"]["kind"], "unsupported-version", "{refused}");
    let unknown = said(r#"{"v":1,"method":"teleport"}"#);
    assert_eq!(unknown["err"]["kind"], "invalid", "{unknown}");
}

#[test]
fn the_log_level_changes_while_it_runs_and_no_level_shows_a_token() {
    let daemon = Daemon::builder().log_level("warn").start();
    let (registry, _authority) = registry(&daemon);
    let curl = Curl::new()
        .behind(&daemon)
        .header(&format!("authorization: Bearer {TOKEN}"));
    assert_eq!(daemon.ctl(&["log"]).succeeds().json["level"], "warn");
    assert_eq!(curl.get(&registry.url("/quiet")).status, 200);
    assert_eq!(daemon.log(), "", "nothing to warn of");
    for level in ["debug", "trace"] {
        assert_eq!(daemon.ctl(&["log", level]).succeeds().json["level"], level);
        assert_eq!(curl.get(&registry.url("/loud")).status, 200);
        let wanted = format!("{:>5} ", level.to_uppercase());
        assert!(daemon.log().contains(&wanted), "{wanted}: {}", daemon.log());
    }
    daemon.rotate("corp", &format!("{TOKEN}-2")).succeeds();
    Hunt::new(TOKEN).look("the log", daemon.log()).assert_clean();
    daemon.ctl(&["log", "error"]).succeeds();
    let before = daemon.log();
    assert_eq!(curl.get(&registry.url("/quiet")).status, 200);
    assert_eq!(daemon.log(), before);
    daemon.ctl(&["log", "loud"]).exits(2);
}

#[test]
fn logs_are_json_when_that_is_wanted() {
    let daemon = Daemon::builder().log_level("info").arg("--log-format=json").start();
    registry(&daemon);
    let log = daemon.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let added = lines
        .iter()
        .find(|line| line["fields"]["message"] == "added registry")
        .unwrap();
    assert_eq!(
        (&added["fields"]["registry"], &added["level"]),
        (&json!("corp"), &json!("INFO"))
    );
}

#[test]
fn one_unreadable_ca_file_refuses_one_registry_until_a_reload_finds_it() {
    let authority = Authority::new("Corp Root");
    let [good, bad] = ["127.0.0.1", "localhost"].map(|host| Honeypot::builder(&authority, host).start());
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("root.pem");
    let section = |name: &str, registry: &Honeypot, ca: &Path| {
        let (scope, ca) = (registry.url("/"), ca.display());
        format!("[registries.{name}]\nscopes = [\"{scope}\"]\nca-file = \"{ca}\"\nsource = \"env:CORP_TOKEN\"\n")
    };
    let config = section("good", &good, &authority.file()) + &section("bad", &bad, &missing);
    let daemon = Daemon::builder().config(&config).env("CORP_TOKEN", TOKEN).start();
    let ask = |registry: &Honeypot| {
        let answer = Curl::new().behind(&daemon).get(&registry.url("/"));
        (answer.status, answer.header("regauth-error").map(str::to_owned))
    };
    let untrusted = (502, Some("upstream-untrusted".to_owned()));
    assert_eq!(ask(&good), (200, None));
    assert_eq!(ask(&bad), untrusted);
    let status = daemon.ctl(&["status"]).json["problems"].to_string();
    assert!(
        status.contains("registry `bad`: cannot read") && status.contains("regauthctl reload"),
        "{status}"
    );
    let trouble = daemon.ctl(&["show", "bad"]).json["trouble"].to_string();
    assert!(trouble.contains(missing.to_str().unwrap()), "{trouble}");
    assert_eq!(bad.requests().len(), 0);

    fs::copy(authority.file(), &missing).unwrap();
    daemon.signal(Signal::HUP);
    poll::wait_for("the file to be read", || (ask(&bad) == (200, None)).then_some(()));
    assert!(daemon.ctl(&["show", "bad"]).json["trouble"].is_null());

    // Another authority's file: what the registry has is trusted no more.
    fs::copy(Authority::new("Another Root").file(), &missing).unwrap();
    assert_eq!(ask(&bad), (200, None), "not before a reload");
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(ask(&bad), untrusted);

    // One that goes away is missed, and what was read stays.
    fs::copy(authority.file(), &missing).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    fs::remove_file(&missing).unwrap();
    let notes = daemon.ctl(&["reload"]).succeeds().json["notes"].to_string();
    assert!(notes.contains("registry `bad`: cannot read"), "{notes}");
    assert_eq!((ask(&bad), ask(&good)), ((200, None), (200, None)));
}

#[test]
fn the_systems_roots_are_read_again_at_a_reload() {
    let [first, second] = ["First", "Second"].map(Authority::new);
    let registry = Honeypot::builder(&second, "localhost").start();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::copy(first.file(), &roots).unwrap();
    let config = format!(
        "[registries.corp]\nscopes = [\"{}\"]\nsource = \"env:CORP_TOKEN\"\n",
        registry.url("/")
    );
    let daemon = Daemon::builder()
        .config(&config)
        .env("CORP_TOKEN", TOKEN)
        .env("SSL_CERT_FILE", roots.to_str().unwrap())
        .start();
    let ask = || Curl::new().behind(&daemon).get(&registry.url("/")).status;
    assert_eq!(ask(), 502);
    fs::copy(second.file(), &roots).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(ask(), 200);
}

#[test]
fn stop_can_wait_for_the_end_and_another_daemon_need_not() {
    let registry = Registry::start(TOKEN);
    let mut daemon = Daemon::builder().store("vault").log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let slowly = Curl::new().behind(&daemon).with(&["--limit-rate", "16M"]);
    let download = slowly.start(&registry.file("big", LENGTH));
    poll::wait_for("the first bytes", || (download.received() > 0).then_some(()));
    let mut stop = client::command(regauth_tests::programs::binary("regauthctl"), daemon.home());
    stop.arg("--home").arg(daemon.home()).args(["stop", "--wait"]);
    let mut stopping = client::Running::start(&mut stop, b"");
    poll::wait_for("the drain", || daemon.log().contains("draining").then_some(()));
    // The port may be taken again and the home as well: this one only finishes what it has begun.
    let another = Daemon::builder().store("vault");
    let next = another.beside(&daemon);
    assert_eq!(next.ctl(&["list"]).succeeds().json["registries"][0]["name"], "corp");
    assert!(stopping.is_running(), "the download is under way");
    assert_eq!(download.finish().answered().length, LENGTH);
    stopping
        .finish()
        .succeeds()
        .says("drains 1 connection, for at most 30 s")
        .says("has ended");
    assert!(daemon.wait().success());
    assert!(next.ctl(&["status"]).succeeded(), "the socket is the next one's");
}

/// A tunnel is not ours to look into, so what moves in it says whether it is in use.
#[test]
fn a_tunnel_that_is_in_use_is_not_cut_by_the_end() {
    let registry = Registry::start(TOKEN);
    let mut daemon = Daemon::builder().log_level("info").start();
    let slowly = Curl::new()
        .proxy(&daemon.proxy())
        .trusts(&registry.ca())
        .header(&format!("authorization: {}", registry.credential()))
        .with(&["--limit-rate", "6M"]);
    // Longer than an idle tunnel is left alone.
    let download = slowly.start(&registry.file("big", LENGTH));
    poll::wait_for("the first bytes", || (download.received() > 0).then_some(()));
    assert!(daemon.stop().success());
    assert_eq!(download.finish().answered().length, LENGTH);
}

/// 20,000 requests; REGAUTH_LONG=1 makes it a million. Reloads, rotations and a keychain that dies go on meanwhile.
#[test]
fn a_long_life_costs_neither_memory_nor_descriptors() {
    let requests = if std::env::var_os("REGAUTH_LONG").is_some() {
        1_000_000
    } else {
        20_000
    };
    let mut keyring = Keyring::start();
    let daemon = Daemon::builder()
        .store("keychain")
        .log_level("warn")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .start();
    let (registry, _authority) = registry(&daemon);
    let began = Instant::now();
    let mut weights = vec![Weight::of(&daemon, 0)];
    // A tenth to warm up, then up to a half, then the rest.
    for tenths in [1, 4, 5] {
        let felt = live(&daemon, &registry, &mut keyring, requests * tenths / 10);
        let weight = Weight::of(&daemon, felt.answers);
        println!("{weight:?} after {:?}", began.elapsed());
        assert_eq!(felt.failures, Vec::<String>::new(), "{}", daemon.log());
        weights.push(weight);
    }
    let [start, warm, .., done] = &weights[..] else {
        unreachable!("four were taken")
    };
    println!("at the start {start:?}");
    assert!(done.memory < warm.memory + MARGIN, "memory grows: {weights:?}");
    assert!(
        done.descriptors <= warm.descriptors + 8,
        "descriptors grow: {weights:?}"
    );
}

/// What a daemon that has no clients weighs, and how many answers it has given since the last time.
#[derive(Debug)]
#[expect(dead_code, reason = "the answers are for those who read what is printed")]
struct Weight {
    answers: usize,
    memory: u64,
    descriptors: usize,
}

impl Weight {
    fn of(daemon: &Daemon, answers: usize) -> Self {
        poll::wait_for("its clients to be gone", || {
            (daemon.ctl(&["status"]).json["connections"].as_u64()? == 0).then_some(())
        });
        Self {
            answers,
            memory: daemon.memory().resident,
            descriptors: descriptors(daemon.pid()),
        }
    }
}

/// So many answers at least, while everything that happens in a long life happens.
fn live(daemon: &Daemon, registry: &Honeypot, keyring: &mut Keyring, share: usize) -> Felt {
    let herd = Herd::start(SOME, &daemon.proxy(), &daemon.bundle(), &registry.url("/small"));
    let rotate = ["rotate", "corp", "--token-stdin", "--no-verify"];
    for round in 0.. {
        if herd.answers() >= share {
            break;
        }
        daemon.ctl(&["reload"]).succeeds();
        daemon.ctl_with_input(&rotate, &format!("{TOKEN}-{round}")).succeeds();
        if round % 4 == 0 {
            keyring.kill();
            keyring.restart();
        }
        registry.forget();
    }
    herd.stop()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

const SOME: Size = Size {
    fresh: 4,
    kept: 8,
    streams: 50,
};
const LENGTH: u64 = 48 << 20;
/// What an allocator keeps for later; a leak of a hundred bytes a request would be more in a long life.
const MARGIN: u64 = 24 << 20;
