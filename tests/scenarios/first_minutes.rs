//! The first minutes: questions before a token is typed, `setup` for all clients, `uninstall`, and warnings before the
//! daemon goes.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::faulty_server::{Fault, FaultyServer};
use regauth_tests::privilege::require_root;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::terminal::Terminal;
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-first-minutes";
/// Question about the downloads and the API, which the index names.
const LOCATIONS: &str = "Send the token there as well? (y/N) ";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

fn registry() -> Registry {
    Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start()
}

/// Starts `regauthctl` at a terminal.
fn at_terminal(user: &User, words: &[&str]) -> Terminal {
    Terminal::start(user.command(binary("regauthctl")).args(words))
}

/// Answers each question when it is asked, and returns what was shown.
fn answer(terminal: &mut Terminal, answers: &[(&str, &str)]) -> String {
    let mut shown = String::new();
    for (question, answer) in answers {
        shown += &terminal.read_until(question);
        terminal.type_line(answer);
    }
    shown
}

#[test]
fn the_wizard_leads_from_pasted_lines_and_an_unknown_authority_to_a_build() {
    let (registry, daemon) = (registry(), Daemon::start());
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    let before = user.read("cargo/config.toml").unwrap();
    let url = registry.index().replace("sparse+", "");
    let ca = registry.ca().display().to_string();

    let mut terminal = at_terminal(&user, &["add-registry"]);
    let mut shown = answer(
        &mut terminal,
        &[
            ("such as corp): ", "corp"),
            ("another kind of registry): ", ""),
            ("nothing for cargo): ", ""),
            ("https:// URL: ", "registry = \"sparse+https://localhost:1/index/\""),
            // Nothing listens there, so the URL is asked for again.
            ("https:// URL: ", &format!("registry = \"{url}\"")),
            ("(PEM; nothing to stop): ", &format!(" '{ca}' ")),
            ("User name (the registry asks for one): ", USERNAME),
        ],
    );
    shown += &terminal.read_until(&format!("Token for corp (basic, {USERNAME}): "));
    terminal.type_without_echo(&format!("Authorization: Bearer {TOKEN}"));
    shown += &answer(&mut terminal, &[(LOCATIONS, "y")]);
    let (rest, status) = terminal.finish();
    shown = format!("{shown}{rest}").replace('\r', "");
    assert!(status.success(), "{shown}");
    for said in [
        "refuses connections on this port",
        "read as sparse+https://",
        "no trusted authority signed",
        "words around the token were left out",
        "the registry accepts the token",
    ] {
        assert!(shown.contains(said), "{said}:\n{shown}");
    }
    assert!(!shown.contains(TOKEN), "{shown}");

    // The command that is shown does the same without a question.
    let (_, command) = shown.split_once("The same without questions:\n\n").unwrap();
    let words: Vec<_> = command.lines().next().unwrap().split(' ').skip(1).collect();
    let other = Daemon::start();
    assert!(words.ends_with(&["--yes", "--token-stdin"]), "{command}");
    let piped = format!(" \"Bearer {TOKEN}\" \n");
    let added = other.ctl_with_input(&words, &piped).succeeds().json;
    let shown_there = daemon.ctl(&["show", "corp"]).succeeds().json;
    for field in ["index", "scopes", "scheme", "username", "kind"] {
        assert_eq!(added["registry"][field], shown_there[field], "{field}");
    }

    // From there, two commands lead to a build, and one back.
    let list = user.ctl(&["setup"]).succeeds().stdout;
    assert!(list.contains("next: regauthctl setup cargo\n"), "{list}");
    let planned = user.ctl(&["setup", "cargo", "--dry-run"]).succeeds().stdout;
    assert!(planned.contains("+cainfo = "), "{planned}");
    assert_eq!(user.read("cargo/config.toml").unwrap(), before);
    user.ctl(&["setup", "cargo"]).succeeds();
    cargo.build().succeeds().says("Compiling ship v1.0.0");
    user.ctl(&["setup"]).succeeds().says("set up");
    let undone = user.ctl(&["uninstall"]).succeeds();
    assert!(undone.stdout.contains("undo the setup of cargo"), "{}", undone.report());
    assert!(undone.stdout.contains("stop the daemon"), "{}", undone.report());
    assert_eq!(user.read("cargo/config.toml").unwrap(), before);
    assert_eq!(daemon.ctl(&["status"]).exit, 3);
}

/// A program prints the token, so only the other values are asked for.
#[test]
fn the_wizard_asks_for_no_token_that_a_program_prints() {
    let (registry, daemon) = (registry(), Daemon::start());
    let user = User::new(&daemon);
    let ca = registry.ca().display().to_string();
    user.write("token", TOKEN);
    let token = user.home().join("token").display().to_string();
    let source = ["--source-command", "cat", token.as_str()];

    let mut terminal = at_terminal(&user, &[&["add-registry", "--ca-file", &ca], &source[..]].concat());
    let answers = [
        ("such as corp): ", "corp"),
        ("another kind of registry): ", ""),
        ("nothing for cargo): ", ""),
        ("https:// URL: ", &registry.index()),
        ("User name (the registry asks for one): ", USERNAME),
        (LOCATIONS, "y"),
    ];
    let mut shown = answer(&mut terminal, &answers);
    let (rest, status) = terminal.finish();
    shown = format!("{shown}{rest}").replace('\r', "");
    assert!(status.success() && !shown.contains("Token for"), "{shown}");

    let (_, command) = shown.split_once("The same without questions:\n\n").unwrap();
    let words: Vec<_> = command.lines().next().unwrap().split(' ').skip(1).collect();
    assert!(words.ends_with(&source), "{command}");
    let other = Daemon::start();
    other.ctl(&words).succeeds();
    let [here, there] = [&daemon, &other].map(|daemon| daemon.ctl(&["show", "corp"]).json);
    assert_eq!(there["username"], USERNAME);
    assert_eq!(here["scopes"], there["scopes"]);

    // Flags that nothing can come of are refused before the first question.
    for token_flags in [&["--token-env", "HOME"], &["--token-env", "NOT_SET_ANYWHERE"]] {
        let source = if token_flags[1] == "HOME" { &source[..] } else { &[] };
        let (shown, status) = at_terminal(&user, &[&["add-registry"], &token_flags[..], source].concat()).finish();
        assert!(!shown.contains("such as corp") && !status.success(), "{shown}");
        assert!(shown.contains("--token-env"), "{shown}");
    }
}

#[test]
fn nobody_types_a_token_for_a_registry_that_cannot_be_added() {
    let (registry, daemon) = (registry(), Daemon::start());
    daemon.add("corp", &registry);
    let expired = FaultyServer::start(Fault::Expired);
    let user = User::new(&daemon);
    let expired_index = format!("sparse+{}", expired.url("/index/"));
    let (index, ca) = (registry.index(), registry.ca().display().to_string());
    let no_index = format!("sparse+{}", registry.nginx.url("/elsewhere/"));
    for (name, index, said) in [
        ("corp", index.as_str(), "there is a registry `corp` already"),
        ("other", &index, "the registry `corp` covers"),
        (
            "other",
            "sparse+https://localhost:1/",
            "refuses connections on this port",
        ),
        ("other", "sparse+https://no.such.host.invalid/", "no.such.host.invalid"),
        ("other", "sparse+ftp://corp.example/", "--index: "),
        ("other", &expired_index, "has a certificate that has expired"),
        ("other", &no_index, "did not give a cargo index's config.json"),
    ] {
        let flags = ["add-registry", name, "--index", index, "--ca-file", &ca];
        let (shown, status) = at_terminal(&user, &flags).finish();
        assert!(shown.contains(said), "{index}:\n{shown}");
        assert!(!shown.contains("Token for") && !status.success(), "{index}:\n{shown}");
    }
    assert_eq!(daemon.ctl(&["list"]).json["registries"].as_array().unwrap().len(), 1);
}

#[test]
fn an_https_index_becomes_a_sparse_one_and_the_user_name_is_asked_for() {
    let (registry, daemon) = (registry(), Daemon::start());
    let user = User::new(&daemon);
    let url = registry.index().replace("sparse+", "");
    let ca = registry.ca().display().to_string();
    let index = registry.index();
    let try_to_add = |index: &str, token: &str| {
        let words = [
            "add-registry",
            "corp",
            "--index",
            index,
            "--ca-file",
            &ca,
            "--token-stdin",
        ];
        daemon.ctl_with_input(&words, token)
    };
    let script = |index: &str| try_to_add(index, TOKEN);
    let refused = script(&index).exits(4).json;
    let hint = refused["err"]["hint"].as_str().unwrap();
    assert!(hint.contains("--username USER"), "{refused}");
    // Pasted logins are described, and not repeated.
    let pair = format!("{USERNAME}:{TOKEN}");
    let header = format!("Basic {}", STANDARD.encode(&pair));
    for (pasted, description) in [
        (&pair, "only the part after the colon"),
        (&header, "the value of a `Basic` header"),
    ] {
        let refused = try_to_add(&index, pasted).exits(4).json;
        let hint = refused["err"]["hint"].as_str().unwrap();
        assert!(hint.contains("--scheme basic --username USER"), "{refused}");
        assert!(hint.contains(description), "{refused}");
        assert!(!refused.to_string().contains(pasted), "{refused}");
    }
    let refused = script(&url.replace("https://", "")).exits(2).json;
    let hint = refused["err"]["hint"].as_str().unwrap();
    assert!(hint.contains(&index), "{refused}");
    let quoted = format!("'{url}'");
    let flags = ["add-registry", "corp", "--index", &quoted, "--ca-file", &ca];
    let mut terminal = at_terminal(&user, &flags);
    let answers = [
        ("Is it a sparse index instead? (y/N) ", "y"),
        ("User name (the registry asks for one): ", USERNAME),
    ];
    answer(&mut terminal, &answers);
    terminal.read_until("Token for corp");
    terminal.type_without_echo(&format!("  \"{TOKEN}\"  "));
    let named = answer(&mut terminal, &[(LOCATIONS, "")]);
    let (shown, status) = terminal.finish();
    assert!(status.success(), "{shown}");
    // The command without questions has the index that was meant, and not the one that was given.
    assert!(
        shown.contains(&format!("--index {index} ")) && !shown.contains(&quoted),
        "{shown}"
    );
    let added = daemon.ctl(&["show", "corp"]).json;
    // Without a yes, the token goes to the index alone, and a command adds the rest.
    assert_eq!(added["scopes"], serde_json::json!([url]));
    for location in ["/api/cargo/crates/", "/api/cargo/api/v1/"] {
        let location = registry.nginx.url(location);
        assert!(named.contains(&location), "{named}");
        let command = format!("`regauthctl add-scope corp {location}`");
        assert!(shown.replace("\r\n", " ").contains(&command), "{shown}");
    }
    assert_eq!(added["username"], USERNAME);
    assert_eq!(added["index"], registry.index());

    // The verbs that replace the token describe a pasted login too.
    for verb in ["rotate", "login"] {
        for (pasted, description) in [
            (&pair, "only the part after the colon"),
            (&header, "the value of a `Basic` header"),
        ] {
            let refused = daemon.ctl_with_input(&[verb, "corp", "--token-stdin"], pasted);
            let refused = refused.exits(4).json;
            let hint = refused["err"]["hint"].as_str().unwrap();
            assert!(hint.contains(description), "{verb}: {refused}");
            assert!(!refused.to_string().contains(pasted), "{refused}");
        }
    }
}

/// The registry answers 404 where it has nothing, so nobody has to be asked.
#[test]
fn a_sparse_index_without_sparse_in_front_is_recognised() {
    let (registry, daemon) = (Registry::builder(Scheme::Open, "").start(), Daemon::start());
    let user = User::new(&daemon);
    let url = registry.index().replace("sparse+", "");
    let ca = registry.ca().display().to_string();
    let script = [
        "add-registry",
        "corp",
        "--index",
        &url,
        "--ca-file",
        &ca,
        "--token-stdin",
    ];
    let refused = daemon.ctl_with_input(&script, TOKEN).exits(1).json;
    let hint = refused["err"]["hint"].as_str().unwrap();
    assert!(hint.contains("put sparse+ in front"), "{refused}");

    let mut terminal = at_terminal(&user, &["add-registry", "corp", "--index", &url, "--ca-file", &ca]);
    let shown = terminal.read_until("Token for corp (bearer): ");
    assert!(
        shown.contains(&format!("a sparse index: {}", registry.index())),
        "{shown}"
    );
    terminal.type_without_echo(TOKEN);
    answer(&mut terminal, &[(LOCATIONS, "y")]);
    assert!(terminal.finish().1.success());
    let added = daemon.ctl(&["show", "corp"]).json;
    assert_eq!(added["index"], registry.index());
    assert_eq!(added["scopes"].as_array().unwrap().len(), 3, "{added}");
}

#[test]
fn setup_all_sets_up_every_client_found_and_undoes_each_byte_for_byte() {
    let (registry, daemon) = (registry(), Daemon::start());
    daemon.add("corp", &registry);
    let user = User::new(&daemon).env("SHELL", "/bin/bash");
    let files = [
        ("cargo/config.toml", "# mine\r\n[http]\r\ntimeout = 9\r\n"),
        (".npmrc", "fund=false"),
        (".bashrc", "alias ll='ls -l'\n"),
        (".config/pip/pip.conf", "[global]\ntimeout = 7\n\n\n"),
    ];
    for (file, text) in files {
        user.write(file, text);
    }
    let list = user.ctl(&["setup", "--json"]).succeeds();
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let found = |state: &str| -> Vec<String> {
        let clients = list["clients"].as_array().unwrap().iter();
        let found = clients.filter(|client| client["found"] == true && client["state"] == state);
        found
            .map(|client| client["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let names = found("not-set-up");
    assert!(
        ["cargo", "git", "npm", "pip", "shell"]
            .iter()
            .all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );

    let planned = user.ctl(&["setup", "--all", "--dry-run"]).succeeds();
    assert!(planned.stdout.contains("+cainfo"), "{}", planned.report());
    for (file, text) in files {
        assert_eq!(user.read(file).unwrap(), text);
    }
    user.ctl(&["setup", "--all"]).succeeds().says("cargo is set up");
    for (file, text) in files {
        assert_ne!(user.read(file).unwrap(), text, "{file}");
    }
    let again = user.ctl(&["setup", "--all"]).succeeds();
    assert!(!again.stdout.contains("is set up:"), "{}", again.report());
    let project = TempDir::new().unwrap();
    let mut in_project = user.command(binary("regauthctl"));
    exec::run(
        in_project
            .args(["setup", "cargo", "--project"])
            .current_dir(project.path()),
    )
    .succeeds();

    user.ctl(&["setup", "--all", "--undo"])
        .succeeds()
        .says("cargo is as it was before");
    for (file, text) in files {
        assert_eq!(user.read(file).unwrap(), text);
    }
    assert!(!project.path().join(".cargo").exists());
    user.ctl(&["setup", "--all", "--undo"])
        .succeeds()
        .says("No client is set up");
}

#[test]
fn a_stop_says_which_clients_are_left_without_https() {
    let (registry, daemon) = (registry(), Daemon::start());
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    user.write("cargo/config.toml", "");
    user.ctl(&["setup", "cargo"]).succeeds();
    let stopped = user.ctl(&["stop", "--wait"]).succeeds();
    assert!(
        stopped
            .stdout
            .contains("until it runs again: cargo; `regauthctl setup --all --undo`"),
        "{}",
        stopped.report()
    );
    user.ctl(&["setup", "--all", "--undo"]).succeeds();
    assert_eq!(user.read("cargo/config.toml").unwrap(), "");
}

#[test]
fn an_uninstall_with_purge_leaves_no_token_and_no_file() {
    let (registry, daemon) = (registry(), Daemon::builder().store("vault").start());
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    let planned = user.ctl(&["uninstall", "--purge", "--dry-run"]).succeeds();
    assert!(
        planned.stdout.contains("would remove the registry corp"),
        "{}",
        planned.report()
    );
    user.ctl(&["uninstall", "--purge"]).fails().says("add --yes");
    daemon.ctl(&["show", "corp"]).succeeds();
    user.ctl(&["uninstall", "--purge", "--yes"]).succeeds();
    assert!(!daemon.home().exists());
    // The harness searches it for tokens.
    fs::create_dir(daemon.home()).unwrap();
}

/// The scripts run with this machine's `/home` and `/root` covered by a folder of the test.
#[test]
fn removing_a_package_names_the_setups_that_stay() {
    if !require_root("a mount namespace") {
        return;
    }
    let homes = TempDir::new().unwrap();
    let records = homes.path().join("ada/.local/state/regauth/setup");
    fs::create_dir_all(&records).unwrap();
    fs::write(records.join("cargo.json"), "{}").unwrap();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let rpm = fs::read_to_string(packaging.join("rpm/package.toml")).unwrap();
    let (_, rpm) = rpm.split_once("pre_uninstall_script = \"\"\"\n").unwrap();
    // A backslash at the end of a line joins lines in TOML.
    let rpm = rpm.split("\"\"\"").next().unwrap().replace("\\\n", "");
    let deb = fs::read_to_string(packaging.join("debian/prerm")).unwrap();
    for (script, argument) in [(deb, "remove"), (rpm, "0")] {
        // Neither script may reach this machine's systemd.
        let line = "mount --bind \"$1\" /home; mount -t tmpfs none /run; PATH=/usr/bin:/bin; systemctl() { :; }\n";
        let script = format!("homes=$1; set -- \"$homes\"; {line} set -- {argument}\n{script}");
        let mut unshare = exec::command("unshare", homes.path());
        unshare.args(["--mount", "sh", "-c", &script, "sh"]).arg(homes.path());
        let output = exec::run(&mut unshare).succeeds();
        assert!(
            output.stderr.contains("ada's cargo still uses regauthd"),
            "{}",
            output.report()
        );
    }
}
