//! `regauthctl setup` and the files that it edits: no secret leaves them, no index gets a second name, no line ending
//! changes.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-daemon";
const SECRET: &str = "the-users-own-s3cret";
const CONFIG: &str = "cargo/config.toml";

fn registry_with_auth_required() -> Registry {
    Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start()
}

/// Adds an npm registry without asking it.
fn add_npm(daemon: &Daemon) {
    let arguments = "add-registry npm --kind npm --scope https://npm.corp.example/ --token-stdin --no-verify";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    assert_eq!(daemon.ctl_with_input(&arguments, TOKEN).exit, 0);
}

fn assert_prints_no_secret(output: &Output) {
    let mut scan = LeakScan::new(SECRET);
    scan.scan("stdout", &output.stdout);
    scan.scan("stderr", &output.stderr).assert_clean();
}

fn assert_no_secret_in_the_state(daemon: &Daemon) {
    LeakScan::new(SECRET)
        .scan_folder(&daemon.home().join("state"), &[])
        .assert_clean();
}

#[test]
fn a_token_in_npmrc_stays_there_and_nowhere_else() {
    let daemon = Daemon::start();
    add_npm(&daemon);
    let user = User::new(&daemon);
    for mine in [
        format!("//npm.corp.example/:_authToken={SECRET}\n"),
        // Without a newline at the end, the line of the token changes.
        format!("; mine\n//npm.corp.example/:_authToken={SECRET}"),
        format!("https-proxy=http://old.corp:3128\n//other.example/:_password=\"{SECRET}\""),
        format!("//npm.corp.example/:_authToken=${{NPM_TOKEN}}\r\n//other.example/:_auth={SECRET}\r\n"),
    ] {
        user.write(".npmrc", &mine);
        for arguments in [
            &["setup", "npm", "--dry-run"][..],
            &["setup", "npm", "--dry-run", "--json"],
        ] {
            let shown = user.ctl(arguments).succeeds();
            assert_prints_no_secret(&shown);
            assert!(shown.stdout.contains("cafile="), "{}", shown.report());
        }
        let set_up = user.ctl(&["setup", "npm", "--json"]).succeeds();
        assert_prints_no_secret(&set_up);
        assert_eq!(
            set_up.stdout.contains("regauthctl import"),
            mine.contains("corp.example/:_authToken=the")
        );
        assert_no_secret_in_the_state(&daemon);
        let text = user.read(".npmrc").unwrap();
        assert!(text.contains(SECRET) && text.contains("cafile="), "{text}");
        user.ctl(&["setup", "npm"]).succeeds().says("Nothing to change");
        user.ctl(&["setup", "npm", "--undo"]).succeeds();
        assert_eq!(user.read(".npmrc").unwrap(), mine);
        assert_no_secret_in_the_state(&daemon);
    }
}

#[test]
fn setup_replaces_no_password_of_a_proxy() {
    let daemon = Daemon::start();
    let proxy = format!("http://me:{SECRET}@corp.example:3128");
    for (client, file, text) in [
        ("npm", ".npmrc", format!("https-proxy={proxy}\n")),
        ("pip", ".config/pip/pip.conf", format!("[global]\nproxy = {proxy}\n")),
        ("cargo", CONFIG, format!("[http]\nproxy = \"{proxy}\" # why\n")),
    ] {
        let user = User::new(&daemon);
        user.write(file, &text);
        for arguments in [&["setup", client, "--dry-run"][..], &["setup", client]] {
            let refused = user.ctl(arguments).fails();
            assert_prints_no_secret(&refused);
            refused.says("take the line out").says(file);
        }
        assert_eq!(user.read(file).unwrap(), text);
        assert!(!daemon.home().join(format!("state/setup/{client}.json")).exists());
        user.write(file, &text.replace(&format!("me:{SECRET}@"), ""));
        user.ctl(&["setup", client]).succeeds();
        user.ctl(&["setup", client, "--undo"]).succeeds();
    }
}

#[test]
fn no_line_around_a_change_is_shown_or_recorded() {
    let daemon = Daemon::start();
    let user = User::new(&daemon).env("SHELL", "/bin/bash");
    let mine = format!("curl -u me:{SECRET} https://x.example # no form that a search knows");
    user.write(".bashrc", &mine);
    assert_prints_no_secret(&user.ctl(&["setup", "shell", "--dry-run"]).succeeds());
    assert_prints_no_secret(&user.ctl(&["setup", "shell", "--json"]).succeeds());
    assert_no_secret_in_the_state(&daemon);
    user.ctl(&["setup", "shell", "--undo"]).succeeds();
    assert_eq!(user.read(".bashrc").unwrap(), mine);
}

#[test]
fn a_record_of_an_earlier_release_still_undoes_exactly() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write(".npmrc", "fund=false\n");
    user.ctl(&["setup", "npm"]).succeeds();
    let file = daemon.home().join("state/setup/npm.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // Hunks of whole lines, as version 1 has them.
    record["version"] = 1.into();
    let lines = user.read(".npmrc").unwrap().lines().count();
    let hunk = serde_json::json!([{ "at": 0, "remove": lines, "insert": ["fund=false\n"] }]);
    record["files"][0]["back"] = hunk;
    fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();
    user.ctl(&["setup", "npm", "--undo"]).succeeds();
    assert_eq!(user.read(".npmrc").unwrap(), "fund=false\n");
}

#[test]
fn setup_takes_a_token_out_of_a_record_of_an_earlier_release() {
    let daemon = Daemon::start();
    add_npm(&daemon);
    let user = User::new(&daemon);
    user.write(".npmrc", "fund=false\n");
    user.ctl(&["setup", "npm"]).succeeds();
    // Version 1 replaced a token by the placeholder, and kept it in the hunks and in the setting.
    let file = daemon.home().join("state/setup/npm.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["version"] = 1.into();
    let before = format!("//npm.corp.example/:_authToken={SECRET}\n");
    let lines = user.read(".npmrc").unwrap().lines().count();
    record["files"][0]["back"] = serde_json::json!([{ "at": 0, "remove": lines, "insert": ["fund=false\n", before] }]);
    let done = record["files"][0]["done"].as_array_mut().unwrap();
    let token = done
        .iter_mut()
        .find(|setting| setting["key"][0].as_str().unwrap().contains("_authToken"));
    token.unwrap()["before"] = before.clone().into();
    fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();

    let again = user.ctl(&["setup", "npm"]).succeeds();
    assert_prints_no_secret(&again);
    again.says("`regauthctl import` moves it into regauth");
    assert_no_secret_in_the_state(&daemon);
    assert!(user.read(".npmrc").unwrap().contains(&before));
    user.ctl(&["setup", "npm", "--undo"]).succeeds();
    assert_eq!(user.read(".npmrc").unwrap(), format!("fund=false\n{before}"));
}

#[test]
fn an_index_that_cargo_knows_by_another_name_gets_no_second_one() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    for name in ["Internal", "my-corp"] {
        let cargo = Cargo::new().depends_on(&format!("ship = {{ version = \"1\", registry = \"{name}\" }}"));
        let user = User::at(&daemon, cargo.home());
        let mine = format!("[registries]\n{name} = {{ index = \"{}\" }}\n", registry.index());
        user.write(CONFIG, &mine);
        user.ctl(&["setup", "cargo"])
            .succeeds()
            .says(&format!("calls the index of corp `{name}` already"));
        let set_up = user.read(CONFIG).unwrap();
        assert!(!set_up.contains("[registries.corp]"), "{set_up}");
        cargo.build().succeeds();
        cargo.fetch().succeeds();
        user.ctl(&["setup", "cargo"]).succeeds().says("Nothing to change");
        user.ctl(&["setup", "cargo", "--undo"]).succeeds();
        assert_eq!(user.read(CONFIG).unwrap(), mine);
    }
}

#[test]
fn a_name_in_a_projects_configuration_counts_as_well_and_is_remembered() {
    let (registry, other, daemon) = (
        registry_with_auth_required(),
        registry_with_auth_required(),
        Daemon::start(),
    );
    daemon.add("corp", &registry);
    let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "internal" }"#);
    let user = User::at(&daemon, cargo.home());
    let index = format!("[registries.internal]\nindex = \"{}\"\n", registry.index());
    user.write("project/.cargo/config.toml", &index);
    let mut ctl = user.command(binary("regauthctl"));
    let set_up = exec::run(ctl.args(["setup", "cargo"]).current_dir(cargo.project())).succeeds();
    set_up.says("calls the index of corp `internal` already");
    cargo.build().succeeds();
    // This updates the setup, from another folder.
    daemon.add("other", &other);
    let text = user.read(CONFIG).unwrap();
    assert!(
        text.contains("[registries.other]") && !text.contains("[registries.corp]"),
        "{text}"
    );
    cargo.clear_downloads();
    cargo.build().succeeds();
}

#[test]
fn a_file_with_crlf_keeps_it() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    daemon.ctl_with_input(
        &[
            "add-registry",
            "host",
            "--kind",
            "git",
            "--scope",
            "https://git.corp.example/",
            "--token-stdin",
            "--no-verify",
        ],
        TOKEN,
    );
    for (client, file, mine) in [
        (
            "cargo",
            CONFIG,
            "# mine\r\n[build]\r\njobs = 2 # two\r\n\r\n[http]\r\nproxy = \"http://old:1\"\r\n",
        ),
        (
            "git",
            ".gitconfig",
            "[user]\r\n\tname = me\r\n[http \"https://git.corp.example/\"]\r\n\tproxy = http://old:1\r\n",
        ),
        ("pip", ".config/pip/pip.conf", "[global]\r\ntimeout = 5\r\n"),
        ("npm", ".npmrc", "fund=false\r\n"),
    ] {
        let user = User::new(&daemon);
        user.write(file, mine);
        user.ctl(&["setup", client]).succeeds();
        let set_up = user.read(file).unwrap();
        assert!(set_up.len() > mine.len(), "{set_up}");
        assert_eq!(
            set_up.matches('\n').count(),
            set_up.matches("\r\n").count(),
            "{client}: {set_up:?}"
        );
        // The edited file is reverted setting by setting.
        user.write(file, &format!("{set_up}# edited\r\n"));
        user.ctl(&["setup", client, "--undo"]).succeeds();
        let undone = user.read(file).unwrap();
        assert_eq!(
            undone.matches('\n').count(),
            undone.matches("\r\n").count(),
            "{client}: {undone:?}"
        );
        user.write(file, mine);
        user.ctl(&["setup", client]).succeeds();
        user.ctl(&["setup", client, "--undo"]).succeeds();
        assert_eq!(user.read(file).unwrap(), mine);
    }
}
