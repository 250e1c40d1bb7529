//! Settings of the proxy and of the company's roots, in variables and in config.toml.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::mock_server::MockServer;
use regauth_tests::user::User;
use tempfile::TempDir;

use super::{Company, OTHER_HOST, TOKEN, configured, with_all_variables};

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
