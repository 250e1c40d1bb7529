//! Behind a company's proxy: real Squid and a real SOCKS5 proxy, with passwords, TLS, TLS interception, and when they refuse.
//!
//! The registry's name is known to the proxy only, so a request that arrives went through it.

mod faults;
mod settings;
mod socks;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::{DnsServer, NetworkNamespace};
use regauth_tests::privilege::require_root;
use regauth_tests::registry::Registry;
use regauth_tests::squid::{self, Squid};

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

/// Adds a registry of plain HTTP.
fn add_loopback_registry(daemon: &Daemon, url: &str, more: &[&str]) -> Ctl {
    let add = ["add-registry", "local", "--kind", "generic", "--scope", url];
    daemon.ctl_with_input(&[&add[..], &["--token-stdin"], more].concat(), TOKEN)
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
fn the_token_of_a_plain_loopback_registry_never_goes_to_the_proxy() {
    let (squid, authority) = (Company::squid().start(), Authority::new("Corp Root"));
    for daemon in [configured(&squid.url()), with_all_variables(&squid.url())] {
        let daemon = daemon.start();
        for host in ["127.0.0.1", "localhost", "127.0.0.7", "cargo.localhost"] {
            let address = if host == "127.0.0.7" { host } else { "127.0.0.1" };
            let registry = MockServer::builder(&authority, address).plain().start();
            let port = registry.authority().rsplit_once(':').unwrap().1.to_owned();
            let url = format!("http://{host}:{port}/");
            add_loopback_registry(&daemon, &url, &[]).succeeds();
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
    let refused = add_loopback_registry(&daemon, &url, &[]);
    assert!(!refused.succeeded());
    assert!(
        refused.output.report().contains("loopback"),
        "{}",
        refused.output.report()
    );
    add_loopback_registry(&daemon, &url, &["--no-verify"]).succeeds();
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
