//! What people and disks do wrong: every mistake has its exit code and a sentence that says what to do; nothing is lost,
//! nothing is half stored, and no token is in any output.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use regauth_shared::exit_code::{EXISTS, FAILED, NOT_FOUND, REFUSED, STORE, TOKEN_REJECTED, UNREACHABLE, USAGE};
use regauth_tests::certificates::Authority;
use regauth_tests::client;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::honeypot::Honeypot;
use regauth_tests::leaks::Hunt;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

/// On stdin wherever a token is wanted, and in places where it does not belong.
const TOKEN: &str = "sentinel-in-the-wrong-place";

#[test]
fn a_wrong_name_url_or_scheme_is_a_usage_error_that_says_what_would_be_right() {
    let stage = Stage::start();
    for (scope, says) in [
        ("ssh://git@corp.example/x/", "https"),
        ("git@corp.example:x", "https://host/path/"),
        ("http://corp.example/x/", "only https"),
        (
            "https://me:sentinel-in-the-wrong-place@corp.example/x/",
            "user name or password",
        ),
        (
            "https://sentinel-in-the-wrong-place@corp.example/x/",
            "user name or password",
        ),
        ("https://corp.example/x/?token=sentinel-in-the-wrong-place", "query"),
        ("https://corp.example/x/#part", "fragment"),
        ("https://corp.example/x/../y/", "more than one way"),
        ("https://corp.example/%2e%2e/", "more than one way"),
        ("https://corp.example//x/", "more than one way"),
        ("https://corp.example:0/", "https://host/path/"),
        ("https://corp.example:99999/", "https://host/path/"),
        ("https://*.corp.example/", "https://host/path/"),
        ("https://", "https://host/path/"),
        ("ftp://corp.example/", "https://host/path/"),
        ("corp.example/x", "https://host/path/"),
        (TOKEN, "https://host/path/"),
        ("", "https://host/path/"),
    ] {
        stage.refuses(&["add-registry", "new", "--token-stdin", "--scope", scope], USAGE, says);
        stage.refuses(
            &["add-registry", "new", "--token-stdin", "--index", scope],
            USAGE,
            "--index: ",
        );
        let sparse = format!("sparse+{scope}");
        stage.refuses(
            &["add-registry", "new", "--token-stdin", "--index", &sparse],
            USAGE,
            "--index: ",
        );
    }
    for name in ["Corp", "a.b", "a b", "../x", "-x", "_x", "", "ä", &"x".repeat(65)] {
        let add = [
            "add-registry",
            "--token-stdin",
            "--scope",
            "https://a.example/",
            "--",
            name,
        ];
        stage.refuses(&add, USAGE, "a registry name is");
    }
}

#[test]
fn a_wrong_flag_or_value_is_a_usage_error() {
    let stage = Stage::start();
    for (flags, says) in [
        (&["--scheme", "digest"][..], "basic, bearer, raw"),
        (&["--scheme", "basic"], "needs a user name"),
        (&["--scheme", "bearer", "--username", "me"], "only the basic scheme"),
        (&["--scheme", "basic", "--username", "a:b"], "colon"),
        (&["--scheme", "Host: {token}"], "cannot carry a credential"),
        (&["--scheme", "X-Key: token"], "no {token}"),
        (&["--kind", "maven"], "possible values"),
        (&["--writes", "perhaps"], "possible values"),
        (&["--ca-file", "/nowhere.pem"], "cannot read /nowhere.pem"),
        (&["--ca-file", "/"], "is a folder"),
        (&["--token", TOKEN], "--token-stdin"),
        (&["--token=sentinel-in-the-wrong-place"], "--token-stdin"),
        (&["--token-env", TOKEN], "not set"),
        (&["--no-verfy"], "--no-verify"),
        (&[TOKEN], "unexpected argument"),
    ] {
        let mut add = vec!["add-registry", "new", "--scope", "https://a.example/"];
        if !flags.contains(&"--token-env") {
            add.push("--token-stdin");
        }
        stage.refuses(&[&add, flags].concat(), USAGE, says);
    }
    for (arguments, says) in [
        (&["add-registry", "new", "--token-stdin"][..], "--index"),
        (&["add-registry"], "NAME"),
        (&["rotate", "corp"], "--token-stdin"),
        (&["rotate", "corp", TOKEN], "unexpected argument"),
        (
            &["rotate", "corp", "--token-stdin", "--token-env", "HOME"],
            "cannot be used with",
        ),
        (&["show"], "NAME"),
        (&["allow", "corp", "--for", "soon"], "a number with a unit"),
        (&["allow", "corp", "--for", "0s"], "a number with a unit"),
        (&["allow", "corp", "--for", "48h"], "24 hours"),
        (&["lst"], "list"),
        (&["list", "--colour"], "unexpected argument"),
        (&["unlock", "--set-passphrase"], "--passphrase-stdin"),
        (&["--home"], "a value is required"),
        (&[], "subcommand"),
    ] {
        stage.refuses(arguments, USAGE, says);
    }
}

#[test]
fn a_token_that_is_none_is_a_usage_error_and_the_old_one_stays() {
    let stage = Stage::start();
    let long = "x".repeat(20_000);
    for (token, says) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("sentinel-in-the-wrong-place\nanother", "several lines"),
        ("sentinel-in-the-wrong-place\n\n", "several lines"),
        (" sentinel-in-the-wrong-place", "blanks"),
        ("sentinel-in-the-wrong-place\u{e9}", "printable ASCII"),
        ("sentinel-in-the-wrong-place\0", "printable ASCII"),
        (&long, "16 KiB"),
    ] {
        stage.refuses_with(token, &["rotate", "corp", "--token-stdin", "--no-verify"], USAGE, says);
        let add = [
            "add-registry",
            "new",
            "--scope",
            "https://a.example/",
            "--token-stdin",
            "--no-verify",
        ];
        stage.refuses_with(token, &add, USAGE, says);
    }
}

#[test]
fn an_unknown_registry_is_not_found_by_any_verb_and_those_that_exist_are_named() {
    let stage = Stage::start();
    for arguments in [
        &["show", "nobody"][..],
        &["remove-registry", "nobody"],
        &["rotate", "nobody", "--token-stdin"],
        &["verify", "nobody"],
        &["allow", "nobody", "--for", "5m"],
        &["deny", "nobody"],
    ] {
        stage.refuses(arguments, NOT_FOUND, "there are: corp");
    }
}

#[test]
fn a_name_or_a_scope_that_is_taken_exists_already() {
    let stage = Stage::start();
    let add = ["add-registry", "corp", "--token-stdin", "--scope", "https://a.example/"];
    stage.refuses(&add, EXISTS, "regauthctl rotate corp");
    let scope = stage.registry.url("/corp");
    stage.refuses(
        &["add-registry", "new", "--token-stdin", "--scope", &scope],
        EXISTS,
        "`corp` covers",
    );
}

#[test]
fn what_a_person_wrote_by_hand_and_nobody_has_read_is_not_written_over() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.clone() + "[registries.mine]\nscopes = [\"https://mine.example/\"]\n",
    )
    .unwrap();
    let add = [
        "add-registry",
        "mine",
        "--token-stdin",
        "--no-verify",
        "--scope",
        "https://other.example/",
    ];
    stage.refuses(&add, EXISTS, "regauthctl reload");
    let add = [
        "add-registry",
        "new",
        "--token-stdin",
        "--no-verify",
        "--scope",
        "https://mine.example/",
    ];
    stage.refuses(&add, FAILED, "the change does not fit into");
    stage.daemon.ctl(&["reload"]).succeeds();
    assert_eq!(stage.names(), ["corp", "mine"]);
}

#[test]
fn a_registry_that_was_taken_out_of_the_file_by_hand_can_be_removed_with_its_token() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.split("[registries.corp]").next().unwrap()).unwrap();
    let reloaded = stage.daemon.ctl(&["reload"]).succeeds().json;
    assert!(
        reloaded["notes"]
            .to_string()
            .contains("regauthctl remove-registry corp"),
        "{reloaded}"
    );
    assert_eq!(stage.items()["corp"], "the-first-token");
    stage.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert_eq!(stage.items(), Value::Object(serde_json::Map::new()));
    assert_eq!(
        stage.daemon.ctl(&["remove-registry", "corp"]).exit,
        i32::from(NOT_FOUND)
    );
}

#[test]
fn a_configuration_with_errors_keeps_the_daemon_from_starting_and_all_are_told_with_their_places() {
    for (text, says) in [
        (BROKEN, &BROKEN_PLACES[..]),
        ("listen = \n", &["config.toml:1:"]),
        (
            "[registries.x]\nindex = \"https://u:sentinel-in-the-wrong-place@a.example/\"\n",
            &["config.toml:2:9: "],
        ),
        ("store = \"sentinel-in-the-wrong-place\"\n", &["config.toml:1:9: "]),
    ] {
        let home = TempDir::new().unwrap();
        let outcome = Daemon::builder()
            .store_of_its_choice()
            .config(text)
            .run(&home.path().join("home"));
        assert_eq!(outcome.status.code(), Some(i32::from(FAILED)));
        for says in says {
            assert!(outcome.stderr.contains(says), "{says}: {}", outcome.report());
        }
        assert!(
            outcome.stderr.contains("correct them and start again"),
            "{}",
            outcome.report()
        );
        Hunt::new(TOKEN)
            .look("the daemon's output", outcome.report())
            .assert_clean();
    }
}

#[test]
fn a_running_daemon_goes_on_with_the_configuration_it_has_when_the_new_one_has_errors() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let good = fs::read(&config).unwrap();
    fs::write(&config, BROKEN).unwrap();
    let add = ["add-registry", "new", "--token-stdin", "--scope", "https://a.example/"];
    for arguments in [&["reload"][..], &["remove-registry", "corp"], &add] {
        let refused = stage.refuses(arguments, USAGE, "the daemon goes on with the configuration it has");
        for place in BROKEN_PLACES {
            assert!(
                refused.outcome.stdout.contains(place),
                "{place}: {}",
                refused.outcome.report()
            );
        }
    }
    stage.assert_served("the-first-token");
    fs::remove_file(&config).unwrap();
    stage.refuses(&["reload"], FAILED, "cannot read");
    stage.assert_served("the-first-token");
    fs::write(&config, good).unwrap();
    stage.daemon.ctl(&["reload"]).succeeds();
    stage.assert_served("the-first-token");
}

#[test]
fn a_start_that_cannot_be_says_why_and_what_to_do() {
    let stage = Stage::start();
    let listen = stage.daemon.proxy().replace("http://", "");
    let folder = TempDir::new().unwrap();
    let below = |name: &str| folder.path().join(name);
    let [open, state, taken, latin] = ["open", "state", "taken", "latin"].map(below);
    make(&open, 0o755);
    make(&state, 0o700);
    make(&state.join("state"), 0o750);
    make(&taken, 0o700);
    fs::create_dir(taken.join("config.toml")).unwrap();
    make(&latin, 0o700);
    fs::write(latin.join("config.toml"), b"# caf\xe9\n").unwrap();
    fs::write(below("file"), "").unwrap();
    for (arguments, says) in [
        (vec!["--home", text(&open)], vec!["mode 0755", "chmod 700"]),
        (vec!["--home", text(&state)], vec!["mode 0750", "chmod 700"]),
        (vec!["--home", text(&taken)], vec!["config.toml", "--config"]),
        (vec!["--home", text(&latin)], vec!["config.toml", "UTF-8"]),
        (vec!["--home", text(&below("file"))], vec!["--home"]),
        (vec!["--home", "/proc/nowhere"], vec!["--home"]),
        (
            vec!["--home", text(&below(&"x".repeat(100)))],
            vec!["control socket", "shorter"],
        ),
        (
            vec!["--home", text(&below("a")), "--listen", &listen],
            vec!["in use", "--listen"],
        ),
        (
            vec!["--home", text(&below("b")), "--config", "/nowhere/c.toml"],
            vec!["/nowhere/c.toml", "--config"],
        ),
        (
            vec!["--home", text(stage.home())],
            vec!["another regauthd", "regauthctl stop"],
        ),
    ] {
        let outcome = start(&arguments);
        assert_eq!(outcome.status.code(), Some(i32::from(FAILED)), "{}", outcome.report());
        for says in says {
            assert!(outcome.stderr.contains(says), "{says}: {}", outcome.report());
        }
        assert_eq!(
            outcome.stderr.matches("os error").count().max(1),
            1,
            "said twice: {}",
            outcome.report()
        );
    }
    for arguments in [
        &["--listen", "0.0.0.0:9001"][..],
        &["--listen", "somewhere"],
        &["--store", "bank"],
        &["--bogus"],
        &["extra"],
    ] {
        assert_eq!(start(arguments).status.code(), Some(i32::from(USAGE)), "{arguments:?}");
    }
    stage.assert_served("the-first-token");
}

/// Root can give a folder away; anybody else finds one that is not theirs.
#[test]
fn a_folder_of_somebody_else_is_refused() {
    let folder = TempDir::new().unwrap();
    let home = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        folder.path()
    } else {
        Path::new("/")
    };
    let outcome = start(&["--home", text(home)]);
    assert_eq!(outcome.status.code(), Some(i32::from(FAILED)));
    outcome.says("belongs to user").says("--home");
}

#[test]
fn the_socket_of_a_dead_daemon_is_told_from_a_daemon_and_replaced() {
    let mut stage = Stage::start();
    stage.daemon.kill();
    assert!(stage.home().join("run/control.sock").exists());
    for verb in [
        &["list"][..],
        &["status"],
        &["rotate", "corp", "--token-stdin"],
        &["stop"],
    ] {
        let ctl = stage.daemon.ctl_with_input(verb, TOKEN);
        assert_eq!(ctl.exit, i32::from(UNREACHABLE), "{}", ctl.outcome.report());
        assert!(
            ctl.json["err"]["hint"].as_str().unwrap().contains("regauthd --home"),
            "{}",
            ctl.json
        );
    }
    stage.daemon.restart();
    stage.assert_served("the-first-token");
}

#[test]
fn a_registry_that_cannot_vouch_for_the_token_gets_it_stored_nowhere() {
    let stage = Stage::start();
    let stranger = Authority::new("Somebody");
    let other = Honeypot::builder(&stranger, "127.0.0.1").start();
    let not_found = Honeypot::builder(&stage.authority, "127.0.0.1")
        .answer(404, &[], "")
        .start();
    let moved = Honeypot::builder(&stage.authority, "127.0.0.1")
        .redirect(302, &other.url("/caught"))
        .start();
    let page = Honeypot::builder(&stage.authority, "127.0.0.1")
        .answer(200, &[], "<html>")
        .start();
    let [ca, others, no_pem] = [
        stage.authority.file(),
        stranger.file(),
        stage.home().join("config.toml"),
    ];
    let [ca, others, no_pem] = [&ca, &others, &no_pem].map(|file| text(file));
    for (place, more, exit, says) in [
        ("https://127.0.0.1:1/".to_owned(), vec![], FAILED, "cannot be reached"),
        (
            "https://registry.invalid/".to_owned(),
            vec![],
            FAILED,
            "cannot be reached",
        ),
        (other.url("/"), vec![], FAILED, "--ca-file"),
        (other.url("/"), vec!["--ca-file", ca], FAILED, "--ca-file"),
        (other.url("/"), vec!["--ca-file", no_pem], USAGE, "PEM"),
        (not_found.url("/"), vec!["--ca-file", ca], FAILED, "404"),
        (moved.url("/"), vec!["--ca-file", ca], FAILED, "redirect"),
    ] {
        let add = ["add-registry", "new", "--token-stdin", "--scope", &place];
        let refused = stage.refuses(&[&add[..], &more].concat(), exit, says);
        let nothing = refused.json["err"]["hint"]
            .as_str()
            .unwrap()
            .contains("nothing was stored");
        assert!(nothing || exit == USAGE, "{}", refused.json);
    }
    let index = format!("sparse+{}", page.url("/index/"));
    let add = [
        "add-registry",
        "new",
        "--token-stdin",
        "--index",
        &index,
        "--ca-file",
        ca,
    ];
    stage.refuses(&add, FAILED, "is this the index's URL?");
    assert!(
        other.requests().is_empty(),
        "a stranger got the token: {:?}",
        other.requests()
    );
    stage
        .daemon
        .ctl_with_input(&["rotate", "corp", "--token-stdin"], TOKEN)
        .succeeds();

    let add = [
        "add-registry",
        "new",
        "--token-stdin",
        "--no-verify",
        "--scope",
        "https://127.0.0.1:1/",
        "--ca-file",
    ];
    let added = stage
        .daemon
        .ctl_with_input(&[&add[..], &[others]].concat(), TOKEN)
        .succeeds();
    assert_eq!(added.json["verified"], false);
    assert_eq!(stage.items()["new"], TOKEN);
}

#[test]
fn a_token_that_the_registry_rejects_is_not_stored_unless_nobody_asks() {
    let stage = Stage::start();
    let registry = Registry::builder(Scheme::bearer(), "the-right-token").start();
    let (index, ca) = (registry.index(), registry.ca());
    let add = [
        "add-registry",
        "new",
        "--token-stdin",
        "--index",
        &index,
        "--ca-file",
        text(&ca),
    ];
    stage.refuses(&add, TOKEN_REJECTED, "does not accept this token");
    stage.refuses(&[&add[..], &["--scheme", "raw"]].concat(), TOKEN_REJECTED, "--scheme");
    stage.daemon.ctl_with_input(&add, "the-right-token").succeeds();
    stage.refuses(
        &["rotate", "new", "--token-stdin"],
        TOKEN_REJECTED,
        "the old token stays in use",
    );
    assert_eq!(stage.items()["new"], "the-right-token");
    assert_eq!(stage.daemon.ctl(&["verify", "new"]).exit, 0);

    let asked = registry.nginx.requests().len();
    stage
        .daemon
        .ctl_with_input(&["rotate", "new", "--token-stdin", "--no-verify"], TOKEN)
        .succeeds();
    assert_eq!(registry.nginx.requests().len(), asked, "the registry was asked");
    assert_eq!(stage.items()["new"], TOKEN);
    assert_eq!(stage.daemon.ctl(&["verify", "new"]).exit, i32::from(TOKEN_REJECTED));
}

#[test]
fn what_regauth_does_not_do_is_refused() {
    let stage = Stage::start();
    stage.refuses(&["deny", "open"], NOT_FOUND, "there are");
    let config = stage.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let more =
        "[registries.open]\nscopes = [\"https://open.example/\"]\nwrites = \"allow\"\nsource = \"env:NOWHERE\"\n";
    fs::write(&config, text + more).unwrap();
    stage.daemon.ctl(&["reload"]).succeeds();
    stage.refuses(&["deny", "open"], REFUSED, "regauthctl reload");
    stage.refuses(&["rotate", "open", "--token-stdin"], REFUSED, "env:NOWHERE");
}

/// The disk is full from the first, second, … write on: every limit lets some of a verb's files through and not others.
#[test]
fn a_full_disk_leaves_everything_as_it_was_and_the_verb_works_when_there_is_room() {
    let stage = Stage::start();
    let scope = stage.registry.url("/new/");
    let ca = stage.authority.file();
    let other = Honeypot::builder(&stage.authority, "127.0.0.1").start();
    let place = other.url("/");
    let add = [
        "add-registry",
        "new",
        "--token-stdin",
        "--scope",
        &scope,
        "--scope",
        &place,
        "--ca-file",
        text(&ca),
    ];
    let mut refused = 0;
    for limit in [0, 200, 450, 600, 1000, 1600, 1900, 2200, 3000, 4000, 6000, 100_000] {
        let before = stage.everything();
        stage.limit_files(Some(limit));
        let added = stage.daemon.ctl_with_input(&add, TOKEN);
        stage.assert_served("the-first-token");
        stage.limit_files(None);
        if added.succeeded() {
            stage.daemon.ctl(&["remove-registry", "new"]).succeeds();
            continue;
        }
        refused += 1;
        assert_failed_for_the_disk(&added);
        assert_eq!(stage.names(), ["corp"], "at {limit} bytes");
        stage.daemon.ctl(&["reload"]).succeeds();
        let after = stage.settled();
        assert_eq!(after, before, "at {limit} bytes");
    }
    assert!(refused > 5, "the limits let everything through");
    stage.daemon.ctl_with_input(&add, TOKEN).succeeds();
    assert_eq!(stage.names(), ["corp", "new"]);
}

#[test]
fn a_full_disk_rotates_and_removes_nothing_and_keeps_no_daemon_from_starting_again() {
    let mut stage = Stage::start();
    for limit in [0, 300, 600, 1500] {
        let before = stage.everything();
        stage.limit_files(Some(limit));
        let rotated = stage.daemon.rotate("corp", TOKEN);
        let removed = (!rotated.succeeded()).then(|| stage.daemon.ctl(&["remove-registry", "corp"]));
        stage.limit_files(None);
        assert!(
            !rotated.succeeded() && removed.as_ref().is_some_and(|removed| !removed.succeeded()),
            "at {limit} bytes"
        );
        assert_failed_for_the_disk(&rotated);
        assert_failed_for_the_disk(&removed.unwrap());
        stage.assert_served("the-first-token");
        stage.daemon.restart();
        assert_eq!(stage.settled(), before, "at {limit} bytes");
        stage.assert_served("the-first-token");
    }
    stage.daemon.rotate("corp", TOKEN).succeeds();
    stage.assert_served(TOKEN);
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

/// A daemon with a vault and one registry, `corp`, that takes any token.
struct Stage {
    daemon: Daemon,
    registry: Honeypot,
    authority: Authority,
}

impl Stage {
    fn start() -> Self {
        let authority = Authority::new("Corp Root");
        let registry = Honeypot::builder(&authority, "localhost").start();
        let daemon = Daemon::builder().store("vault").outlives_file_limits().start();
        let (scope, ca) = (registry.url("/corp/"), authority.file());
        let add = [
            "add-registry",
            "corp",
            "--token-stdin",
            "--scope",
            &scope,
            "--ca-file",
            text(&ca),
        ];
        daemon.ctl_with_input(&add, "the-first-token").succeeds();
        Self {
            daemon,
            registry,
            authority,
        }
    }

    /// A mistake, with the token on stdin.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], exit: u8, says: &str) -> Ctl {
        self.refuses_with(TOKEN, arguments, exit, says)
    }

    /// A mistake: its exit code, a message and what to do, the same for people and for programs; nothing changed.
    #[track_caller]
    fn refuses_with(&self, token: &str, arguments: &[&str], exit: u8, says: &str) -> Ctl {
        let before = self.everything();
        let ctl = self.daemon.ctl_with_input(arguments, token);
        assert_eq!(ctl.exit, i32::from(exit), "{}", ctl.outcome.report());
        let error = &ctl.json["err"];
        let said = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        let [message, hint] = ["message", "hint"].map(said);
        assert!(!message.is_empty() && !hint.is_empty(), "{}", ctl.outcome.report());
        assert!(
            format!("{message}\n{hint}").contains(says),
            "{says:?}: {}",
            ctl.outcome.report()
        );
        Hunt::new(TOKEN)
            .look("stdout", &ctl.outcome.stdout)
            .look("stderr", &ctl.outcome.stderr)
            .look("the daemon's log", self.daemon.log())
            .assert_clean();
        assert_eq!(self.everything(), before, "{arguments:?} has changed something");
        ctl
    }

    /// All that must not change: the files and what is in the store, and what the daemon says of itself.
    fn everything(&self) -> Vec<String> {
        let read = |name: &str| fs::read_to_string(self.home().join(name)).unwrap_or_default();
        let mut list = self.daemon.ctl(&["list"]).succeeds().json;
        for registry in list["registries"].as_array_mut().unwrap() {
            for use_of_it in ["last_used", "last-used", "last_status", "last-status", "requests"] {
                registry.as_object_mut().unwrap().remove(use_of_it);
            }
        }
        let items = self.items().to_string();
        let bundle = read("state/ca-bundle.pem");
        vec![
            list.to_string(),
            read("config.toml"),
            read("state/ledger.json"),
            items,
            bundle,
        ]
    }

    /// The same once what a full disk has left undone is finished, at the latest by a restart.
    fn settled(&self) -> Vec<String> {
        let settled = regauth_tests::poll::wait_for("an empty list of what is pending", || {
            let everything = self.everything();
            everything[2].contains("\"pending\": []").then_some(everything)
        });
        assert!(!settled[2].contains("rotations"), "{}", settled[2]);
        settled
    }

    fn names(&self) -> Vec<String> {
        let list = self.daemon.ctl(&["list"]).succeeds().json;
        let names = list["registries"].as_array().unwrap().iter();
        names
            .map(|registry| registry["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What `age -d` gets out of the vault, without the keys of authorities.
    fn items(&self) -> Value {
        let state = self.home().join("state");
        let mut age = client::command("age", &state);
        age.args(["-d", "-i", "vault-identity.txt", "vault.age"])
            .current_dir(&state);
        let opened = client::run(&mut age).succeeds().stdout;
        let mut items: serde_json::Map<String, Value> = serde_json::from_str(&opened).unwrap();
        items.retain(|name, _| !name.starts_with("authority:"));
        Value::Object(items)
    }

    #[track_caller]
    fn assert_served(&self, token: &str) {
        let answer = Curl::new().behind(&self.daemon).get(&self.registry.url("/corp/"));
        assert_eq!(answer.status, 200, "{}", answer.body());
        let sent = self.registry.requests().pop().unwrap().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {token}")));
    }

    /// From now on no file that the daemon writes may be longer, as on a disk that has no more room.
    fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let mut prlimit = client::command("prlimit", self.home());
        prlimit.args([
            "--pid",
            &self.daemon.pid().to_string(),
            &format!("--fsize={limit}:unlimited"),
        ]);
        client::run(&mut prlimit).succeeds();
    }

    fn home(&self) -> &std::path::Path {
        self.daemon.home()
    }
}

#[track_caller]
fn assert_failed_for_the_disk(ctl: &Ctl) {
    assert!(
        [FAILED, STORE].map(i32::from).contains(&ctl.exit),
        "{}",
        ctl.outcome.report()
    );
    let error = &ctl.json["err"];
    assert!(
        error["message"].as_str().unwrap().contains("written: ")
            || error["message"].as_str().unwrap().contains("cannot write"),
        "{error}"
    );
    assert!(error["hint"].is_string(), "{error}");
}

/// `regauthd` with these arguments, to its end.
fn start(arguments: &[&str]) -> client::Outcome {
    let folder = TempDir::new().unwrap();
    let mut daemon = client::command(binary("regauthd"), folder.path());
    let listen = (!arguments.contains(&"--listen")).then_some(["--listen", "127.0.0.1:0"]);
    let store = (!arguments.contains(&"--store")).then_some(["--store", "vault"]);
    client::run(daemon.args(arguments).args(listen.iter().chain(&store).flatten()))
}

fn make(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const BROKEN: &str = "listen = 3\ncolour = \"red\"\n[registries.corp]\nscope = [\"https://corp.example/\"]\n";
const BROKEN_PLACES: [&str; 4] = [
    "config.toml:1:10: `listen`",
    "config.toml:2:1: unknown key `colour`",
    "config.toml:3:1: `scopes` in [registries.corp] is missing",
    "config.toml:4:1: unknown key `scope`",
];
