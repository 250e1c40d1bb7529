//! Client authentication: the daemon's own user and holders of grants may connect, nobody else.

mod limits;
mod private_addresses;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::NetworkNamespace;
use regauth_tests::nginx::Nginx;
use regauth_tests::privilege::require_root;
use regauth_tests::proxy_client::{ProxyClient, block_on, read_answer};
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::{exec, poll, programs};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

const TOKEN: &str = "t0ken-of-the-company";
const NOBODY: u32 = 65534;
/// Public address, used in a network namespace.
const PUBLIC: &str = "93.184.216.34";

/// Registry and a daemon that serves it.
fn registry_and_daemon() -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    (registry, daemon)
}

fn create_grant(daemon: &Daemon, arguments: &[&str]) -> (String, String) {
    let created = daemon.ctl(&[&["grant"], arguments].concat()).succeeds().json;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&created["grant"]["id"]), text(&created["proxy"]))
}

/// curl that another user can run: the bundle is readable.
fn shared_curl(daemon: &Daemon, proxy: &str) -> (Curl, tempfile::TempPath) {
    let bundle = concatenate(&[&daemon.bundle()]);
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o644)).unwrap();
    (Curl::new().proxy(proxy).trusts(&bundle), bundle)
}

fn config(registry: &Registry) -> String {
    registry.nginx.url("/api/cargo/index/config.json")
}

#[test]
fn another_user_needs_a_grant_and_is_refused_before_the_upstream() {
    if !require_root("a client of another user") {
        return;
    }
    let (registry, daemon) = registry_and_daemon();
    let before = registry.nginx.requests().len();
    let (curl, _bundle) = shared_curl(&daemon, &daemon.proxy());
    let refused = curl.clone().as_user(NOBODY).fetch(&config(&registry));
    refused.output.fails().says("407");
    let open = MockServer::builder(&Authority::new("Elsewhere"), "localhost")
        .plain()
        .start();
    let answer = curl.clone().as_user(NOBODY).get(&open.url("/"));
    assert_eq!(answer.status, 407);
    assert_eq!(answer.header("regauth-error"), Some("grant-required"));
    assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"regauth\""));
    assert_eq!(
        curl.get(&config(&registry)).status,
        200,
        "the daemon's own user needs no grant"
    );
    assert_eq!(registry.nginx.requests().len(), before + 1);
    assert!(open.requests().is_empty());
    let (_, proxy) = create_grant(&daemon, &["--registry", "corp"]);
    let (curl, _bundle) = shared_curl(&daemon, &proxy);
    assert_eq!(curl.as_user(NOBODY).get(&config(&registry)).status, 200);
}

#[test]
fn the_control_socket_refuses_another_user_despite_open_file_modes() {
    if !require_root("a client of another user") {
        return;
    }
    let daemon = Daemon::start();
    let programs = TempDir::new().unwrap();
    let ctl = programs.path().join("regauthctl");
    exec::copy_program(&programs::binary("regauthctl"), &ctl);
    for (path, mode) in [
        (programs.path().to_owned(), 0o755),
        (daemon.home().parent().unwrap().to_owned(), 0o755),
        (daemon.home().to_owned(), 0o755),
        (daemon.home().join("run"), 0o755),
        (daemon.home().join("run/control.sock"), 0o666),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut status = exec::as_user(NOBODY, programs.path());
    status.arg(&ctl).arg("--home").arg(daemon.home()).arg("status");
    let output = exec::run(&mut status).fails();
    assert_eq!(output.status.code(), Some(3), "{}", output.report());
    assert!(daemon.log().contains("refused another user on the control socket"));
}

#[test]
fn a_grant_allows_reading_its_registries_until_it_is_revoked() {
    let (registry, daemon) = registry_and_daemon();
    let other = Registry::builder(Scheme::bearer(), TOKEN).start();
    daemon.add("other", &other);
    let (id, proxy) = create_grant(&daemon, &["--registry", "corp", "--for", "5m"]);
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
    assert_eq!(answer.status, 403, "`allow` applies to the owner only");
    daemon.ctl(&["revoke", &id]).succeeds();
    curl.fetch(&config(&registry)).output.fails().says("407");
    daemon.ctl(&["revoke", &id]).exits(6);
}

#[test]
fn a_grant_for_writes_publishes_while_other_clients_are_refused() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let (_, proxy) = create_grant(&daemon, &["--registry", "corp", "--write", "--for", "5m"]);
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

/// git sends no credentials before it gets a 407.
#[test]
fn git_works_with_a_grant() {
    let host = Authority::new("Corp Root");
    let server = GitServer::start(&host, Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    daemon.add_git("code", &server);
    let (_, proxy) = create_grant(&daemon, &[]);
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
fn grants_survive_a_restart_and_expire() {
    let (registry, mut daemon) = registry_and_daemon();
    let (_, long) = create_grant(&daemon, &["--for", "1h"]);
    let (_, short) = create_grant(&daemon, &["--for", "3s"]);
    for proxy in [&short, &long] {
        let curl = Curl::new().proxy(proxy).trusts(&daemon.bundle());
        assert_eq!(curl.get(&config(&registry)).status, 200);
    }
    let token = long.split(['@', ':']).nth(2).unwrap().to_owned();
    let mut scan = LeakScan::new(&token);
    scan.scan_folder(daemon.home(), &[])
        .scan("the log", daemon.log())
        .assert_clean();
    daemon.restart();
    let listed = daemon.ctl(&["grants"]).succeeds().json;
    assert!(!listed["grants"].as_array().unwrap().is_empty(), "{listed}");
    poll::wait_for("the short grant to end", || {
        let listed = daemon.ctl(&["grants"]).json;
        (listed["grants"].as_array()?.len() == 1).then_some(())
    });
    let open = MockServer::builder(&Authority::new("Elsewhere"), "localhost")
        .plain()
        .start();
    let curl = |proxy: &str| Curl::new().proxy(proxy).get(&open.url("/")).status;
    assert_eq!(curl(&short), 407);
    assert_eq!(curl(&long), 403, "authenticated, but a grant does not lead to loopback");
}

/// Downloads by tunnel, by an intercepted connection of either protocol, and by plain HTTP.
#[test]
fn a_download_ends_with_its_grant_in_a_tunnel_intercepted_or_plain() {
    if !require_root("network namespaces") {
        return;
    }
    let [here, there] = [(); 2].map(|()| NetworkNamespace::start(&[]));
    here.link_to("93.184.216.33/24", &there, &format!("{PUBLIC}/24"));
    let daemon = Daemon::builder().wrapped_in(&here.enter_command()).start();
    let authority = Authority::new("Corp Root");
    let folder = TempDir::new().unwrap();
    let file = fs::File::create(folder.path().join("endless")).unwrap();
    file.set_len(1 << 30).unwrap();
    let corp = there.enter(|| endless(&authority, PUBLIC, PUBLIC, folder.path()));
    let _local = here.enter(|| endless(&authority, "localhost", "127.0.0.1", folder.path()));
    let (local, unconfigured) = ("http://localhost/".to_owned(), format!("http://{PUBLIC}/"));
    for (name, url) in [("corp", &corp.url("/")), ("local", &local)] {
        let location = ["--scope", url, "--no-verify"];
        daemon
            .try_add(name, &location, &Scheme::bearer(), &authority.file(), TOKEN)
            .succeeds();
    }
    let routes = [
        ("a tunnel", &unconfigured, "--proxytunnel"),
        ("intercepted HTTP/1.1", &corp.url("/"), "--http1.1"),
        ("intercepted HTTP/2", &corp.url("/"), "--http2"),
        ("a plain registry", &local, "--http1.1"),
        ("an unconfigured plain host", &unconfigured, "--http1.1"),
    ];
    let begin = |proxy: &str| {
        let curl = Curl::new().proxy(proxy).trusts(&daemon.bundle());
        routes.map(|(route, url, how)| {
            let download = here.enter(|| curl.clone().with(&[how]).start(url));
            poll::wait_for(route, || (download.received() > 0).then_some(()));
            (route, download)
        })
    };
    let (revoked, proxy) = create_grant(&daemon, &["--for", "1h"]);
    let to_revoke = begin(&proxy);
    let lasting = begin(&create_grant(&daemon, &["--for", "1h"]).1);
    let to_expire = begin(&create_grant(&daemon, &["--for", "3s"]).1);
    daemon.ctl(&["revoke", &revoked]).succeeds();
    for (end, downloads) in [("revoked", to_revoke), ("expired", to_expire)] {
        for (route, mut download) in downloads {
            // curl itself gives up later than this timeout.
            let ended = poll::within(poll::TIMEOUT, || (!download.is_running()).then_some(()));
            assert!(ended.is_some(), "{route}, {end}");
        }
    }
    for (route, download) in lasting {
        let before = download.received();
        poll::wait_for(route, || (download.received() > before).then_some(()));
    }
}

/// Server whose response takes hours: with TLS on a free port, without on port 80.
fn endless(authority: &Authority, host: &str, address: &str, folder: &Path) -> Nginx {
    let location = format!("root {}; index endless; limit_rate 64k;", folder.display());
    Nginx::builder(&authority.issue(&[host]))
        .host(host)
        .server(&format!("listen {address}:80;"))
        .location("/", &location)
        .start()
}

/// After the removal the host is no registry, and on loopback: a grant does not lead there.
#[test]
fn a_removed_registry_is_refused_to_a_grant_on_an_open_connection() {
    let authority = Authority::new("Corp Root");
    let corp = MockServer::builder(&authority, "localhost").start();
    let daemon = Daemon::start();
    let location = ["--scope", &corp.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &authority.file(), TOKEN)
        .succeeds();
    let (_, proxy) = create_grant(&daemon, &[]);
    let pair = STANDARD.encode(proxy.split(['/', '@']).nth(2).unwrap());
    let host = corp.authority();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    block_on(async {
        let head = format!("CONNECT {host} HTTP/1.1\r\nProxy-Authorization: Basic {pair}\r\n\r\n");
        let client = ProxyClient::new(&daemon);
        let stream = client.connect(&head).await.unwrap();
        let handshake = client.handshake(stream, Some("localhost"), &["http/1.1"]);
        let mut inside = handshake.await.unwrap();
        let mut answers = Vec::new();
        for removed in [false, true] {
            if removed {
                daemon.ctl(&["remove-registry", "corp"]).succeeds();
            }
            inside.write_all(request.as_bytes()).await.unwrap();
            answers.push(String::from_utf8(read_answer(&mut inside).await.unwrap()).unwrap());
        }
        assert!(answers[0].starts_with("HTTP/1.1 200 "), "{answers:?}");
        assert!(answers[1].contains("regauth-error: grant-denied"), "{answers:?}");
    });
    assert_eq!(corp.requests().len(), 1);
}

#[test]
fn a_grant_does_not_apply_to_a_new_registry_of_the_same_name() {
    let authority = Authority::new("Corp Root");
    let registries = ["first", "second"].map(|_| MockServer::builder(&authority, "localhost").start());
    let daemon = Daemon::start();
    let add = |registry: &MockServer| {
        let location = ["--scope", &registry.url("/"), "--no-verify"];
        let added = daemon.try_add("corp", &location, &Scheme::bearer(), &authority.file(), TOKEN);
        added.succeeds();
    };
    add(&registries[0]);
    let (id, proxy) = create_grant(&daemon, &["--registry", "corp"]);
    let (_, other) = create_grant(&daemon, &[]);
    let removed = daemon.ctl(&["remove-registry", "corp"]).succeeds().json;
    let note = format!("the grant {id} named it and ended with it");
    assert_eq!(removed["notes"], serde_json::json!([note]));
    add(&registries[1]);
    let url = registries[1].url("/");
    let curl = |proxy: &str| Curl::new().proxy(proxy).trusts(&daemon.bundle());
    assert_eq!(curl(&other).get(&url).status, 200);
    curl(&proxy).fetch(&url).output.fails().says("407");
    let listed = daemon.ctl(&["grants"]).succeeds().json;
    assert_eq!(listed["grants"].as_array().unwrap().len(), 1);
    assert_eq!(registries[1].requests().len(), 1);
}

#[test]
fn a_wrong_or_doubled_grant_is_refused_even_from_the_owner() {
    let daemon = Daemon::start();
    let (_, proxy) = create_grant(&daemon, &[]);
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
        let connect = format!("CONNECT localhost:1 HTTP/1.1\r\n{lines}\r\n");
        let answer = ProxyClient::new(&daemon).exchange(&connect);
        assert!(
            answer.contains(&format!("regauth-error: {code}\r\n")),
            "{lines:?}: {answer}"
        );
    }
}

#[test]
fn listening_beyond_loopback_requires_grants_for_all_clients() {
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
    if !require_root("a network namespace") {
        return;
    }
    let network = NetworkNamespace::start(&["203.0.113.1/24"]);
    let daemon = Daemon::builder()
        .config("clients = \"grants\"\n")
        .wrapped_in(&network.enter_command())
        .listen("0.0.0.0:0")
        .start();
    let port = daemon.proxy().rsplit(':').next().unwrap().to_owned();
    let root = Authority::new("Corp Root");
    let registry = MockServer::builder(&root, "localhost").plain();
    let registry = network.enter(|| registry.start());
    let location = ["--scope", &registry.url("/"), "--no-verify"];
    // `status` names a certificate file that is missing later.
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), TOKEN)
        .succeeds();
    let (_, granted) = create_grant(&daemon, &["--registry", "corp"]);
    let token = granted.split(['@', ':']).nth(2).unwrap();
    for address in ["127.0.0.1", "203.0.113.1"] {
        for (user, status) in [(String::new(), 407), (format!("regauth:{token}@"), 200)] {
            let curl = Curl::new().proxy(&format!("http://{user}{address}:{port}"));
            let answer = network.enter(|| curl.get(&registry.url("/")));
            assert_eq!(answer.status, status, "{address}: {}", answer.body());
        }
    }
    let address = format!("203.0.113.1:{port}");
    network.enter(|| {
        assert_bearers_share_no_places(&address, token, &registry.url("/"));
        assert_connections_are_limited(&address);
    });
    let status = daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["clients"], "grants");
    assert!(status["problems"].is_null(), "{status}");
}

/// Asserts that plain connections of a grant's bearer take no places of those who have shown nothing yet.
fn assert_bearers_share_no_places(address: &str, token: &str, page: &str) {
    let login = STANDARD.encode(format!("regauth:{token}"));
    let host = page.split('/').nth(2).unwrap();
    let head = format!("GET {page} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {login}\r\n\r\n");
    let connections: Vec<TcpStream> = (0..80)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200", "connection {number}");
            stream
        })
        .collect();
    drop(connections);
}

/// Asserts that another machine without a grant keeps few connections: each further one ends an earlier one.
fn assert_connections_are_limited(address: &str) {
    let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream
            .read(&mut [0])
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    poll::wait_for("the end of those beyond the limit", || {
        (crowd.iter().filter(|stream| is_open(stream)).count() == 64).then_some(())
    });
    assert!(is_open(crowd.last().unwrap()), "the last one has a place");
}
