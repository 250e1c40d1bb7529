//! Who may connect: this user's processes, and the bearers of grants.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, together};
use regauth_tests::client;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::honeypot::Honeypot;
use regauth_tests::leaks::Hunt;
use regauth_tests::network::{NameServer, Network};
use regauth_tests::nginx::Nginx;
use regauth_tests::poll;
use regauth_tests::programs;
use regauth_tests::raw;
use regauth_tests::registry::{Registry, USERNAME};
use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

const TOKEN: &str = "t0ken-of-the-company";
const NOBODY: u32 = 65534;
/// A public address, in a network of its own.
const PUBLIC: &str = "93.184.216.34";

/// A daemon's user, and a registry that it serves.
fn served() -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    (registry, daemon)
}

fn granted(daemon: &Daemon, arguments: &[&str]) -> (String, String) {
    let granted = daemon.ctl(&[&["grant"], arguments].concat()).succeeds().json;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&granted["grant"]["id"]), text(&granted["proxy"]))
}

/// A client of another user, who can read the bundle.
fn stranger(daemon: &Daemon, proxy: &str) -> (Curl, tempfile::TempPath) {
    let bundle = together(&[&daemon.bundle()]);
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o644)).unwrap();
    (Curl::new().proxy(proxy).trusts(&bundle), bundle)
}

fn config(registry: &Registry) -> String {
    registry.nginx.url("/api/cargo/index/config.json")
}

#[test]
fn another_user_is_told_to_get_a_grant_and_nothing_goes_upstream() {
    if !geteuid().is_root() {
        return eprintln!("another user takes root");
    }
    let (registry, daemon) = served();
    let before = registry.nginx.requests().len();
    let (curl, _bundle) = stranger(&daemon, &daemon.proxy());
    let refused = curl.clone().user(NOBODY).fetch(&config(&registry));
    refused.outcome.fails().says("407");
    let open = Honeypot::builder(&Authority::new("Elsewhere"), "localhost")
        .plain()
        .start();
    let answer = curl.clone().user(NOBODY).get(&open.url("/"));
    assert_eq!(answer.status, 407);
    assert_eq!(answer.header("regauth-error"), Some("grant-required"));
    assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"regauth\""));
    assert_eq!(
        curl.get(&config(&registry)).status,
        200,
        "the daemon's own user needs nothing"
    );
    assert_eq!(registry.nginx.requests().len(), before + 1);
    assert!(open.requests().is_empty());
    let (_, proxy) = granted(&daemon, &["--registry", "corp"]);
    let (curl, _bundle) = stranger(&daemon, &proxy);
    assert_eq!(curl.user(NOBODY).get(&config(&registry)).status, 200);
}

#[test]
fn the_control_socket_refuses_another_user_even_where_the_files_do_not() {
    if !geteuid().is_root() {
        return eprintln!("another user takes root");
    }
    let daemon = Daemon::start();
    let programs = TempDir::new().unwrap();
    let ctl = programs.path().join("regauthctl");
    fs::copy(programs::binary("regauthctl"), &ctl).unwrap();
    for (path, mode) in [
        (programs.path().to_owned(), 0o755),
        (daemon.home().parent().unwrap().to_owned(), 0o755),
        (daemon.home().to_owned(), 0o755),
        (daemon.home().join("run"), 0o755),
        (daemon.home().join("run/control.sock"), 0o666),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut status = client::as_user(NOBODY, programs.path());
    status.arg(&ctl).arg("--home").arg(daemon.home()).arg("status");
    let outcome = client::run(&mut status).fails();
    assert_eq!(outcome.status.code(), Some(3), "{}", outcome.report());
    assert!(daemon.log().contains("refused another user on the control socket"));
}

#[test]
fn a_grant_opens_its_registries_for_reading_until_it_is_revoked() {
    let (registry, daemon) = served();
    let other = Registry::builder(Scheme::bearer(), TOKEN).start();
    daemon.add("other", &other);
    let (id, proxy) = granted(&daemon, &["--registry", "corp", "--for", "5m"]);
    let curl = Curl::new().proxy(&proxy).trusts(&daemon.bundle());
    assert_eq!(curl.get(&config(&registry)).status, 200);
    for (url, method) in [
        (config(&other), "GET"),
        (other.nginx.url("/elsewhere"), "GET"),
        (registry.nginx.url("/api/cargo/api/v1/crates/new"), "PUT"),
    ] {
        let answer = curl.clone().with(&["--request", method]).get(&url);
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (403, Some("grant-denied")),
            "{url}"
        );
    }
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let publish = curl.clone().with(&["--request", "PUT"]);
    let answer = publish.get(&registry.nginx.url("/api/cargo/api/v1/crates/new"));
    assert_eq!(answer.status, 403, "`allow` is for the owner");
    daemon.ctl(&["revoke", &id]).succeeds();
    curl.fetch(&config(&registry)).outcome.fails().says("407");
    daemon.ctl(&["revoke", &id]).exits(6);
}

#[test]
fn a_grant_for_writes_publishes_while_everyone_else_is_refused() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let (_, proxy) = granted(&daemon, &["--registry", "corp", "--write", "--for", "5m"]);
    let cargo = |proxy: &str| {
        Cargo::new()
            .registry("corp", &registry.index())
            .proxy(proxy)
            .trusts(&daemon.bundle())
            .placeholder("corp", "any-token-will-do")
    };
    cargo(&daemon.proxy())
        .publish("corp")
        .fails()
        .says("regauthctl allow corp");
    cargo(&proxy).publish("corp").succeeds();
}

/// git asks without credentials first and takes the 407 for a question.
#[test]
fn git_works_with_a_grant() {
    let host = Authority::new("Corp Root");
    let server = GitServer::start(&host, Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    daemon.add_git("code", &server);
    let (_, proxy) = granted(&daemon, &[]);
    let clone = |proxy: &str| {
        Git::new()
            .proxy(proxy)
            .trusts(&daemon.bundle())
            .clone_from(&server.url("plans"))
    };
    clone(&proxy).succeeds();
    clone(&daemon.proxy()).fails().says("407");
}

#[test]
fn grants_survive_a_restart_and_end_when_their_time_is_over() {
    let (registry, mut daemon) = served();
    let (_, long) = granted(&daemon, &["--for", "1h"]);
    let (_, short) = granted(&daemon, &["--for", "3s"]);
    for proxy in [&short, &long] {
        let curl = Curl::new().proxy(proxy).trusts(&daemon.bundle());
        assert_eq!(curl.get(&config(&registry)).status, 200);
    }
    let token = long.split(['@', ':']).nth(2).unwrap().to_owned();
    let mut hunt = Hunt::new(&token);
    hunt.folder(daemon.home(), &[])
        .look("the log", daemon.log())
        .assert_clean();
    daemon.restart();
    let listed = daemon.ctl(&["grants"]).succeeds().json;
    assert!(!listed["grants"].as_array().unwrap().is_empty(), "{listed}");
    poll::wait_for("the short grant to end", || {
        let listed = daemon.ctl(&["grants"]).json;
        (listed["grants"].as_array()?.len() == 1).then_some(())
    });
    let open = Honeypot::builder(&Authority::new("Elsewhere"), "localhost")
        .plain()
        .start();
    let curl = |proxy: &str| Curl::new().proxy(proxy).get(&open.url("/")).status;
    assert_eq!(curl(&short), 407);
    assert_eq!(curl(&long), 403, "let in, and loopback is no place for a grant");
}

/// A tunnel, a registry's connection of either protocol, plain requests to a registry and to a stranger.
#[test]
fn a_download_ends_with_its_grant_whichever_way_it_takes() {
    if !geteuid().is_root() {
        return eprintln!("networks of one's own take root");
    }
    let [here, there] = [(); 2].map(|()| Network::start(&[]));
    here.cable("93.184.216.33/24", &there, &format!("{PUBLIC}/24"));
    let daemon = Daemon::builder().under(&here.inside()).start();
    let authority = Authority::new("Corp Root");
    let folder = TempDir::new().unwrap();
    let file = fs::File::create(folder.path().join("endless")).unwrap();
    file.set_len(1 << 30).unwrap();
    let corp = there.enter(|| endless(&authority, PUBLIC, PUBLIC, folder.path()));
    let _local = here.enter(|| endless(&authority, "localhost", "127.0.0.1", folder.path()));
    let (local, stranger) = ("http://localhost/".to_owned(), format!("http://{PUBLIC}/"));
    for (name, url) in [("corp", &corp.url("/")), ("local", &local)] {
        let place = ["--scope", url, "--no-verify"];
        daemon
            .try_add(name, &place, &Scheme::bearer(), &authority.file(), TOKEN)
            .succeeds();
    }
    let ways = [
        ("a tunnel", &stranger, "--proxytunnel"),
        ("intercepted HTTP/1.1", &corp.url("/"), "--http1.1"),
        ("intercepted HTTP/2", &corp.url("/"), "--http2"),
        ("a plain registry", &local, "--http1.1"),
        ("a plain stranger", &stranger, "--http1.1"),
    ];
    let begin = |proxy: &str| {
        let curl = Curl::new().proxy(proxy).trusts(&daemon.bundle());
        ways.map(|(way, url, how)| {
            let download = here.enter(|| curl.clone().with(&[how]).start(url));
            poll::wait_for(way, || (download.received() > 0).then_some(()));
            (way, download)
        })
    };
    let (revoked, proxy) = granted(&daemon, &["--for", "1h"]);
    let to_revoke = begin(&proxy);
    let lasting = begin(&granted(&daemon, &["--for", "1h"]).1);
    let to_expire = begin(&granted(&daemon, &["--for", "3s"]).1);
    daemon.ctl(&["revoke", &revoked]).succeeds();
    for (end, downloads) in [("revoked", to_revoke), ("expired", to_expire)] {
        for (way, mut download) in downloads {
            // Without its end curl gives up, too, after more time than that.
            let ended = poll::within(poll::PATIENCE, || (!download.is_running()).then_some(()));
            assert!(ended.is_some(), "{way}, {end}");
        }
    }
    for (way, download) in lasting {
        let before = download.received();
        poll::wait_for(way, || (download.received() > before).then_some(()));
    }
}

/// A server whose answer takes hours: on a free port with TLS, on port 80 without.
fn endless(authority: &Authority, host: &str, address: &str, folder: &Path) -> Nginx {
    let place = format!("root {}; index endless; limit_rate 64k;", folder.display());
    Nginx::builder(&authority.issue(&[host]))
        .host(host)
        .server(&format!("listen {address}:80;"))
        .location("/", &place)
        .start()
}

/// Its host is no longer a registry's, and none that a grant leads to.
#[test]
fn a_registry_that_is_removed_is_closed_to_grants_on_open_connections_too() {
    let authority = Authority::new("Corp Root");
    let corp = Honeypot::builder(&authority, "localhost").start();
    let daemon = Daemon::start();
    let place = ["--scope", &corp.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &place, &Scheme::bearer(), &authority.file(), TOKEN)
        .succeeds();
    let (_, proxy) = granted(&daemon, &[]);
    let pair = STANDARD.encode(proxy.split(['/', '@']).nth(2).unwrap());
    let host = corp.authority();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    raw::run(async {
        let head = format!("CONNECT {host} HTTP/1.1\r\nProxy-Authorization: Basic {pair}\r\n\r\n");
        let stream = raw::connect(&daemon, &head).await.unwrap();
        let mut inside = raw::handshake(stream, Some("localhost"), &["http/1.1"]).await.unwrap();
        let mut answers = Vec::new();
        for removed in [false, true] {
            if removed {
                daemon.ctl(&["remove-registry", "corp"]).succeeds();
            }
            inside.write_all(request.as_bytes()).await.unwrap();
            answers.push(String::from_utf8(raw::read(&mut inside).await).unwrap());
        }
        assert!(answers[0].starts_with("HTTP/1.1 200 "), "{answers:?}");
        assert!(answers[1].contains("regauth-error: grant-denied"), "{answers:?}");
    });
    assert_eq!(corp.requests().len(), 1);
}

#[test]
fn a_grant_does_not_open_the_next_registry_of_that_name() {
    let authority = Authority::new("Corp Root");
    let registries = ["first", "second"].map(|_| Honeypot::builder(&authority, "localhost").start());
    let daemon = Daemon::start();
    let add = |registry: &Honeypot| {
        let place = ["--scope", &registry.url("/"), "--no-verify"];
        let added = daemon.try_add("corp", &place, &Scheme::bearer(), &authority.file(), TOKEN);
        added.succeeds();
    };
    add(&registries[0]);
    let (id, proxy) = granted(&daemon, &["--registry", "corp"]);
    let (_, other) = granted(&daemon, &[]);
    let removed = daemon.ctl(&["remove-registry", "corp"]).succeeds().json;
    let note = format!("the grant {id} named it and ended with it");
    assert_eq!(removed["notes"], serde_json::json!([note]));
    add(&registries[1]);
    let url = registries[1].url("/");
    let curl = |proxy: &str| Curl::new().proxy(proxy).trusts(&daemon.bundle());
    assert_eq!(curl(&other).get(&url).status, 200);
    curl(&proxy).fetch(&url).outcome.fails().says("407");
    let listed = daemon.ctl(&["grants"]).succeeds().json;
    assert_eq!(listed["grants"].as_array().unwrap().len(), 1);
    assert_eq!(registries[1].requests().len(), 1);
}

#[test]
fn a_wrong_or_doubled_grant_is_refused_also_from_the_owner() {
    let daemon = Daemon::start();
    let (_, proxy) = granted(&daemon, &[]);
    let token = proxy.split(['@', ':']).nth(2).unwrap();
    let pair = STANDARD.encode(format!("regauth:{token}"));
    let line = format!("Proxy-Authorization: Basic {pair}\r\n");
    for (lines, code) in [
        (String::new(), "upstream-unreachable"),
        (line.clone(), "grant-denied"),
        (format!("{line}{line}"), "grant-required"),
        (
            "Proxy-Authorization: Basic cmVnYXV0aDp4\r\n".to_owned(),
            "grant-required",
        ),
        ("Proxy-Authorization: Bearer x\r\n".to_owned(), "upstream-unreachable"),
        (format!("Proxy-Authorization: Bearer x\r\n{line}"), "grant-denied"),
    ] {
        let answer = asked(&daemon, &format!("CONNECT localhost:1 HTTP/1.1\r\n{lines}\r\n"));
        assert!(
            answer.contains(&format!("regauth-error: {code}\r\n")),
            "{lines:?}: {answer}"
        );
    }
}

#[test]
fn a_grant_leads_to_no_private_place() {
    let daemon = Daemon::start();
    let (_, proxy) = granted(&daemon, &[]);
    let trap = Honeypot::builder(&Authority::new("Elsewhere"), "127.0.0.1")
        .plain()
        .start();
    let port = trap.authority().rsplit(':').next().unwrap().to_owned();
    let curl = Curl::new().proxy(&proxy).with(&["--proxytunnel", "--max-time", "10"]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        let plain = Curl::new().proxy(&proxy).get(&format!("http://{host}:{port}/"));
        assert_eq!(
            (plain.status, plain.header("regauth-error")),
            (403, Some("grant-denied")),
            "{host}"
        );
        curl.fetch(&format!("http://{host}:{port}/"))
            .outcome
            .fails()
            .says("403");
    }
    let own = format!("http://{}/", daemon.proxy().trim_start_matches("http://"));
    curl.fetch(&own).outcome.fails().says("400");
    assert!(trap.requests().is_empty());
    let open = Curl::new().proxy(&daemon.proxy()).get(&trap.url("/"));
    assert_eq!(open.status, 200, "the owner goes where the owner goes");
}

/// Between the look and the leap a name may change what it means.
#[test]
fn a_name_is_resolved_once_and_leads_to_no_private_place() {
    if !geteuid().is_root() {
        return eprintln!("a network of one's own takes root");
    }
    let network = Network::start(&[]);
    let (public, here) = (Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::LOCALHOST);
    let names = NameServer::start(&network, move |name, number| match name {
        "here.example" => vec![here],
        "both.example" => vec![public, here],
        _ if number % 2 == 0 => vec![public],
        _ => vec![here],
    });
    let daemon = Daemon::builder().under(&network.inside()).start();
    let trap = Honeypot::builder(&Authority::new("Elsewhere"), "localhost").plain();
    let trap = network.enter(|| trap.start());
    let port = trap.authority().rsplit(':').next().unwrap().to_owned();
    let (_, proxy) = granted(&daemon, &[]);
    let asked = |proxy: &str, host: &str, more: &[&str]| {
        let curl = Curl::new().proxy(proxy).with(more);
        let url = format!("http://{host}:{port}/");
        network.enter(|| curl.fetch(&url).outcome.stdout)
    };
    // The way is open, but not for everyone.
    assert!(asked(&daemon.proxy(), "here.example", &[]).starts_with("200"));
    assert!(asked(&proxy, "here.example", &[]).starts_with("403"));
    assert!(asked(&proxy, "both.example", &[]).starts_with("403"));
    let before = names.questions();
    for number in 1..=8 {
        // To the proxy's refusal of a CONNECT curl gives the same code.
        let more: &[&str] = if number % 4 < 2 {
            &[]
        } else {
            &["--proxytunnel", "--write-out", "%{http_connect}"]
        };
        let said = asked(&proxy, "flip.example", more);
        assert!(["403", "502"].iter().any(|code| said.starts_with(code)), "{said}");
        assert_eq!(names.questions() - before, number, "it is asked once");
    }
    assert_eq!(trap.requests().len(), 1, "the owner's");
}

#[test]
fn listening_beyond_loopback_takes_grants_for_everyone() {
    let home = TempDir::new().unwrap();
    for refused in [
        Daemon::builder().config("listen = \"0.0.0.0:0\"\n"),
        Daemon::builder().listen("0.0.0.0:0"),
        Daemon::builder().listen("[::]:0"),
        Daemon::builder().listen("203.0.113.1:0"),
    ] {
        let folder = TempDir::new_in(home.path()).unwrap();
        refused
            .run(&folder.path().join("home"))
            .fails()
            .says("clients = \"grants\"");
    }
    if !geteuid().is_root() {
        return eprintln!("an address of one's own takes root");
    }
    let network = Network::start(&["203.0.113.1/24"]);
    let daemon = Daemon::builder()
        .config("clients = \"grants\"\n")
        .under(&network.inside())
        .listen("0.0.0.0:0")
        .start();
    let port = daemon.proxy().rsplit(':').next().unwrap().to_owned();
    let registry = Honeypot::builder(&Authority::new("Corp Root"), "localhost").plain();
    let registry = network.enter(|| registry.start());
    let place = ["--scope", &registry.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &place, &Scheme::bearer(), &Authority::new("Any").file(), TOKEN)
        .succeeds();
    let (_, granted) = granted(&daemon, &["--registry", "corp"]);
    let token = granted.split(['@', ':']).nth(2).unwrap();
    for address in ["127.0.0.1", "203.0.113.1"] {
        for (who, status) in [(String::new(), 407), (format!("regauth:{token}@"), 200)] {
            let curl = Curl::new().proxy(&format!("http://{who}{address}:{port}"));
            let answer = network.enter(|| curl.get(&registry.url("/")));
            assert_eq!(answer.status, status, "{address}: {}", answer.body());
        }
    }
    network.enter(|| assert_has_few_places(&format!("203.0.113.1:{port}")));
    let status = daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["clients"], "grants");
    assert!(status["problems"].is_null(), "{status}");
}

/// Another machine that has not shown a grant has a few connections, and is told so when it wants more.
fn assert_has_few_places(address: &str) {
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(address).unwrap());
    }
    let mut answer = String::new();
    let last = crowd.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    last.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("too-many-requests"),
        "{answer}"
    );
}

/// What the daemon answers to these bytes.
fn asked(daemon: &Daemon, request: &str) -> String {
    let address = daemon.proxy();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
