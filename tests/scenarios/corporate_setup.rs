//! A company's proxy and roots in clients' settings: `setup`, `env` and `doctor` say what regauth's settings replace, and
//! `setup --carry-over` gives both to regauthd.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::mock_server::MockServer;
use regauth_tests::socks_proxy::SocksProxy;
use regauth_tests::squid::Squid;
use regauth_tests::user::User;

const HOST: &str = "registry.corp.example";

/// File of each client, with a proxy and a CA file of the company.
fn client_files(proxy: &str, roots: &str) -> [(&'static str, &'static str, String); 3] {
    [
        (
            "pip",
            ".config/pip/pip.conf",
            format!("[global]\n# the way out\nproxy = {proxy}\ncert = {roots}\n"),
        ),
        ("npm", ".npmrc", format!("https-proxy={proxy}\ncafile=\"{roots}\"\n")),
        (
            "cargo",
            "cargo/config.toml",
            format!("[http]\nproxy = \"{proxy}\"\ncainfo = \"{roots}\"\n"),
        ),
    ]
}

/// First line of a PEM file's certificate.
fn first_line(authority: &Authority) -> String {
    let text = fs::read_to_string(authority.file()).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

#[test]
fn setup_names_the_company_proxy_and_roots_that_it_replaces_and_carries_both_over() {
    let (company, origins) = (Authority::new("Company Root"), Authority::new("Corp Root"));
    let squid = Squid::builder().host(HOST).intercepts_tls(&company, &origins).start();
    let server = MockServer::builder(&origins, HOST).start();
    let (proxy, roots) = (squid.url(), company.file().display().to_string());
    for (client, file, text) in client_files(&proxy, &roots) {
        let mut daemon = Daemon::builder().config("# mine\nlisten = \"127.0.0.1:0\"\n").start();
        let user = User::new(&daemon);
        user.write(file, &text);
        let replaced = user.ctl(&["setup", client]).succeeds();
        let command = format!("`regauthctl setup {client} --carry-over`");
        replaced
            .says(&format!("sets the proxy {}", squid.url()))
            .says(&format!("sets the CA file {roots}"))
            .says(&command);
        assert_eq!(
            daemon.ctl(&["status"]).succeeds().json["ca-file"],
            serde_json::Value::Null
        );
        user.ctl(&["doctor"])
            .fails()
            .says(&format!("regauthctl setup {client} --carry-over"));

        let carried = user.ctl(&["setup", client, "--carry-over"]).succeeds();
        carried.says("from its next start").says("the bundle has the roots");
        assert!(
            fs::read_to_string(daemon.bundle())
                .unwrap()
                .contains(&first_line(&company))
        );
        let pending = user.ctl(&["doctor"]).fails();
        let pending = pending.says("restart regauthd: regauthctl stop --wait");
        assert!(!pending.report().contains("--carry-over"), "{}", pending.report());
        daemon.restart();
        let status = daemon.ctl(&["status"]).succeeds().json;
        assert_eq!(status["upstream-proxies"][0]["url"], squid.url(), "{client}");
        assert_eq!(status["ca-file"], roots);
        // The proxy works, and a client that trusts the bundle trusts the company's certificates.
        assert_eq!(Curl::new().behind(&daemon).get(&server.url("/")).status, 200);
        let again = user.ctl(&["setup", client]).succeeds();
        assert!(!again.report().contains("sets the"), "{}", again.report());
        let doctor = user.ctl(&["doctor"]);
        assert!(!doctor.report().contains("--carry-over"), "{}", doctor.report());
        user.ctl(&["setup", client, "--undo"]).succeeds();
        assert_eq!(user.read(file).unwrap(), text);
    }
}

#[test]
fn setup_finds_the_settings_that_git_and_the_environment_have_for_all_hosts() {
    let company = Authority::new("Company Root");
    let roots = company.file().display().to_string();
    let mut daemon = Daemon::start();
    let socks = SocksProxy::start(&[HOST]);
    let user = User::new(&daemon)
        .env("ALL_PROXY", &socks.url("socks5h", ""))
        .env("NO_PROXY", "intranet.corp.example, .lab.example:8080,10.0.0.0/8");
    user.write(".gitconfig", &format!("[http]\n\tsslCAInfo = {roots}\n"));
    let told = user.ctl(&["setup", "git"]).succeeds();
    told.says("ALL_PROXY sets the proxy socks5h://")
        .says("git's http.sslCAInfo sets the CA file");
    user.ctl(&["setup", "git", "--carry-over"]).succeeds();
    daemon.restart();
    let status = daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["upstream-proxies"][0]["url"], socks.url("socks5h", ""));
    assert_eq!(status["ca-file"], roots);
    let written = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    assert!(
        written.contains(r#"no-proxy = ["intranet.corp.example", "10.0.0.0/8"]"#),
        "{written}"
    );
}

#[test]
fn carrying_over_never_overrides_a_decision() {
    let (first, second) = (Authority::new("First Root"), Authority::new("Second Root"));
    let settings = format!(
        "ca-file = \"{}\"\n\n[upstream]\nproxy = \"http://mine.corp.example:3128\"\n",
        first.file().display()
    );
    let daemon = Daemon::builder().config(&settings).start();
    let user = User::new(&daemon);
    let [(client, file, text), ..] = client_files("http://other.corp.example:1", second.file().to_str().unwrap());
    user.write(file, &text);
    user.ctl(&["setup", client, "--carry-over"])
        .succeeds()
        .says("has the proxy http://mine.corp.example:3128 already")
        .says("append the certificates of");
    let doctor = user
        .ctl(&["doctor"])
        .says("regauthctl upstream http://other.corp.example:1");
    assert!(!doctor.report().contains("--carry-over"), "{}", doctor.report());
    let after = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    assert!(
        after.contains("mine.corp.example") && !after.contains("other.corp.example"),
        "{after}"
    );
}

#[test]
fn env_says_which_roots_and_proxies_of_yours_it_replaces() {
    let company = Authority::new("Company Root");
    let roots = company.file().display().to_string();
    let daemon = Daemon::start();
    for variable in [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
    ] {
        let user = User::new(&daemon)
            .env(variable, &roots)
            .env("HTTPS_PROXY", "http://me:sentinel@proxy.corp.example:3128");
        let output = user.ctl(&["env", "--shell", "bash"]).succeeds();
        assert!(
            output.stderr.contains(&format!("{variable} sets the CA file {roots}")),
            "{}",
            output.stderr
        );
        assert!(
            output.stderr.contains(&format!("`ca-file = \"{roots}\"`")),
            "{}",
            output.stderr
        );
        assert!(
            output
                .stderr
                .contains("HTTPS_PROXY sets the proxy http://proxy.corp.example:3128")
        );
        assert!(!output.report().contains("sentinel"), "{}", output.report());
        assert!(!output.stdout.contains("sets the"), "{}", output.stdout);
        user.ctl(&["doctor"]).says(&format!("{variable} sets the CA file"));
    }
    // The remedy works.
    let file = daemon.home().join("config.toml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("ca-file = \"{roots}\"\n{before}")).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    let output = User::new(&daemon)
        .env("SSL_CERT_FILE", &roots)
        .ctl(&["env", "--shell", "bash"]);
    assert!(!output.succeeds().stderr.contains("sets the"));
}

#[test]
fn doctor_leaves_names_to_the_proxy_that_resolves_them() {
    let (squid, origins) = (Squid::builder().host(HOST).start(), Authority::new("Corp Root"));
    let server = MockServer::builder(&origins, HOST).answer(404, &[], "").start();
    let daemon = Daemon::builder()
        .config(&format!("[upstream]\nproxy = \"{}\"\n", squid.url()))
        .start();
    let location = ["--kind", "generic", "--no-verify", "--scope", &server.url("/")];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &origins.file(), "sentinel-token")
        .succeeds();
    let doctor = User::new(&daemon).ctl(&["doctor"]);
    let report = doctor.report();
    assert!(report.contains("404") && !report.contains("has no address"), "{report}");
}
