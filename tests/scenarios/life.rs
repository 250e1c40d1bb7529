//! Long life of a daemon: state files of other releases, older and newer clients, log levels, changing CA files, a drain
//! that can be waited for, and constant memory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::keyring::Keyring;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::load::{ClientCounts, LoadGenerator, LoadReport};
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::registry::Registry;
use rustix::process::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "s3ntinel-of-a-life";

/// Adds a registry that accepts any token.
fn registry(daemon: &Daemon) -> (MockServer, Authority) {
    let authority = Authority::new("Corp Root");
    let registry = MockServer::builder(&authority, "localhost").start();
    let location = ["--scope", &registry.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &authority.file(), TOKEN)
        .succeeds();
    (registry, authority)
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn the_state_of_the_first_release_is_migrated_with_a_backup() {
    let mut daemon = Daemon::builder().store("vault").start();
    let (registry, _authority) = registry(&daemon);
    daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    let bundle = fs::read(daemon.bundle()).unwrap();
    daemon.stop();
    let files = ["ledger.json", "grants.json"].map(|name| daemon.home().join("state").join(name));
    let versions = [3, 2];
    for (file, version) in files.iter().zip(versions) {
        let mut content = json_of(file);
        assert_eq!(content["version"], version);
        assert_eq!(content["release"], env!("CARGO_PKG_VERSION"));
        // Schema version 1, as the first release wrote it.
        content["version"] = json!(1);
        content.as_object_mut().unwrap().remove("release");
        fs::write(file, content.to_string()).unwrap();
    }
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    daemon.restart();
    for ((file, version), before) in files.iter().zip(versions).zip(before) {
        assert_eq!(json_of(file)["version"], version);
        assert_eq!(fs::read(file.with_extension("json.v1")).unwrap(), before);
    }
    assert_eq!(
        fs::read(daemon.bundle()).unwrap(),
        bundle,
        "running clients must still trust the bundle"
    );
    assert_eq!(Curl::new().behind(&daemon).get(&registry.url("/")).status, 200);
    assert_eq!(daemon.ctl(&["grants"]).json["grants"].as_array().unwrap().len(), 1);
}

#[test]
fn the_state_of_a_newer_release_is_refused_and_left_unchanged() {
    let mut daemon = Daemon::builder().store("vault").start();
    registry(&daemon);
    daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    daemon.stop();
    for name in ["ledger.json", "grants.json"] {
        let file = daemon.home().join("state").join(name);
        let good = fs::read(&file).unwrap();
        let older = daemon.home().join("state/ledger.json");
        if name == "grants.json" {
            // An old file that must not be migrated while the other file is too new.
            fs::write(&older, json!({"version": 1}).to_string()).unwrap();
        }
        fs::write(&file, r#"{"version":7,"release":"3.2.1","unheard":["of"]}"#).unwrap();
        fs::remove_file(daemon.home().join("config.toml")).unwrap();
        let before = files_below(daemon.home());
        let output = Daemon::builder().store("vault").run(daemon.home()).fails();
        for part in [
            name,
            "regauthd 3.2.1",
            "nothing was changed",
            "Install that release again",
        ] {
            assert!(output.stderr.contains(part), "{}", output.report());
        }
        assert_eq!(files_below(daemon.home()), before);
        fs::write(daemon.home().join("config.toml"), "").unwrap();
        fs::write(&file, good).unwrap();
    }
}

/// Files with their content, except the lock file, which every start writes.
fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if entry.file_name() != "daemon.lock" {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_regauthctl_of_the_first_release_and_a_newer_one_get_answers() {
    let daemon = Daemon::start();
    let send = |line: &str| {
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
    let status = send(r#"{"v":1,"method":"status"}"#);
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
    let refused = send(r#"{"v":2,"method":"status","shape":"round"}"#);
    assert_eq!(refused["err"]["kind"], "unsupported-version", "{refused}");
    let unknown = send(r#"{"v":1,"method":"teleport"}"#);
    assert_eq!(unknown["err"]["kind"], "invalid", "{unknown}");
}

#[test]
fn the_log_level_changes_at_runtime_and_no_level_shows_a_token() {
    let daemon = Daemon::builder().log_level("warn").start();
    let (registry, _authority) = registry(&daemon);
    let curl = Curl::new()
        .behind(&daemon)
        .header(&format!("authorization: Bearer {TOKEN}"));
    assert_eq!(daemon.ctl(&["log"]).succeeds().json["level"], "warn");
    assert_eq!(curl.get(&registry.url("/quiet")).status, 200);
    assert_eq!(daemon.log(), "", "a quiet daemon logged");
    for level in ["debug", "trace"] {
        assert_eq!(daemon.ctl(&["log", level]).succeeds().json["level"], level);
        assert_eq!(curl.get(&registry.url("/loud")).status, 200);
        let wanted = format!("{:>5} ", level.to_uppercase());
        assert!(daemon.log().contains(&wanted), "{wanted}: {}", daemon.log());
    }
    daemon.rotate("corp", &format!("{TOKEN}-2")).succeeds();
    LeakScan::new(TOKEN).scan("the log", daemon.log()).assert_clean();
    daemon.ctl(&["log", "error"]).succeeds();
    let before = daemon.log();
    assert_eq!(curl.get(&registry.url("/quiet")).status, 200);
    assert_eq!(daemon.log(), before);
    daemon.ctl(&["log", "loud"]).exits(2);
}

#[test]
fn the_log_format_can_be_json() {
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
fn an_unreadable_ca_file_disables_one_registry_until_a_reload() {
    let authority = Authority::new("Corp Root");
    let [good, bad] = ["127.0.0.1", "localhost"].map(|host| MockServer::builder(&authority, host).start());
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("root.pem");
    let section = |name: &str, registry: &MockServer, ca: &Path| {
        let (scope, ca) = (registry.url("/"), ca.display());
        format!("[registries.{name}]\nscopes = [\"{scope}\"]\nca-file = \"{ca}\"\nsource = \"env:CORP_TOKEN\"\n")
    };
    let config = section("good", &good, &authority.file()) + &section("bad", &bad, &missing);
    let daemon = Daemon::builder().config(&config).env("CORP_TOKEN", TOKEN).start();
    let ask = |registry: &MockServer| {
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

    // With the root of another CA, the registry is no longer trusted.
    fs::copy(Authority::new("Another Root").file(), &missing).unwrap();
    assert_eq!(ask(&bad), (200, None), "the new file took effect before a reload");
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(ask(&bad), untrusted);

    // A missing file is reported, and the last roots stay in use.
    fs::copy(authority.file(), &missing).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    fs::remove_file(&missing).unwrap();
    let notes = daemon.ctl(&["reload"]).succeeds().json["notes"].to_string();
    assert!(notes.contains("registry `bad`: cannot read"), "{notes}");
    assert_eq!((ask(&bad), ask(&good)), ((200, None), (200, None)));
}

#[test]
fn a_reload_reads_the_systems_roots_again() {
    let [first, second] = ["First", "Second"].map(Authority::new);
    let registry = MockServer::builder(&second, "localhost").start();
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
fn stop_can_wait_for_the_drain_and_another_daemon_can_start_during_it() {
    let registry = Registry::start(TOKEN);
    let mut daemon = Daemon::builder().store("vault").log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let slowly = Curl::new().behind(&daemon).with(&["--limit-rate", "16M"]);
    let download = slowly.start(&registry.file("big", LENGTH));
    poll::wait_for("the first bytes", || (download.received() > 0).then_some(()));
    let mut stop = exec::command(regauth_tests::programs::binary("regauthctl"), daemon.home());
    stop.arg("--home").arg(daemon.home()).args(["stop", "--wait"]);
    let mut stopping = exec::RunningCommand::start(&mut stop, b"");
    poll::wait_for("the drain", || daemon.log().contains("draining").then_some(()));
    // A draining daemon has released its port and home, so that another one can start.
    let another = Daemon::builder().store("vault");
    let next = another.start_on_home_of(&daemon);
    assert_eq!(next.ctl(&["list"]).succeeds().json["registries"][0]["name"], "corp");
    assert!(stopping.is_running(), "stop --wait returned during the download");
    assert_eq!(download.finish().response().length, LENGTH);
    stopping
        .finish()
        .succeeds()
        .says("drains 1 connection, for at most 30 s")
        .says("has ended");
    assert!(daemon.wait().success());
    assert!(
        next.ctl(&["status"]).succeeded(),
        "the old daemon removed the socket of the new one"
    );
}

/// The daemon cannot see requests in a tunnel: it drains while bytes move.
#[test]
fn the_drain_does_not_cut_a_tunnel_in_use() {
    let registry = Registry::start(TOKEN);
    let mut daemon = Daemon::builder().log_level("info").start();
    let slowly = Curl::new()
        .proxy(&daemon.proxy())
        .trusts(&registry.ca())
        .header(&format!("authorization: {}", registry.credential()))
        .with(&["--limit-rate", "6M"]);
    // The download takes longer than the drain grants an idle tunnel.
    let download = slowly.start(&registry.file("big", LENGTH));
    poll::wait_for("the first bytes", || (download.received() > 0).then_some(()));
    assert!(daemon.stop().success());
    assert_eq!(download.finish().response().length, LENGTH);
}

/// 20,000 requests, or a million with REGAUTH_LONG=1, during reloads, rotations and keychain restarts.
#[test]
fn memory_and_descriptors_do_not_grow_in_a_long_life() {
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
    let mut samples = vec![Sample::take(&daemon, 0)];
    // A tenth of the requests to warm up, then up to a half, then the rest.
    for tenths in [1, 4, 5] {
        let report = run_load(&daemon, &registry, &mut keyring, requests * tenths / 10);
        let sample = Sample::take(&daemon, report.responses);
        println!("{sample:?} after {:?}", began.elapsed());
        assert_eq!(report.failures, Vec::<String>::new(), "{}", daemon.log());
        samples.push(sample);
    }
    let [start, warm, .., done] = &samples[..] else {
        unreachable!("four samples were taken")
    };
    println!("at the start {start:?}");
    assert!(done.memory < warm.memory + MARGIN, "memory grows: {samples:?}");
    assert!(
        done.descriptors <= warm.descriptors + 8,
        "descriptors grow: {samples:?}"
    );
}

/// Memory and descriptors of a daemon without clients, and responses since the last sample.
#[derive(Debug)]
#[expect(dead_code, reason = "the responses are only printed")]
struct Sample {
    responses: usize,
    memory: u64,
    descriptors: usize,
}

impl Sample {
    fn take(daemon: &Daemon, responses: usize) -> Self {
        poll::wait_for("the clients to disconnect", || {
            (daemon.ctl(&["status"]).json["connections"].as_u64()? == 0).then_some(())
        });
        Self {
            responses,
            memory: daemon.memory().resident,
            descriptors: descriptors(daemon.pid()),
        }
    }
}

/// Generates load until there are `responses` responses, during reloads, rotations and keychain restarts.
fn run_load(daemon: &Daemon, registry: &MockServer, keyring: &mut Keyring, responses: usize) -> LoadReport {
    let load = LoadGenerator::start(CLIENTS, &daemon.proxy(), &daemon.bundle(), &registry.url("/small"));
    let rotate = ["rotate", "corp", "--token-stdin", "--no-verify"];
    for round in 0.. {
        if load.responses() >= responses {
            break;
        }
        daemon.ctl(&["reload"]).succeeds();
        daemon.ctl_with_input(&rotate, &format!("{TOKEN}-{round}")).succeeds();
        if round % 4 == 0 {
            keyring.kill();
            keyring.restart();
        }
        registry.clear_requests();
    }
    load.stop()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

const CLIENTS: ClientCounts = ClientCounts {
    fresh: 4,
    kept: 8,
    streams: 50,
};
const LENGTH: u64 = 48 << 20;
/// Margin for memory that the allocator keeps. A leak of a hundred bytes per request exceeds it in a million requests.
const MARGIN: u64 = 24 << 20;
