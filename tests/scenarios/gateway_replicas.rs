//! Several gateways behind a real load balancer: they share an authority and nothing else, and jobs notice no restart.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, Certificate};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::gateway::Gateway;
use regauth_tests::haproxy::{Backend, Haproxy, wait_for_ready};
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::squid::free_port;
use rustix::process::Signal;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

/// Three gateways behind HAProxy, with what they share: certificate, authority, and the registry's token in a file.
struct Fleet {
    replicas: Vec<Daemon>,
    backends: Vec<Backend>,
    balancer: Haproxy,
    registry: Registry,
    provider: OpenidProvider,
    authority: Authority,
    files: TempDir,
}

impl Fleet {
    fn start() -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
        let provider = OpenidProvider::start(registry.gate());
        let (authority, files) = (Authority::new("Gateway Root"), TempDir::new().unwrap());
        fs::write(files.path().join("token"), TOKEN).unwrap();
        install(&authority.issue(&["localhost"]), files.path());
        create_authority(files.path());
        create_grant_key(files.path());
        let backends = [(); 3].map(|()| Backend {
            address: format!("127.0.0.1:{}", free_port()),
            health_port: free_port(),
        });
        let replica = |backend: &Backend| {
            let config = configuration(&registry, &provider, files.path(), backend);
            Daemon::builder().log_level("info").config(&config).start()
        };
        let replicas: Vec<Daemon> = backends.iter().map(replica).collect();
        replicas.iter().for_each(|replica| replica.register_secret(TOKEN));
        wait_for_ready(&backends);
        Self {
            replicas,
            balancer: Haproxy::start(&backends),
            backends: backends.to_vec(),
            registry,
            provider,
            authority,
            files,
        }
    }

    /// URL of the load balancer for a new job.
    fn proxy(&self) -> String {
        let token = self.provider.identity("regauth");
        self.replicas.iter().for_each(|replica| replica.register_secret(&token));
        format!("https://regauth:{token}@{}", self.balancer.address())
    }

    fn curl(&self, proxy: &str) -> Curl {
        let authority = self.authority.file();
        let trusts = ["--proxy-cacert", authority.to_str().unwrap()];
        Curl::new()
            .proxy(proxy)
            .trusts(&self.replicas[0].bundle())
            .with(&trusts)
    }

    fn page(&self) -> String {
        self.registry.nginx.url("/api/cargo/index/config.json")
    }
}

fn install(certificate: &Certificate, folder: &Path) {
    for (from, to) in [
        (certificate.chain_file(), "tls.crt"),
        (certificate.key_file(), "tls.key"),
    ] {
        let beside = folder.join("new");
        fs::copy(from, &beside).unwrap();
        fs::rename(&beside, folder.join(to)).unwrap();
    }
}

fn create_authority(folder: &Path) {
    let mut regauthd = exec::command(binary("regauthd"), folder);
    let created = exec::run(regauthd.args(["--create-authority", "localhost"])).succeeds();
    fs::create_dir(folder.join("authorities")).unwrap();
    fs::write(folder.join("authorities/localhost.pem"), created.stdout).unwrap();
}

fn create_grant_key(folder: &Path) {
    let mut openssl = exec::command("openssl", folder);
    let key = folder.join("grants.key");
    exec::run(openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(key)).succeeds();
    fs::write(folder.join("revoked"), "").unwrap();
}

fn configuration(registry: &Registry, provider: &OpenidProvider, files: &Path, backend: &Backend) -> String {
    let (address, health, files) = (&backend.address, backend.health_port, files.display());
    format!(
        r#"
clients = "gateway"
listen-tls = {{ address = "{address}", cert = "{files}/tls.crt", key = "{files}/tls.key", proxy-protocol = ["127.0.0.1"] }}
metrics-listen = "127.0.0.1:{health}"
drain-delay = "1s"
signed-grants = {{ key = "{files}/grants.key", revoked = "{files}/revoked" }}
authorities = "{files}/authorities"

[[trust]]
issuer = "{issuer}"
audience = "regauth"
jwks = "{keys}"
match = {{ repository = "corp/*" }}
registries = ["corp"]

[registries.corp]
index = "{index}"
scopes = ["{scope}"]
scheme = "basic"
username = "{USERNAME}"
source = "file:{files}/token"
ca-file = "{ca}"
"#,
        issuer = provider.issuer(),
        keys = provider.keys_url(),
        index = registry.index(),
        scope = registry.scope(),
        ca = registry.ca().display(),
    )
}

/// Jobs that fetch a page over and over, with a new connection each time.
struct Jobs {
    shared: Arc<JobResults>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct JobResults {
    stop: AtomicBool,
    fetched: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl JobResults {
    fn fetch_until_stopped(&self, curl: &Curl, url: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let transfer = curl.fetch(url);
            if transfer.output.status.success() {
                self.fetched.fetch_add(1, Ordering::Relaxed);
            } else {
                self.failures.lock().unwrap().push(transfer.output.report());
            }
        }
    }
}

impl Jobs {
    fn start(curl: &Curl, url: &str) -> Self {
        let shared = Arc::new(JobResults::default());
        let start = |_| {
            let (shared, curl, url) = (Arc::clone(&shared), curl.clone(), url.to_owned());
            thread::spawn(move || shared.fetch_until_stopped(&curl, &url))
        };
        let threads = (0..2).map(start).collect();
        Self { shared, threads }
    }

    /// Waits for more pages.
    fn go_on(&self) {
        let before = self.shared.fetched.load(Ordering::Relaxed);
        poll::wait_for("more pages", || {
            (self.shared.fetched.load(Ordering::Relaxed) >= before + 10).then_some(())
        });
    }

    fn assert_no_failure(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*self.shared.failures.lock().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_build_goes_through_any_replica_and_a_rolling_restart_fails_no_request() {
    let mut fleet = Fleet::start();
    let proxy = fleet.proxy();
    let roots = fleet.authority.file();
    let cargo = Cargo::new()
        .registry("corp", &fleet.registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .proxy(&proxy)
        .config(&format!("http.proxy-cainfo = \"{}\"", roots.display()))
        .trusts(&fleet.replicas[0].bundle());
    cargo.build().succeeds();
    // Round robin: as many requests as replicas reach each of them, and name the client's address.
    let curl = fleet.curl(&proxy);
    for _ in 0..6 {
        assert_eq!(
            curl.clone()
                .with(&["--interface", "127.0.0.7"])
                .get(&fleet.page())
                .status,
            200
        );
    }
    for replica in &fleet.replicas {
        poll::wait_for("the client's address in the record", || {
            let audit = replica.ctl(&["audit"]).output.stdout;
            (audit.contains("corp/project") && audit.contains("127.0.0.")).then_some(())
        });
        let metrics = replica.ctl(&["metrics"]).succeeds().json["text"].to_string();
        assert!(metrics.contains("regauth_workload_requests"), "{metrics}");
    }
    let clients: String = fleet
        .replicas
        .iter()
        .map(|replica| replica.ctl(&["top"]).output.stdout)
        .collect();
    assert!(clients.contains("127.0.0.7"), "{clients}");

    let jobs = Jobs::start(&curl, &fleet.page());
    jobs.go_on();
    for number in 0..3 {
        fleet.replicas[number].restart();
        wait_for_ready(&fleet.backends);
        jobs.go_on();
    }
    // The certificate is replaced under load, by one that the same root has signed.
    install(&fleet.authority.issue(&["localhost"]), fleet.files.path());
    for replica in &fleet.replicas {
        poll::wait_for("the new certificate", || {
            replica.log().contains("read the proxy's new certificate").then_some(())
        });
    }
    jobs.go_on();
    jobs.assert_no_failure();

    // One is killed. The load balancer connects to another one.
    fleet.replicas[1].kill();
    for _ in 0..6 {
        assert_eq!(curl.get(&fleet.page()).status, 200);
    }
    // All have the same authority. A daemon that is to share it makes none of its own.
    let bundles = fleet.replicas.iter().map(|replica| fs::read(replica.bundle()).unwrap());
    let bundles: Vec<Vec<u8>> = bundles.collect();
    assert!(bundles.iter().all(|bundle| *bundle == bundles[0]));
}

#[test]
fn a_signed_grant_opens_every_replica_until_one_of_them_revokes_it() {
    let fleet = Fleet::start();
    let granted = fleet.replicas[0]
        .ctl(&["grant", "--signed", "--registry", "corp"])
        .succeeds()
        .json;
    let [id, url] = [&granted["grant"]["id"], &granted["proxy"]].map(|value| value.as_str().unwrap());
    assert!(
        url.starts_with("https://regauth:") && url.contains("@localhost:"),
        "{url}"
    );
    let token = url.split(['@', ':']).nth(2).unwrap();
    fleet.replicas.iter().for_each(|replica| replica.register_secret(token));
    let curl = fleet.curl(&format!("https://regauth:{token}@{}", fleet.balancer.address()));
    for _ in 0..6 {
        assert_eq!(curl.get(&fleet.page()).status, 200);
    }
    let denied = curl.clone().with(&["--request", "PUT"]).get(&fleet.registry.upload());
    assert_eq!(denied.header("regauth-error"), Some("grant-denied"));
    let file = fleet.registry.file("slow", 100_000_000);
    let downloads = [(); 3].map(|()| curl.clone().with(&["--limit-rate", "100k"]).start(&file));
    for download in &downloads {
        poll::wait_for("a download", || (download.received() > 0).then_some(()));
    }

    fleet.replicas[1].ctl(&["revoke", id]).succeeds();
    for replica in &fleet.replicas {
        poll::wait_for("the end of a download", || {
            (replica.ctl(&["status"]).succeeds().json["connections"] == 0).then_some(())
        });
    }
    for _ in 0..6 {
        curl.fetch(&fleet.page()).output.fails().says("407");
    }
    // A daemon without the key has nothing to sign with.
    let other = Gateway::start("");
    other
        .daemon
        .ctl(&["grant", "--signed"])
        .exits(8)
        .output
        .says("no key for signed grants");
}

#[test]
fn a_signed_grant_opens_no_later_registry_of_the_same_name() {
    let files = TempDir::new().unwrap();
    create_grant_key(files.path());
    let folder = files.path().display();
    let gateway = Gateway::start(&format!(
        "signed-grants = {{ key = \"{folder}/grants.key\", revoked = \"{folder}/revoked\" }}\n"
    ));
    let registry = Registry::start(TOKEN);
    gateway
        .daemon
        .add_with("corp", &registry, &["--scope", &registry.scope()]);
    let curl = gateway.curl(&gateway.grant(&["--signed", "--registry", "corp"]));
    let page = registry.nginx.url("/api/cargo/index/config.json");
    assert_eq!(curl.get(&page).status, 200);
    gateway.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    gateway
        .daemon
        .add_with("corp", &registry, &["--scope", &registry.nginx.url("/")]);
    assert_eq!(curl.get(&page).header("regauth-error"), Some("grant-denied"));
    let renewed = gateway.curl(&gateway.grant(&["--signed", "--registry", "corp"]));
    assert_eq!(renewed.get(&page).status, 200);
}

#[test]
fn readiness_ends_before_the_listener_and_health_does_not() {
    let health = free_port();
    let mut gateway = Gateway::start(&format!(
        "metrics-listen = \"127.0.0.1:{health}\"\ndrain-delay = \"60s\"\n"
    ));
    let ask = |path: &str| Curl::new().fetch(&format!("http://127.0.0.1:{health}{path}"));
    let status_of = |path: &str| ask(path).response().status;
    assert_eq!(
        ["/healthz", "/readyz", "/metrics", "/"].map(status_of),
        [200, 200, 200, 404]
    );
    // More connections than the endpoint has places, none of which ever completes its request.
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", health)).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(["/healthz", "/readyz", "/metrics"].map(status_of), [200; 3]);
    drop(slow);
    let proxy = gateway.grant(&[]);
    gateway.daemon.signal(Signal::TERM);
    poll::wait_for("readiness to end", || (status_of("/readyz") == 503).then_some(()));
    assert_eq!(status_of("/healthz"), 200);
    // The gateway itself answers, so it still accepts connections: a grant does not lead to such a host.
    let answer = gateway.curl(&proxy).get("http://127.0.0.1:1/");
    assert_eq!(answer.header("regauth-error"), Some("grant-denied"));
    gateway.daemon.signal(Signal::TERM);
    assert!(gateway.daemon.wait().success());
}

#[test]
fn a_changed_configuration_file_takes_effect_and_a_broken_one_does_not() {
    let registry = Registry::start(TOKEN);
    let gateway = Gateway::start("");
    gateway.daemon.add("corp", &registry);
    let file = gateway.daemon.home().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    // Kubernetes replaces a link to a folder; to the daemon that is another file at the same path.
    let replace = |text: &str| {
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &file).unwrap();
    };
    replace(&format!("{text}\n[registries.broken]\n"));
    poll::wait_for("an error", || {
        gateway
            .daemon
            .log()
            .contains("kept the previous configuration")
            .then_some(())
    });
    let names = || {
        let list = gateway.daemon.ctl(&["list"]).succeeds().json["registries"].clone();
        list.as_array().unwrap().len()
    };
    assert_eq!(names(), 1);
    replace(&format!(
        "{text}\n[registries.more]\nscopes = [\"https://more.example/\"]\n"
    ));
    poll::wait_for("the new registry", || (names() == 2).then_some(()));
}

#[test]
fn a_failed_reload_is_shown_and_tried_again() {
    let registry = Registry::start(TOKEN);
    let gateway = Gateway::start("");
    gateway.daemon.add("corp", &registry);
    let file = gateway.daemon.home().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let roots = gateway.daemon.home().join("roots.pem");
    fs::write(&file, format!("ca-file = \"{}\"\n{text}", roots.display())).unwrap();
    let is_shown = || {
        let status = gateway.daemon.ctl(&["status"]).succeeds().json;
        status["problems"].to_string().contains("is not in service")
    };
    poll::wait_for("the error in `status`", || is_shown().then_some(()));
    // Only the missing file changes; config.toml does not.
    fs::copy(registry.ca(), &roots).unwrap();
    poll::wait_for("the next reload", || (!is_shown()).then_some(()));
    assert!(gateway.daemon.log().contains("reloaded configuration"));
}

/// Fills the 64 places of an address with silent connections. The next one takes the place of one of them.
fn nobody_holds_the_places_of_an_address(daemon: &Daemon, gateway: &str) {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x10\0\x20\0";
    let connect = || {
        let mut stream = TcpStream::connect(gateway).unwrap();
        stream.write_all(header).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let has_ended = |stream: &TcpStream| matches!(stream.peek(&mut [0]), Ok(0));
    let silent: Vec<_> = (0..64).map(|_| connect()).collect();
    poll::wait_for("all of them", || {
        let status = daemon.ctl(&["status"]).succeeds().json;
        (status["connections"] == 64).then_some(())
    });
    let next = connect();
    poll::wait_for("a connection that gave its place", || {
        silent.iter().any(has_ended).then_some(())
    });
    assert!(!has_ended(&next), "the next connection is not refused");
}

#[test]
fn a_load_balancer_has_to_name_its_clients() {
    let gateway = Gateway::start("");
    let config = gateway.daemon.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let mut gateway = gateway;
    let named = text.replace("tls.key\" }", "tls.key\", proxy-protocol = [\"127.0.0.0/8\"] }");
    fs::write(&config, named).unwrap();
    gateway.daemon.restart();
    let proxy = gateway.grant(&[]);
    let refused = gateway.curl(&proxy).fetch("http://127.0.0.1:1/");
    refused.output.fails();
    // curl's own header is version 1, which anybody could send by accident.
    let version_one = gateway.curl(&proxy).with(&["--haproxy-protocol"]);
    version_one.fetch("http://127.0.0.1:1/").output.fails();
    let (_, address) = proxy.rsplit_once('@').unwrap();
    nobody_holds_the_places_of_an_address(&gateway.daemon, address);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let read = silent.read(&mut [0]).unwrap();
    assert_eq!(read, 0, "a connection without a header ends soon");
    fs::write(
        &config,
        text.replace("tls.key\" }", "tls.key\", proxy-protocol = [\"10.0.0.0/33\"] }"),
    )
    .unwrap();
    gateway.daemon.ctl(&["reload"]).output.says("a network such as");
}
