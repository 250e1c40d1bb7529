//! Index entries that the daemon asks for before cargo does: fewer round trips, the registry's own answers, and no answer
//! that a client must not get.

use std::fs;
use std::sync::OnceLock;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::crates::{self, PackagedCrate};
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::long_link::LongLink;
use regauth_tests::nginx::LoggedRequest;
use regauth_tests::poll;
use regauth_tests::registry::Registry;

const TOKEN: &str = "t0ken-of-the-company";
const AGENT: &str = "user-agent: cargo/1.95.0";

/// Five layers: `deck-1` needs `deck-2` and so on to `deck-5`; `sail` needs `mast`.
fn deep() -> &'static [PackagedCrate] {
    static DEEP: OnceLock<Vec<PackagedCrate>> = OnceLock::new();
    DEEP.get_or_init(|| {
        crates::package(&[
            crates::spec("deck-5", &[]),
            crates::spec("deck-4", &["deck-5"]),
            crates::spec("deck-3", &["deck-4"]),
            crates::spec("deck-2", &["deck-3"]),
            crates::spec("deck-1", &["deck-2"]),
            crates::spec("mast", &[]),
            crates::spec("sail", &["mast"]),
        ])
    })
}

fn start() -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    registry.add(deep());
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    (registry, daemon)
}

fn index_path(name: &str) -> String {
    format!("/api/cargo/index/{}/{}/{name}", &name[..2], &name[2..4])
}

/// Reads an entry as cargo does.
fn read(daemon: &Daemon, registry: &Registry, name: &str) -> Response {
    cargo_like(daemon).get(&registry.nginx.url(&index_path(name)))
}

fn cargo_like(daemon: &Daemon) -> Curl {
    Curl::new().behind(daemon).header(AGENT)
}

fn requests_for(registry: &Registry, name: &str) -> Vec<LoggedRequest> {
    let mut requests = registry.nginx.requests();
    requests.retain(|request| request.uri == index_path(name));
    requests
}

/// Waits until the daemon itself has asked for an entry.
fn wait_until_asked(registry: &Registry, name: &str) {
    registry
        .nginx
        .wait_for_request(|request| request.uri == index_path(name));
}

/// cargo with a project that needs `ship`, `rope` and `anchor`.
fn cargo(registry: &Registry, daemon: &Daemon) -> Cargo {
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
}

#[test]
fn entries_that_an_entry_names_are_asked_for_before_the_client_asks() {
    let (registry, daemon) = start();
    let ship = read(&daemon, &registry, "ship");
    assert_eq!(ship.status, 200);
    for name in ["rope", "anchor"] {
        wait_until_asked(&registry, name);
        let answer = read(&daemon, &registry, name);
        let direct = Curl::new()
            .trusts(&registry.ca())
            .header(&format!("authorization: {}", registry.credential()))
            .get(&registry.nginx.url(&index_path(name)));
        assert_eq!((answer.status, answer.body()), (200, direct.body()));
        for header in ["etag", "last-modified", "content-type", "content-length"] {
            assert_eq!(answer.header(header), direct.header(header), "{header}");
        }
        // Ours, and the direct one.
        let asked = requests_for(&registry, name);
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!(asked[0].authorization(), Some(&*registry.credential()));
        assert_eq!(asked[0].header("user-agent"), Some("cargo/1.95.0"));
    }
}

#[test]
fn cargo_builds_and_the_registry_is_asked_for_each_entry_once_a_build() {
    let (registry, daemon) = start();
    let cargo = cargo(&registry, &daemon);
    for builds in 1..=3 {
        cargo.build().succeeds();
        for name in ["ship", "rope", "anchor"] {
            assert_eq!(requests_for(&registry, name).len(), builds, "{name}");
        }
        cargo.clear_downloads();
    }
}

/// Registry behind a long link, with a connection that is open.
fn behind_long_link(more: &str) -> (Registry, LongLink, Daemon, Cargo) {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    registry.add(deep());
    let link = LongLink::start(registry.nginx.port());
    let daemon = Daemon::start();
    let index = format!("https://localhost:{}/api/cargo/index/", link.port());
    let sparse = format!("sparse+{index}");
    let location = ["--index", &*sparse];
    daemon
        .try_add("corp", &location, registry.scheme(), &registry.ca(), registry.token())
        .succeeds();
    set(&daemon, more);
    assert_eq!(
        Curl::new().behind(&daemon).get(&format!("{index}config.json")).status,
        200
    );
    let cargo = Cargo::new()
        .registry("corp", &sparse)
        .behind(&daemon)
        .depends_on(r#"deck-1 = { version = "1", registry = "corp" }"#);
    (registry, link, daemon, cargo)
}

/// Adds lines to the table of the registry.
fn set(daemon: &Daemon, lines: &str) {
    let file = daemon.home().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    // The commented example has that header too.
    let edited = text.replace("\n[registries.corp]\n", &format!("\n[registries.corp]\n{lines}\n"));
    assert_ne!(text, edited);
    fs::write(&file, edited).unwrap();
    daemon.ctl(&["reload"]).succeeds();
}

/// Round trips of one cargo command.
fn round_trips(link: &LongLink, cargo: &Cargo, command: &str) -> usize {
    let before = link.round_trips();
    cargo.run([command]).succeeds();
    link.round_trips() - before
}

#[test]
fn known_layers_of_the_graph_cost_one_round_trip_together() {
    let (registry, link, _daemon, cargo) = behind_long_link("");
    // config.json and five layers; none of them is known.
    let unknown = round_trips(&link, &cargo, "generate-lockfile");
    assert!(unknown >= 6, "{unknown} round trips");
    cargo.clear_downloads();
    let known = round_trips(&link, &cargo, "generate-lockfile");
    assert!(known <= 3, "{known} round trips, {unknown} at first");
    assert_eq!(requests_for(&registry, "deck-5").len(), 2, "one for each resolution");
    let revalidated = round_trips(&link, &cargo, "update");
    assert!(revalidated <= 3, "{revalidated} round trips with a warm cache");
    for name in ["deck-1", "deck-3", "deck-5"] {
        let statuses: Vec<u16> = requests_for(&registry, name)
            .iter()
            .map(|request| request.status)
            .collect();
        assert_eq!(statuses, [200, 200, 304], "{name}");
    }
}

#[test]
fn read_ahead_can_be_turned_off() {
    let (registry, link, _daemon, cargo) = behind_long_link("read-ahead = false");
    for _ in 0..2 {
        let round_trips = round_trips(&link, &cargo, "generate-lockfile");
        assert!(round_trips >= 6, "{round_trips} round trips");
        cargo.clear_downloads();
    }
    assert_eq!(requests_for(&registry, "deck-5").len(), 2);
}

#[test]
fn other_programs_read_single_entries() {
    let (registry, daemon) = start();
    let ship = registry.nginx.url(&index_path("ship"));
    assert_eq!(Curl::new().behind(&daemon).get(&ship).status, 200);
    assert_eq!(Curl::new().behind(&daemon).get(&ship).status, 200);
    assert!(requests_for(&registry, "rope").is_empty());
}

#[test]
fn a_write_by_a_header_is_sent_once_and_reads_nothing_ahead() {
    let (registry, daemon) = start();
    let ship = registry.nginx.url(&index_path("ship"));
    let deleting = cargo_like(&daemon).header("x-http-method-override: DELETE");
    deleting.get(&ship);
    assert_eq!(Curl::new().behind(&daemon).get(&ship).status, 200);
    assert!(requests_for(&registry, "rope").is_empty());
    assert_eq!(requests_for(&registry, "ship").len(), 2);
}

#[test]
fn a_conditional_request_gets_304_only_for_an_equal_validator() {
    let (registry, daemon) = start();
    let condition = |answer: &Response| format!("if-none-match: {}", answer.header("etag").unwrap());
    let rope = read(&daemon, &registry, "rope");
    for (condition, status) in [(condition(&rope), 304), ("if-none-match: \"other\"".to_owned(), 200)] {
        let before = requests_for(&registry, "rope").len();
        // A new process reads `ship`, and `rope` is asked for.
        cargo_like(&daemon).get(&registry.nginx.url("/api/cargo/index/config.json"));
        read(&daemon, &registry, "ship");
        poll::wait_for("the request for rope", || {
            (requests_for(&registry, "rope").len() > before).then_some(())
        });
        let answer = cargo_like(&daemon)
            .header(&condition)
            .get(&registry.nginx.url(&index_path("rope")));
        assert_eq!((answer.status, answer.length > 0), (status, status == 200));
        assert_eq!(answer.header("etag"), rope.header("etag"));
        assert_eq!(
            requests_for(&registry, "rope").len(),
            before + 1,
            "answered by comparing"
        );
    }
}

#[test]
fn an_update_after_a_publish_sees_the_new_version() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    let publisher = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .placeholder("corp", "any-token-will-do")
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    publisher.publish("corp").succeeds();
    let user = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .placeholder("corp", "any-token-will-do")
        .depends_on(r#"project = { version = "0.1", registry = "corp" }"#);
    // The user's own package has that name.
    let manifest = user.project().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("name = \"project\"", "name = \"user\"")).unwrap();
    user.run(["generate-lockfile"]).succeeds();
    for number in 1..4 {
        let manifest = publisher.project().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let (old, new) = (
            format!("version = \"0.1.{}\"", number - 1),
            format!("version = \"0.1.{number}\""),
        );
        fs::write(&manifest, text.replace(&old, &new)).unwrap();
        publisher.publish("corp").succeeds();
        user.run(["update"]).succeeds().says(&format!("v0.1.{number}"));
    }
}

#[test]
fn a_write_by_anybody_drops_what_was_asked_for() {
    let (registry, daemon) = start();
    read(&daemon, &registry, "ship");
    wait_until_asked(&registry, "rope");
    let yank = registry.nginx.url("/api/cargo/api/v1/crates/anchor/1.0.0/yank");
    Curl::new().behind(&daemon).with(&["--request", "DELETE"]).get(&yank);
    assert_eq!(read(&daemon, &registry, "rope").status, 200);
    assert_eq!(requests_for(&registry, "rope").len(), 2);
}

#[test]
fn an_answer_from_before_a_rotation_is_not_used() {
    let (registry, daemon) = start();
    read(&daemon, &registry, "ship");
    wait_until_asked(&registry, "anchor");
    registry.accept(&[TOKEN, "the-next-t0ken"]);
    daemon.rotate("corp", "the-next-t0ken").succeeds();
    registry.accept(&["the-next-t0ken"]);
    assert_eq!(read(&daemon, &registry, "rope").status, 200);
    let asked = requests_for(&registry, "rope");
    let authorizations: Vec<_> = asked.iter().map(|request| request.authorization().unwrap()).collect();
    assert_eq!(authorizations, [&*registry.credential(), "Bearer the-next-t0ken"]);
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    // The host is a tunnel now.
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&registry.ca()).header(AGENT);
    assert_eq!(curl.get(&registry.nginx.url(&index_path("anchor"))).status, 401);
}

#[test]
fn another_client_gets_an_answer_of_its_own_or_none() {
    let (registry, daemon) = start();
    let proxy = |arguments: &[&str]| {
        let created = daemon.ctl(&[&["grant"], arguments].concat()).succeeds().json;
        created["proxy"].as_str().unwrap().to_owned()
    };
    daemon
        .try_add(
            "other",
            &["--scope", &registry.nginx.url("/other/"), "--no-verify"],
            registry.scheme(),
            &registry.ca(),
            "an0ther-token",
        )
        .succeeds();
    read(&daemon, &registry, "ship");
    for name in ["rope", "anchor"] {
        wait_until_asked(&registry, name);
    }
    let get = |proxy: &str| {
        let curl = Curl::new().proxy(proxy).trusts(&daemon.bundle()).header(AGENT);
        curl.get(&registry.nginx.url(&index_path("rope")))
    };
    let refused = get(&proxy(&["--registry", "other"]));
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (403, Some("grant-denied"))
    );
    assert_eq!(requests_for(&registry, "rope").len(), 1);
    assert_eq!(get(&proxy(&["--registry", "corp"])).status, 200);
    assert_eq!(
        requests_for(&registry, "rope").len(),
        2,
        "asked for by the bearer itself"
    );
    assert_eq!(read(&daemon, &registry, "rope").status, 200);
    assert_eq!(
        requests_for(&registry, "rope").len(),
        2,
        "the owner's answer was still there"
    );
}

#[test]
fn a_registry_that_is_busy_is_asked_no_more() {
    for status in [429, 503] {
        let busy = format!("return {status};");
        let registry = Registry::builder(Scheme::bearer(), TOKEN)
            .location("= /api/cargo/index/ro/pe/rope", &busy)
            .start();
        registry.add(deep());
        let daemon = Daemon::start();
        daemon.add("corp", &registry);
        read(&daemon, &registry, "ship");
        wait_until_asked(&registry, "rope");
        poll::wait_for("the pause", || {
            daemon.log().contains("stopped asking for index entries").then_some(())
        });
        assert_eq!(read(&daemon, &registry, "sail").status, 200);
        assert_eq!(
            read(&daemon, &registry, "rope").status,
            status,
            "the registry's own answer"
        );
        assert!(requests_for(&registry, "mast").is_empty(), "{status}");
    }
}

#[test]
fn a_compressed_entry_is_read() {
    let line = r#"{"name":"flag","vers":"1.0.0","deps":[{"name":"sail","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}],"cksum":"00","features":{},"yanked":false}"#;
    let directives = format!(
        "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; default_type text/plain; return 200 '{line}';"
    );
    let registry = Registry::builder(Scheme::bearer(), TOKEN)
        .location("= /api/cargo/index/fl/ag/flag", &directives)
        .start();
    registry.add(deep());
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let curl = cargo_like(&daemon).with(&["--compressed"]);
    let answer = curl.get(&registry.nginx.url(&index_path("flag")));
    assert_eq!(
        (answer.body().as_str(), answer.header("content-encoding")),
        (line, Some("gzip"))
    );
    wait_until_asked(&registry, "sail");
    wait_until_asked(&registry, "mast");
}
