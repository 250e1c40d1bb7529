//! Logins of a person with a code.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regauth_shared::exit_code;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::forge::Forge;
use regauth_tests::openid_provider::PERSON;
use regauth_tests::programs::binary;
use regauth_tests::terminal::Terminal;
use regauth_tests::{exec, poll, store_items};

/// Source of a login with a code, and a daemon that keeps its secrets in a vault.
fn device(forge: &Forge) -> (Daemon, String) {
    let (provider, daemon) = (&forge.provider, Daemon::builder().store("vault").start());
    let source = format!(
        "oauth:token-url={},device-url={},client-id={PERSON},scope=openid offline_access,identity=device",
        provider.token_url(),
        provider.device_url()
    );
    (daemon, source)
}

/// `regauthctl login corp` on a terminal of a desktop, whose browser writes the address of its page into `opened`.
fn on_a_desktop(daemon: &Daemon, opened: &Path) -> Terminal {
    let programs = opened.parent().unwrap().join("bin");
    let browser = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" > {}\n", opened.display());
    exec::write_program(&programs.join("xdg-open"), browser);
    let mut login = exec::command(binary("regauthctl"), daemon.home());
    login
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("DISPLAY", ":7")
        .arg("--home")
        .arg(daemon.home())
        .args(["login", "corp"]);
    Terminal::start(&login)
}

#[test]
fn a_person_logs_in_with_a_code_and_the_refresh_token_is_rotated_and_stored() {
    let forge = Forge::bearer();
    let (mut daemon, source) = device(&forge);
    forge.provider.set_lifetime(Duration::from_secs(4));
    let added = forge.add(&daemon, &source, &[]).succeeds().json;
    assert!(added["notes"].to_string().contains("regauthctl login corp"), "{added}");
    let file = forge.registry.file("f", 100);
    let refused = Curl::new().behind(&daemon).get(&file);
    assert_eq!(refused.header("regauth-error"), Some("credential-unavailable"));

    let opened = forge.folder.path().join("opened");
    let mut login = on_a_desktop(&daemon, &opened);
    login.read_until("enter the code ");
    let code = login.read_until("\n").trim().to_owned();
    let page = poll::wait_for("a browser with the page", || {
        let page = fs::read_to_string(&opened).ok()?;
        page.strip_suffix('\n').map(str::to_owned)
    });
    assert!(
        page.starts_with(forge.provider.issuer()) && page.contains(&code),
        "{page}"
    );
    forge.provider.confirm(&code);
    let (printed, status) = login.finish();
    assert!(
        status.success() && printed.contains("Logged in to corp; the registry accepts the token."),
        "{printed}"
    );

    // Each renewal uses the refresh token once: the provider ends a login whose token is used twice.
    let generation = || daemon.ctl(&["show", "corp"]).json["credential"]["generation"].as_u64();
    let first = generation();
    poll::wait_for("two renewals", || {
        (generation() >= first.map(|first| first + 2)).then_some(())
    });
    assert_eq!(Curl::new().behind(&daemon).get(&file).status, 200);
    daemon.restart();
    poll::wait_for("a token after the restart", || {
        (Curl::new().behind(&daemon).get(&file).status == 200).then_some(())
    });
    assert_eq!(forge.rejections(), 0);
    daemon.ctl(&["rotate", "corp"]).succeeds();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(
        !store_items::in_vault(&daemon).iter().any(|item| item == "corp"),
        "the refresh token is deleted"
    );
}

#[test]
fn a_login_that_cannot_be_confirmed_says_why() {
    let forge = Forge::bearer();
    let (daemon, source) = device(&forge);
    forge.add(&daemon, &source, &[]).succeeds();
    let ci = ["--source", "jfrog:host=localhost:1,provider=corp", "--no-verify"];
    let location = ["add-registry", "ci", "--scope", "https://ci.example/"];
    daemon.ctl(&[&location[..], &ci].concat()).succeeds();
    let refused = daemon.ctl(&["login", "ci"]).exits(i32::from(exit_code::REFUSED)).json;
    assert!(
        refused["err"]["message"]
            .as_str()
            .unwrap()
            .contains("no login with a code"),
        "{refused}"
    );
    forge.provider.take_down();
    let refused = daemon.ctl(&["login", "corp"]).exits(i32::from(exit_code::FAILED)).json;
    assert!(
        refused["err"]["message"].as_str().unwrap().contains("answered 503"),
        "{refused}"
    );
}
