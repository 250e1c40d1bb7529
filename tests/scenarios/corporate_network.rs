//! Behind a company's proxy: real Squid and a real SOCKS5 proxy, with passwords, TLS, TLS interception, and when they refuse.
//!
//! The registry's name is known to the proxy only, so a request that arrives went through it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::{DnsServer, NetworkNamespace};
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use regauth_tests::registry::Registry;
use regauth_tests::socks_proxy::SocksProxy;
use regauth_tests::squid;
use regauth_tests::squid::Squid;
use regauth_tests::user::User;
use tempfile::TempDir;

const HOST: &str = "registry.corp.example";
const OTHER_HOST: &str = "other.corp.example";
const TOKEN: &str = "sentinel-token-of-the-registry";
const USER: &str = "proxy-user";
const PASSWORD: &str = "sentinel-proxy-password";

/// Company with a registry and another host, whose names only its proxy knows.
struct Company {
    authority: Authority,
    registry: MockServer,
}

impl Company {
    fn new() -> Self {
        let authority = Authority::new("Corp Root");
        Self {
            registry: MockServer::builder(&authority, HOST).start(),
            authority,
        }
    }

    fn squid() -> squid::Builder {
        Squid::builder().host(HOST).host(OTHER_HOST)
    }

    /// Line with which an HTTP proxy is asked for the registry.
    fn connect_line(&self) -> String {
        format!("CONNECT {} HTTP/1.1", self.registry.authority())
    }

    fn add(&self, daemon: &Daemon) -> Ctl {
        let location = ["--kind", "generic", "--scope", &self.registry.url("/")];
        daemon.try_add("corp", &location, &Scheme::bearer(), &self.authority.file(), TOKEN)
    }

    /// Adds the registry without asking it.
    fn add_unverified(&self, daemon: &Daemon) {
        let location = ["--kind", "generic", "--no-verify", "--scope", &self.registry.url("/")];
        daemon
            .try_add("corp", &location, &Scheme::bearer(), &self.authority.file(), TOKEN)
            .succeeds();
    }

    /// Adds the registry, fetches a page of it, and checks that the token arrived there.
    #[track_caller]
    fn assert_reached(&self, daemon: &Daemon) {
        self.add(daemon).succeeds();
        self.registry.clear_requests();
        let answer = Curl::new().behind(daemon).get(&self.registry.url("/page"));
        assert_eq!(answer.status, 200, "{}", answer.body());
        let requests = self.registry.requests();
        assert_eq!(requests[0].header("authorization"), Some(format!("Bearer {TOKEN}")));
    }

    /// Answer to a request to the registry: its status, error code and body.
    fn ask(&self, daemon: &Daemon) -> (u16, String, String) {
        let answer = Curl::new().behind(daemon).get(&self.registry.url("/page"));
        let code = answer.header("regauth-error").unwrap_or_default().to_owned();
        (answer.status, code, answer.body())
    }
}

fn configured(proxy: &str) -> Builder {
    Daemon::builder().config(&format!("[upstream]\nproxy = \"{proxy}\"\n"))
}

/// Settings of all the variables that curl reads.
fn with_all_variables(proxy: &str) -> Builder {
    let variables = ["http_proxy", "https_proxy", "ALL_PROXY"];
    variables
        .iter()
        .fold(Daemon::builder(), |builder, name| builder.env(name, proxy))
}

/// Port that accepts connections and never answers.
fn silent_port() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_registry_that_only_the_proxy_knows_is_reached_through_it_with_its_password() {
    let (company, squid) = (Company::new(), Company::squid().login(USER, PASSWORD).start());
    let daemon = configured(&squid.url_with_login(USER, PASSWORD)).start();
    daemon.register_secret(TOKEN);
    company.assert_reached(&daemon);
    squid.wait_for_request(&company.connect_line());
    assert!(!squid.log().contains(TOKEN));
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn the_environment_sets_the_proxy_as_it_does_for_curl() {
    let (company, squid) = (Company::new(), Company::squid().start());
    // An empty variable counts as unset, and upper and lower case both count.
    for variables in [
        &[("https_proxy", squid.url())][..],
        &[("HTTPS_PROXY", squid.url())],
        &[("HTTPS_PROXY", String::new()), ("ALL_PROXY", squid.address())],
        &[
            ("https_proxy", squid.address()),
            ("HTTPS_PROXY", "http://127.0.0.1:1".to_owned()),
        ],
    ] {
        let with = |builder: Builder, (name, value): &(&str, String)| builder.env(name, value);
        let daemon = variables.iter().fold(Daemon::builder(), with).start();
        company.assert_reached(&daemon);
    }
    squid.wait_for_request(&company.connect_line());
}

#[test]
fn no_proxy_is_read_in_all_its_forms() {
    let (company, squid) = (Company::new(), Company::squid().start());
    for no_proxy in [
        "*.corp.example",
        ".corp.example",
        "x,registry.corp.example",
        "CORP.EXAMPLE",
        "*",
    ] {
        let daemon = Daemon::builder()
            .env("ALL_PROXY", &squid.url())
            .env("no_proxy", no_proxy);
        let daemon = daemon.start();
        company.add_unverified(&daemon);
        let (status, code, _) = company.ask(&daemon);
        assert_eq!((status, code.as_str()), (502, "upstream-unreachable"), "{no_proxy}");
    }
    assert!(!squid.was_asked(&company.connect_line()), "{}", squid.log());
}

#[test]
fn the_token_of_a_plain_loopback_registry_never_goes_to_the_proxy() {
    let (squid, authority) = (Company::squid().start(), Authority::new("Corp Root"));
    for daemon in [configured(&squid.url()), with_all_variables(&squid.url())] {
        let daemon = daemon.start();
        for host in ["127.0.0.1", "localhost", "127.0.0.7", "cargo.localhost"] {
            let address = if host == "127.0.0.7" { host } else { "127.0.0.1" };
            let registry = MockServer::builder(&authority, address).plain().start();
            let port = registry.authority().rsplit_once(':').unwrap().1.to_owned();
            let url = format!("http://{host}:{port}/");
            let arguments = [
                "add-registry",
                "local",
                "--kind",
                "generic",
                "--scope",
                &url,
                "--token-stdin",
            ];
            daemon.ctl_with_input(&arguments, TOKEN).succeeds();
            assert_eq!(Curl::new().proxy(&daemon.proxy()).get(&url).status, 200, "{url}");
            let requests = registry.requests();
            let last = requests.last().unwrap();
            assert_eq!(last.header("authorization"), Some(format!("Bearer {TOKEN}")), "{url}");
            daemon.ctl(&["verify", "local"]);
            daemon.ctl(&["remove-registry", "local"]).succeeds();
        }
    }
    assert!(
        !squid.log().contains("CONNECT") && !squid.log().contains(TOKEN),
        "{}",
        squid.log()
    );
}

#[test]
fn other_loopback_hosts_are_reached_without_the_proxy() {
    let (squid, authority) = (Company::squid().start(), Authority::new("Corp Root"));
    let daemon = with_all_variables(&squid.url()).start();
    let tls = MockServer::builder(&authority, "localhost").start();
    let plain = MockServer::builder(&authority, "127.0.0.1").plain().start();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&authority.file());
    assert_eq!(curl.get(&tls.url("/")).status, 200);
    assert_eq!(curl.get(&plain.url("/")).status, 200);
    assert!(
        !squid.log().contains("CONNECT") && !squid.log().contains("GET"),
        "{}",
        squid.log()
    );
}

#[test]
fn a_plain_registry_whose_name_leaves_loopback_gets_no_token() {
    if !require_root("network namespaces") {
        return;
    }
    const FAR: &str = "203.0.113.9";
    let network = NetworkNamespace::start(&[&format!("{FAR}/24")]);
    let _dns = DnsServer::start(&network, |_, _| vec![FAR.parse().unwrap()]);
    let server = MockServer::builder(&Authority::new("Corp Root"), FAR).plain();
    let server = network.enter(|| server.start());
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let daemon = Daemon::builder().wrapped_in(&network.enter_command()).start();
    let url = format!("http://registry.localhost:{port}/");
    let add = [
        "add-registry",
        "local",
        "--kind",
        "generic",
        "--scope",
        &url,
        "--token-stdin",
    ];
    let refused = daemon.ctl_with_input(&add, TOKEN);
    assert!(!refused.succeeded());
    assert!(
        refused.output.report().contains("loopback"),
        "{}",
        refused.output.report()
    );
    daemon
        .ctl_with_input(&[&add[..], &["--no-verify"]].concat(), TOKEN)
        .succeeds();
    let answer = network.enter(|| Curl::new().proxy(&daemon.proxy()).get(&url));
    assert_eq!(answer.status, 502);
    assert!(answer.body().contains("not loopback"), "{}", answer.body());
    daemon.ctl(&["verify", "local"]);
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[test]
fn plain_http_goes_to_the_proxy_in_absolute_form() {
    let squid = Company::squid().login(USER, PASSWORD).start();
    let server = MockServer::builder(&Authority::new("Corp Root"), OTHER_HOST)
        .plain()
        .start();
    for daemon in [
        configured(&squid.url_with_login(USER, PASSWORD)),
        Daemon::builder().env("http_proxy", &squid.url_with_login(USER, PASSWORD)),
    ] {
        let daemon = daemon.start();
        let curl = Curl::new().proxy(&daemon.proxy());
        for path in ["/page", "/other?query=1"] {
            assert_eq!(curl.get(&server.url(path)).status, 200);
            squid.wait_for_request(&format!("GET {} HTTP/1.1", server.url(path)));
        }
        // Port 80 stays port 80. Nothing may listen there, so only the proxy's own view counts.
        curl.get(&format!("http://{OTHER_HOST}/port-80"));
        squid.wait_for_request(&format!("GET http://{OTHER_HOST}/port-80 HTTP/1.1"));
        assert_eq!(curl.upload(&server.url("/upload"), 300_000).status, 200);
    }
    assert!(!squid.log().contains("CONNECT other"), "{}", squid.log());
    let seen: String = server.requests().iter().map(|request| request.text()).collect();
    assert!(!seen.to_lowercase().contains("proxy-authorization"), "{seen}");
}

#[test]
fn a_password_that_the_proxy_wants_is_asked_for_by_name() {
    let (company, squid) = (Company::new(), Company::squid().login(USER, PASSWORD).start());
    let server = MockServer::builder(&company.authority, OTHER_HOST).plain().start();
    for (url, words) in [
        (squid.url(), "requires a user and a password (407"),
        (
            squid.url_with_login(USER, "wrong"),
            "rejected the user and the password (407",
        ),
    ] {
        let daemon = configured(&url).start();
        let refused = company.add(&daemon);
        assert!(!refused.succeeded());
        let report = refused.output.report();
        assert!(report.contains(words) && report.contains(&squid.address()), "{report}");
        company.add_unverified(&daemon);
        let (status, code, body) = company.ask(&daemon);
        assert_eq!((status, code.as_str()), (502, "upstream-unreachable"));
        assert!(body.contains(words) && body.contains("set by config.toml"), "{body}");
        let verified = daemon.ctl(&["verify", "corp"]).output.report();
        assert!(verified.contains(words), "{verified}");
        // A client must not take the proxy's 407 for ours, nor see its challenge.
        let plain = Curl::new().proxy(&daemon.proxy()).get(&server.url("/"));
        assert_eq!(plain.status, 502);
        assert!(plain.body().contains(words), "{}", plain.body());
        assert_eq!(plain.header("proxy-authenticate"), None);
    }
    assert!(server.requests().is_empty() && company.registry.requests().is_empty());
}

#[test]
fn a_port_that_the_proxy_forbids_is_called_forbidden() {
    let (company, squid) = (Company::new(), Company::squid().only_ssl_ports().start());
    let daemon = configured(&squid.url()).start();
    company.add_unverified(&daemon);
    let (status, _, body) = company.ask(&daemon);
    assert_eq!(status, 502);
    assert!(body.contains("refused to connect to the host (HTTP 403)"), "{body}");
    let tunnel = Curl::new()
        .behind(&daemon)
        .with(&["--verbose"])
        .fetch(&format!("https://{OTHER_HOST}:8443/"));
    let report = tunnel.output.fails().report();
    assert!(
        report.contains("502") && report.contains("regauth-error: upstream-unreachable"),
        "{report}"
    );
}

#[test]
fn a_host_that_the_proxy_cannot_reach_is_told_from_a_dead_proxy() {
    let company = Company::new();
    let mut squid = Squid::builder().start();
    let daemon = configured(&squid.url()).start();
    company.add_unverified(&daemon);
    let (status, _, body) = company.ask(&daemon);
    assert_eq!(status, 502);
    assert!(body.contains("could not connect to the host (HTTP 50"), "{body}");
    let address = squid.address();
    squid.stop();
    for _ in 0..2 {
        let (status, code, body) = company.ask(&daemon);
        assert_eq!((status, code.as_str()), (502, "upstream-unreachable"));
        assert!(
            body.contains(&format!("The corporate proxy http://{address}")),
            "{body}"
        );
        assert!(body.contains("cannot be reached"), "{body}");
    }
    let verified = daemon.ctl(&["verify", "corp"]).output.report();
    assert!(
        verified.contains("cannot be reached") && verified.contains(&address),
        "{verified}"
    );
}

#[test]
fn a_proxy_that_comes_back_is_used_again() {
    let company = Company::new();
    let (listener, address) = silent_port();
    drop(listener);
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    let listener = TcpListener::bind(&address).unwrap();
    // It serves until the test process ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains("refused to connect to the host (HTTP 403)"), "{body}");
}

#[test]
fn a_silent_proxy_is_named_and_its_connections_end() {
    let company = Company::new();
    let (_listener, address) = silent_port();
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    let (status, code, body) = company.ask(&daemon);
    assert_eq!((status, code.as_str()), (504, "upstream-timeout"));
    assert!(
        body.contains(&address) && body.contains("did not answer in time"),
        "{body}"
    );
    // A tunnel, too: its client hears of it, and no socket stays.
    let tunnel = Curl::new()
        .behind(&daemon)
        .with(&["--verbose"])
        .fetch("https://stranger.corp.example/");
    let report = tunnel.output.fails().report();
    assert!(report.contains("504"), "{report}");
    poll::wait_for("no connection", || {
        let status = daemon.ctl(&["status"]).succeeds().json;
        (status["connections"] == 0).then_some(())
    });
}

#[test]
fn a_server_that_is_no_proxy_is_called_that() {
    let company = Company::new();
    let server = MockServer::builder(&company.authority, "localhost").start();
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    // TLS answers plain text with an alert, HTTP answers SOCKS with a 400.
    let plain = MockServer::builder(&company.authority, "127.0.0.1").plain().start();
    for proxy in [
        format!("http://127.0.0.1:{port}"),
        format!("socks5h://{}", plain.authority()),
    ] {
        let daemon = configured(&proxy).start();
        company.add_unverified(&daemon);
        let (status, _, body) = company.ask(&daemon);
        assert_eq!(status, 502);
        assert!(body.contains("did not answer as a proxy of its kind does"), "{body}");
    }
}

#[test]
fn a_tunnel_passes_through_the_proxy() {
    let (company, squid) = (Company::new(), Company::squid().login(USER, PASSWORD).start());
    let daemon = configured(&squid.url_with_login(USER, PASSWORD)).start();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&company.authority.file());
    assert_eq!(curl.get(&company.registry.url("/")).status, 200);
    assert_eq!(curl.upload(&company.registry.url("/upload"), 3_000_000).status, 200);
    squid.wait_for_request(&company.connect_line());
    assert_eq!(company.registry.requests()[1].body.len(), 3_000_000);
}

#[test]
fn an_https_proxy_is_verified_before_it_gets_a_password() {
    let (company, proxy_root) = (Company::new(), Authority::new("Proxy Root"));
    let certificate = proxy_root.issue(&["localhost"]);
    let squid = Company::squid().login(USER, PASSWORD).tls(&certificate).start();
    let url = squid.url_with_login(USER, PASSWORD);
    let untrusting = configured(&url).start();
    company.add_unverified(&untrusting);
    let (status, _, body) = company.ask(&untrusting);
    assert_eq!(status, 502);
    assert!(body.contains("has a certificate that regauth does not trust"), "{body}");
    assert!(!squid.log().contains("CONNECT"), "{}", squid.log());

    let plain = MockServer::builder(&company.authority, OTHER_HOST).plain().start();
    let roots = proxy_root.file().display().to_string();
    let in_file = format!("ca-file = \"{roots}\"\n[upstream]\nproxy = \"{url}\"\n");
    for daemon in [
        Daemon::builder().config(&in_file),
        with_all_variables(&url).env("SSL_CERT_FILE", &roots),
    ] {
        let daemon = daemon.start();
        company.assert_reached(&daemon);
        let curl = Curl::new().proxy(&daemon.proxy()).trusts(&company.authority.file());
        // A tunnel to a host without a registry, and plain HTTP.
        let other = MockServer::builder(&company.authority, OTHER_HOST).start();
        assert_eq!(curl.upload(&other.url("/upload"), 2_000_000).status, 200);
        assert_eq!(curl.get(&plain.url("/plain")).status, 200);
        squid.wait_for_request(&format!("GET {} HTTP/1.1", plain.url("/plain")));
    }
    squid.wait_for_request(&company.connect_line());
    assert!(!squid.log().contains(TOKEN));
}

#[test]
fn a_socks5h_proxy_resolves_the_name() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST]);
    for daemon in [
        configured(&socks.url("socks5h", "")),
        Daemon::builder().env("ALL_PROXY", &socks.url("socks5h", "")),
    ] {
        company.assert_reached(&daemon.start());
    }
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn a_socks5_proxy_gets_the_address_that_we_resolve() {
    if !require_root("network namespaces") {
        return;
    }
    let network = NetworkNamespace::start(&["203.0.113.9/24"]);
    let _dns = DnsServer::start(&network, |_, _| vec!["203.0.113.9".parse().unwrap()]);
    let authority = Authority::new("Corp Root");
    let server = MockServer::builder(&authority, "203.0.113.9").plain();
    let (server, socks) = network.enter(|| (server.start(), SocksProxy::start(&[])));
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let daemon = configured(&socks.url("socks5", ""))
        .wrapped_in(&network.enter_command())
        .start();
    let url = format!("http://{OTHER_HOST}:{port}/");
    let answer = network.enter(|| Curl::new().proxy(&daemon.proxy()).get(&url));
    assert_eq!(answer.status, 200);
    socks.wait_for_connection(&format!("203.0.113.9:{port}"));
}

#[test]
fn a_socks5_proxy_is_not_asked_for_a_name_that_we_cannot_resolve() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST]);
    let daemon = configured(&socks.url("socks5", "")).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    assert_eq!(socks.connections(), 0);
}

#[test]
fn a_socks_proxy_with_a_password_is_used_and_its_refusals_are_named() {
    let company = Company::new();
    let socks = SocksProxy::start_with_login(&[HOST], USER, PASSWORD);
    let working = configured(&socks.url("socks5h", &format!("{USER}:{PASSWORD}@"))).start();
    company.assert_reached(&working);
    assert!(!working.log().contains(PASSWORD));
    for (login, words) in [
        (String::new(), "requires a user and a password"),
        (format!("{USER}:wrong@"), "rejected the user and the password"),
    ] {
        let daemon = configured(&socks.url("socks5h", &login)).start();
        let report = company.add(&daemon).output.report();
        assert!(report.contains(words) && report.contains(&socks.address()), "{report}");
    }
}

#[test]
fn plain_http_and_tunnels_pass_through_a_socks_proxy() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST, OTHER_HOST]);
    let daemon = with_all_variables(&socks.url("socks5h", "")).start();
    let plain = MockServer::builder(&company.authority, OTHER_HOST).plain().start();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&company.authority.file());
    assert_eq!(curl.get(&plain.url("/page")).status, 200);
    assert_eq!(plain.requests()[0].uri, "/page");
    assert_eq!(curl.get(&company.registry.url("/")).status, 200);
    socks.wait_for_connection(&plain.authority());
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn a_host_that_the_socks_proxy_cannot_reach_is_told_from_a_dead_proxy() {
    let company = Company::new();
    let socks = SocksProxy::start(&[]);
    let daemon = configured(&socks.url("socks5h", "")).start();
    company.add_unverified(&daemon);
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains("could not connect to the host (SOCKS5"), "{body}");
    let address = socks.address();
    drop(socks);
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains(&address) && body.contains("cannot be reached"), "{body}");
}

#[test]
fn a_proxy_variable_that_cannot_be_used_stops_the_start() {
    for (name, value) in [
        ("https_proxy", "ftp://me:sentinel@proxy.corp.example"),
        ("ALL_PROXY", "socks4a://me:sentinel@proxy.corp.example"),
        ("http_proxy", "http://me:sentinel@proxy corp"),
        ("HTTPS_PROXY", "http://me:sentinel@:3128"),
    ] {
        let folder = TempDir::new().unwrap();
        let home = folder.path().join("home");
        let failed = Daemon::builder().env(name, value).run(&home).fails().says(name);
        assert!(!failed.report().contains("sentinel"), "{}", failed.report());
        assert!(failed.report().contains("[upstream]"), "{}", failed.report());
    }
}

#[test]
fn a_proxy_variable_that_names_this_daemon_is_ignored() {
    let mut daemon = Daemon::start();
    let own = daemon.proxy();
    let listen = own.trim_start_matches("http://").to_owned();
    daemon.stop();
    let daemon = with_all_variables(&own).listen(&listen).start();
    let status = daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["upstream-proxies"], serde_json::Value::Null);
    drop(daemon);
    let folder = TempDir::new().unwrap();
    configured(&own)
        .listen(&listen)
        .run(&folder.path().join("home"))
        .fails()
        .says("is the address of this regauthd");
}

#[test]
fn status_shows_the_proxies_in_use_and_where_they_were_set() {
    let daemon = configured("http://me:sentinel@proxy.corp.example:3128").start();
    let status = daemon.ctl(&["status"]).succeeds();
    assert!(!status.output.report().contains("sentinel"));
    assert_eq!(
        status.json["upstream-proxies"],
        serde_json::json!([{
            "url": "http://proxy.corp.example:3128",
            "set-by": "config.toml",
            "used-for": ["http", "https"],
        }])
    );
    let shown = User::new(&daemon).ctl(&["status"]).succeeds();
    let shown = shown.says("http://proxy.corp.example:3128, set by config.toml");
    assert!(!shown.report().contains("sentinel"), "{}", shown.report());
    let daemon = Daemon::builder()
        .env("https_proxy", "https://proxy.corp.example")
        .env("http_proxy", "socks5h://10.0.0.1")
        .start();
    let status = daemon.ctl(&["status"]).succeeds();
    let proxies = &status.json["upstream-proxies"];
    assert_eq!(proxies[0]["url"], "https://proxy.corp.example:443");
    assert_eq!(proxies[0]["set-by"], "https_proxy");
    assert_eq!(proxies[0]["used-for"], serde_json::json!(["https"]));
    assert_eq!(proxies[1]["url"], "socks5h://10.0.0.1:1080");
    assert_eq!(proxies[1]["used-for"], serde_json::json!(["http"]));
}

#[test]
fn a_company_that_inspects_tls_is_trusted_by_clients_and_by_no_registry_that_does_not_name_it() {
    let (company, inspection) = (Company::new(), Authority::new("Inspection Root"));
    let squid = Company::squid().intercepts_tls(&inspection, &company.authority).start();
    let other = MockServer::builder(&company.authority, OTHER_HOST).start();
    let daemon = Daemon::builder().config(&format!(
        "ca-file = \"{}\"\n[upstream]\nproxy = \"{}\"\n",
        inspection.file().display(),
        squid.url()
    ));
    let daemon = daemon.start();
    // A client that trusts the bundle reaches a host without a registry.
    assert_eq!(Curl::new().behind(&daemon).get(&other.url("/")).status, 200);
    // The registry's token goes only to a certificate that the registry names.
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).1, "upstream-untrusted");
    assert!(!squid.log().contains(TOKEN));
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    let location = ["--kind", "generic", "--scope", &company.registry.url("/")];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &inspection.file(), TOKEN)
        .succeeds();
    assert_eq!(company.ask(&daemon).0, 200);
}

#[test]
fn a_ca_file_that_cannot_be_used_stops_the_start_and_changes_nothing_at_a_reload() {
    let (folder, root) = (TempDir::new().unwrap(), Authority::new("Company Root"));
    let missing = "ca-file = \"/nowhere/company.pem\"\n";
    Daemon::builder()
        .config(missing)
        .run(&folder.path().join("home"))
        .fails()
        .says("`ca-file` at the top of config.toml: cannot read /nowhere/company.pem");
    let daemon = Daemon::builder().config("").start();
    let (file, before) = (
        daemon.home().join("config.toml"),
        std::fs::read_to_string(daemon.bundle()).unwrap(),
    );
    let recorded = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{missing}{recorded}")).unwrap();
    let refused = daemon.ctl(&["reload"]);
    assert!(!refused.succeeded() && refused.output.report().contains("/nowhere/company.pem"));
    assert_eq!(std::fs::read_to_string(daemon.bundle()).unwrap(), before);
    let working = format!("ca-file = \"{}\"\n", root.file().display());
    std::fs::write(&file, working + &recorded).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    let after = std::fs::read_to_string(daemon.bundle()).unwrap();
    let lines = std::fs::read_to_string(root.file()).unwrap();
    let first = lines.lines().nth(1).unwrap();
    assert!(after.contains(first) && !before.contains(first));
    let status = daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["ca-file"], root.file().display().to_string());
}

#[test]
fn cargo_builds_through_a_proxy_with_a_password() {
    let squid = Company::squid().login(USER, PASSWORD).start();
    let registry = Registry::builder(Scheme::bearer(), TOKEN).host(HOST).start();
    let daemon = configured(&squid.url_with_login(USER, PASSWORD)).start();
    daemon.add("corp", &registry);
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .build()
        .succeeds();
    assert!(!squid.log().contains(TOKEN));
}

#[test]
fn a_grant_reaches_no_private_address_through_the_proxy() {
    let squid = Company::squid().start();
    let daemon = configured(&squid.url()).start();
    let granted = daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    let url = granted.json["proxy"].as_str().unwrap().to_owned();
    for target in [
        "http://10.0.0.1/",
        "https://10.0.0.1/",
        "http://localhost:1/",
        "https://x.localhost/",
    ] {
        let answer = Curl::new().proxy(&url).with(&["--verbose"]).fetch(target);
        let report = answer.output.report();
        assert!(report.contains("403"), "{target}: {report}");
    }
    assert!(!squid.log().contains("10.0.0.1"), "{}", squid.log());
}

#[test]
fn bytes_that_follow_the_proxys_answer_at_once_reach_the_client() {
    // A host that speaks first, such as an SSH server, may be ahead of the client.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nbanner\n")
            .unwrap();
    });
    let daemon = configured(&format!("http://{address}")).start();
    let mut client = TcpStream::connect(daemon.proxy().trim_start_matches("http://")).unwrap();
    client
        .write_all(b"CONNECT host.corp.example:22 HTTP/1.1\r\nHost: host.corp.example:22\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nbanner\n"),
        "{answer}"
    );
    proxy.join().unwrap();
}

#[test]
fn the_token_of_a_plain_loopback_registry_never_goes_to_a_socks_proxy() {
    let socks = SocksProxy::start(&[]);
    let registry = MockServer::builder(&Authority::new("Corp Root"), "127.0.0.1")
        .plain()
        .start();
    for daemon in [
        configured(&socks.url("socks5h", "")),
        with_all_variables(&socks.url("socks5", "")),
    ] {
        let daemon = daemon.start();
        let add = [
            "add-registry",
            "local",
            "--kind",
            "generic",
            "--scope",
            &registry.url("/"),
            "--token-stdin",
        ];
        daemon.ctl_with_input(&add, TOKEN).succeeds();
        assert_eq!(Curl::new().proxy(&daemon.proxy()).get(&registry.url("/")).status, 200);
    }
    assert_eq!(socks.connections(), 0);
}

#[test]
fn verify_and_rotate_go_through_the_socks_proxy() {
    let (company, socks) = (Company::new(), SocksProxy::start(&[HOST]));
    let daemon = configured(&socks.url("socks5h", "")).start();
    company.add(&daemon).succeeds();
    daemon.ctl(&["verify", "corp"]);
    daemon.rotate("corp", "sentinel-token-number-two").succeeds();
    let sent: Vec<_> = company.registry.requests();
    let last = sent
        .iter()
        .filter_map(|request| request.header("authorization"))
        .next_back();
    assert_eq!(last.as_deref(), Some("Bearer sentinel-token-number-two"));
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn cargo_builds_through_a_socks_proxy() {
    let socks = SocksProxy::start(&[HOST]);
    let registry = Registry::builder(Scheme::bearer(), TOKEN).host(HOST).start();
    let daemon = Daemon::builder().env("https_proxy", &socks.url("socks5h", "")).start();
    daemon.add("corp", &registry);
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .build()
        .succeeds();
    assert!(socks.connections() > 0);
}

#[test]
fn a_grant_reaches_no_private_address_through_a_socks5_proxy() {
    if !require_root("network namespaces") {
        return;
    }
    // The address is public, and this machine's own.
    let network = NetworkNamespace::start(&["203.0.113.9/24"]);
    let _dns = DnsServer::start(&network, |name, _| match name {
        OTHER_HOST => vec!["203.0.113.9".parse().unwrap()],
        _ => vec!["10.1.2.3".parse().unwrap()],
    });
    let socks = network.enter(|| SocksProxy::start(&[]));
    let daemon = configured(&socks.url("socks5", "")).wrapped_in(&network.enter_command());
    let daemon = daemon.start();
    let granted = daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    let url = granted.json["proxy"].as_str().unwrap().to_owned();
    for host in [OTHER_HOST, "private.corp.example"] {
        let target = format!("http://{host}:8080/");
        let answer = network.enter(|| Curl::new().proxy(&url).get(&target));
        assert_eq!(answer.header("regauth-error"), Some("grant-denied"), "{host}");
    }
    assert_eq!(socks.connections(), 0);
}

#[test]
fn no_proxy_keeps_hosts_from_a_socks_proxy() {
    let (company, socks) = (Company::new(), SocksProxy::start(&[HOST, OTHER_HOST]));
    let settings = format!(
        "[upstream]\nproxy = \"{}\"\nno-proxy = [\"*.corp.example\", \"10.0.0.0/8\"]\n",
        socks.url("socks5h", "")
    );
    let daemon = Daemon::builder().config(&settings).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    assert_eq!(socks.connections(), 0);
}

#[test]
fn one_connect_that_the_proxy_never_answers_does_not_stop_a_registry_for_good() {
    let (company, squid) = (Company::new(), Company::squid().start());
    // Swallows the first connection, and passes all others to Squid.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), squid.address());
    std::thread::spawn(move || {
        let _swallowed = listener.accept().unwrap();
        for stream in listener.incoming() {
            let (near, far) = (stream.unwrap(), TcpStream::connect(&behind).unwrap());
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    company.ask(&daemon);
    poll::wait_for("an answer of the registry", || {
        (company.ask(&daemon).0 == 200).then_some(())
    });
}
