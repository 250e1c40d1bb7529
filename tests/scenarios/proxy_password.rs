//! Password of a company's proxy in the store: real Squid with Basic authentication.

use std::fs;

use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::keyring::Keyring;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::squid::Squid;
use regauth_tests::store_items;

const HOST: &str = "page.corp.example";
const USER: &str = "proxy-user";
const PASSWORD: &str = "sentinel:proxy@pass word";
const ITEM: &str = "upstream:proxy";

/// Server whose name only the proxy knows.
struct Company {
    page: MockServer,
    squid: Squid,
}

impl Company {
    fn new() -> Self {
        Self {
            page: MockServer::builder(&Authority::new("Corp Root"), HOST).plain().start(),
            squid: Squid::builder().host(HOST).login(USER, PASSWORD).start(),
        }
    }

    /// URL of the proxy with the user and no password.
    fn url(&self) -> String {
        format!("http://{USER}@{}", self.squid.address())
    }

    fn configured(&self, url: &str) -> Builder {
        let text = format!("store = \"vault\"\n# ours\n[upstream]\nproxy = \"{url}\" # the company's\n");
        Daemon::builder().config(&text).without_store_flag()
    }

    /// Status and body of a request that only the proxy can carry out.
    fn ask(&self, daemon: &Daemon) -> (u16, String) {
        let answer = Curl::new().proxy(&daemon.proxy()).get(&self.page.url("/"));
        (answer.status, answer.body())
    }
}

fn config(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.home().join("config.toml")).unwrap()
}

#[test]
fn a_password_in_the_configuration_moves_to_the_store_at_the_start() {
    let company = Company::new();
    let with_password = company.squid.url_with_login(USER, "sentinel%3Aproxy%40pass%20word");
    let mut daemon = company.configured(&with_password).start();
    daemon.register_secret(PASSWORD);
    daemon.register_secret("sentinel%3Aproxy%40pass%20word");
    assert_eq!(company.ask(&daemon).0, 200);
    let text = config(&daemon);
    assert!(
        text.contains(&format!(
            "# ours\n[upstream]\nproxy = \"{}\" # the company's\n",
            company.url()
        )),
        "{text}"
    );
    assert!(store_items::in_vault(&daemon).contains(&ITEM.to_owned()));
    daemon.restart();
    assert_eq!(company.ask(&daemon).0, 200);
    assert_eq!(daemon.log().matches("moved the corporate proxy's password").count(), 1);
    LeakScan::new(PASSWORD).scan_folder(daemon.home(), &[]).assert_clean();
}

#[test]
fn without_the_store_a_request_says_that_the_password_is_missing() {
    let company = Company::new();
    let mut daemon = company.configured(&company.url()).start();
    daemon.register_secret(PASSWORD);
    let (status, body) = company.ask(&daemon);
    assert!(status == 502 && body.contains("regauthctl upstream"), "{body}");
    let set = ["upstream", &company.url(), "--password-stdin"];
    let set = daemon.ctl_with_input(&set, PASSWORD).succeeds();
    assert!(
        set.output.stdout.contains("from now on") && set.output.stdout.contains("in the vault"),
        "{}",
        set.output.stdout
    );
    assert_eq!(company.ask(&daemon).0, 200, "without a restart");
    let passphrase = "correct horse battery staple";
    let input = format!("{passphrase}\n");
    daemon
        .ctl_with_input(&["unlock", "--set-passphrase", "--passphrase-stdin"], &input)
        .succeeds();
    daemon.restart();
    let (status, body) = company.ask(&daemon);
    assert!(status == 502 && body.contains("regauthctl unlock"), "{body}");
    daemon
        .ctl_with_input(&["unlock", "--passphrase-stdin"], &input)
        .succeeds();
    assert_eq!(company.ask(&daemon).0, 200);
}

#[test]
fn the_password_of_one_proxy_is_not_sent_to_another() {
    let company = Company::new();
    let other = Company::new();
    let mut daemon = company.configured(&company.url()).start();
    daemon
        .ctl_with_input(&["upstream", &company.url(), "--password-stdin"], PASSWORD)
        .succeeds();
    let edited = config(&daemon).replace(&company.squid.address(), &other.squid.address());
    fs::write(daemon.home().join("config.toml"), edited).unwrap();
    daemon.restart();
    let (status, body) = other.ask(&daemon);
    assert!(
        status == 502 && body.contains("rejected the user and the password"),
        "{body}"
    );
}

#[test]
fn the_password_follows_the_secrets_to_another_store() {
    let (company, keyring) = (Company::new(), Keyring::start());
    let daemon = company.configured(&company.url());
    let mut daemon = daemon.env("DBUS_SESSION_BUS_ADDRESS", &keyring.address()).start();
    daemon
        .ctl_with_input(&["upstream", &company.url(), "--password-stdin"], PASSWORD)
        .succeeds();
    daemon.ctl(&["store", "move", "keychain"]).succeeds();
    assert!(store_items::in_keyring(&keyring, &daemon).contains(&ITEM.to_owned()));
    assert!(!store_items::in_vault(&daemon).contains(&ITEM.to_owned()));
    daemon.restart();
    assert_eq!(company.ask(&daemon).0, 200);
    daemon.ctl(&["upstream", "--remove"]).succeeds();
    assert!(!store_items::in_keyring(&keyring, &daemon).contains(&ITEM.to_owned()));
    assert!(!config(&daemon).contains("proxy ="), "{}", config(&daemon));
}

#[test]
fn wrong_urls_are_rejected_and_no_password_is_taken_from_arguments() {
    let daemon = Daemon::start();
    for wrong in ["http://me:pass@proxy.corp:3128", "ftp://proxy.corp", "proxy.corp:3128"] {
        let refused = daemon.ctl(&["upstream", wrong]).exits(2);
        assert!(!refused.output.report().replace(wrong, "").contains("pass@"));
    }
    daemon
        .ctl_with_input(&["upstream", "http://proxy.corp:1", "--password-stdin"], "x")
        .exits(2);
    let none = daemon.ctl(&["upstream"]).succeeds();
    assert_eq!(none.json, serde_json::json!([]));
}
