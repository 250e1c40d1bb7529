//! What is written wrong, and what lies where a daemon would be: configurations, folders, ports, sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use regauth_shared::exit_code::{EXISTS, FAILED, NOT_FOUND, REFUSED, UNREACHABLE, USAGE};
use regauth_tests::client::{self, Outcome};
use regauth_tests::daemon::Daemon;
use regauth_tests::leaks::Hunt;
use regauth_tests::programs::binary;
use serde_json::json;
use tempfile::TempDir;

use super::{FIRST, Stage, TOKEN, hint, text};

#[test]
fn a_configuration_with_errors_keeps_the_daemon_from_starting_and_all_are_told_with_their_places() {
    for (text, places) in [
        (BROKEN, &BROKEN_PLACES[..]),
        ("listen = \n", &["config.toml:1:"]),
        ("store = \"sentinel-in-the-wrong-place\"\n", &["config.toml:1:9: "]),
        (
            "[registries.x]\nindex = \"https://u:sentinel-in-the-wrong-place@a.example/\"\n",
            &["config.toml:2:9: "],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let daemon = Daemon::builder().store_of_its_choice().config(text);
        let outcome = daemon.run(&folder.path().join("home"));
        assert_eq!(outcome.status.code(), Some(i32::from(FAILED)));
        says_all(&outcome, places.iter().copied().chain(["correct them"]));
        Hunt::new(TOKEN).look("its output", outcome.report()).assert_clean();
    }
}

#[test]
fn a_running_daemon_goes_on_with_the_configuration_it_has_when_the_new_one_has_errors() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let good = fs::read(&config).unwrap();
    fs::write(&config, BROKEN).unwrap();
    let add = "add-registry new --token-stdin --scope https://a.example/";
    for line in ["reload", "remove-registry corp", add] {
        let refused = stage.refuses(line, USAGE, "the daemon keeps its present configuration");
        for place in BROKEN_PLACES {
            assert!(refused.outcome.stdout.contains(place), "{}", refused.outcome.report());
        }
    }
    stage.assert_served(FIRST);
    fs::remove_file(&config).unwrap();
    stage.refuses("reload", FAILED, "cannot read");
    stage.assert_served(FIRST);
    fs::write(&config, good).unwrap();
    stage.ctl("reload", "").succeeds();
    stage.assert_served(FIRST);
}

#[test]
fn what_a_person_wrote_by_hand_and_nobody_has_read_is_not_written_over() {
    let stage = Stage::start();
    append(&stage, "[registries.mine]\nscopes = [\"https://mine.example/\"]\n");
    let add = "add-registry mine --token-stdin --no-verify --scope https://other.example/";
    stage.refuses(add, EXISTS, "regauthctl reload");
    let add = "add-registry new --token-stdin --no-verify --scope https://mine.example/";
    stage.refuses(add, FAILED, "the change does not fit into");
    stage.ctl("reload", "").succeeds();
    assert_eq!(stage.names(), ["corp", "mine"]);
}

#[test]
fn a_registry_that_was_taken_out_of_the_file_by_hand_can_be_removed_with_its_token() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let all = fs::read_to_string(&config).unwrap();
    fs::write(&config, all.split("\n[registries.corp]").next().unwrap()).unwrap();
    let notes = stage.ctl("reload", "").succeeds().json["notes"].to_string();
    assert!(notes.contains("regauthctl remove-registry corp"), "{notes}");
    assert_eq!(stage.items(), json!({ "corp": FIRST }));
    stage.ctl("remove-registry corp", "").succeeds();
    assert_eq!(stage.items(), json!({}));
    stage.refuses("remove-registry corp", NOT_FOUND, "none is configured");
}

#[test]
fn what_takes_effect_only_at_the_next_start_is_said() {
    let stage = Stage::start();
    let config = stage.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace("\nstore = \"vault\"", "\nstore = \"memory\"\ndrain-timeout = \"3s\"");
    fs::write(&config, changed + "[upstream]\nproxy = \"http://proxy.example:3128\"\n").unwrap();
    let notes = stage.ctl("reload", "").succeeds().json["notes"].clone();
    let of = |key: &str| format!("`{key}` differs in the file and takes effect at the next start");
    assert_eq!(notes, json!([of("store"), of("drain-timeout"), of("[upstream]")]));
    stage.assert_served(FIRST);
}

#[test]
fn what_the_file_decides_is_refused_with_the_place_where_it_is_decided() {
    let stage = Stage::start();
    let registry = "[registries.open]\nscopes = [\"https://open.example/\"]\nwrites = \"allow\"\n";
    append(&stage, &format!("{registry}source = \"env:NOWHERE\"\n"));
    stage.ctl("reload", "").succeeds();
    stage.refuses("deny open", REFUSED, "regauthctl reload");
    stage.refuses("rotate open --token-stdin", REFUSED, "env:NOWHERE");
}

#[test]
fn a_folder_that_will_not_do_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let below = |name: &str| folder.path().join(name);
    let [open, state, taken, latin] = ["open", "state", "taken", "latin"].map(below);
    for (folder, mode) in [(&open, 0o755), (&state, 0o700), (&state.join("state"), 0o750)] {
        make(folder, mode);
    }
    make(&taken, 0o700);
    fs::create_dir(taken.join("config.toml")).unwrap();
    make(&latin, 0o700);
    fs::write(latin.join("config.toml"), b"# caf\xe9\n").unwrap();
    let long = below(&"x".repeat(100));
    for (home, says) in [
        (text(&open), ["mode 0755", "chmod 700"]),
        (text(&state), ["mode 0750", "chmod 700"]),
        (text(&taken), ["config.toml", "--config"]),
        (text(&latin), ["config.toml", "UTF-8"]),
        (text(&latin.join("config.toml")), ["cannot use", "--home"]),
        (text(&long), ["control socket", "shorter"]),
        ("/proc/nowhere", ["/proc/nowhere", "--home"]),
    ] {
        refuses_to_start(&["--home", home], says);
    }
}

#[test]
fn a_port_a_home_or_a_file_that_is_taken_is_named_with_what_to_do() {
    let stage = Stage::start();
    let listen = stage.daemon.proxy().replace("http://", "");
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let home = ["--home", text(&home)];
    refuses_to_start(&[&home[..], &["--listen", &listen]].concat(), ["in use", "--listen"]);
    refuses_to_start(
        &[&home[..], &["--listen", "0.0.0.0:9001"]].concat(),
        ["other machines", "clients = \"grants\""],
    );
    refuses_to_start(
        &[&home[..], &["--config", "/nowhere/c.toml"]].concat(),
        ["/nowhere/c.toml", "--config"],
    );
    refuses_to_start(&["--home", text(stage.home())], ["another regauthd", "regauthctl stop"]);
    refuses_to_start(
        &[&home[..], &["--listen", "0.0.0.0:0"]].concat(),
        ["other machines", "grants"],
    );
    stage.assert_served(FIRST);
}

#[test]
fn a_wrong_argument_of_the_daemon_is_a_usage_error() {
    for arguments in [
        &["--listen", "somewhere"][..],
        &["--store", "bank"],
        &["--bogus"],
        &["extra"],
    ] {
        assert_eq!(start(arguments).status.code(), Some(i32::from(USAGE)), "{arguments:?}");
    }
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
    refuses_to_start(&["--home", text(home)], ["belongs to user", "--home"]);
}

#[test]
fn the_socket_of_a_dead_daemon_is_told_from_a_daemon_and_replaced() {
    let mut stage = Stage::start();
    stage.daemon.kill();
    assert!(stage.home().join("run/control.sock").exists());
    for line in ["list", "status", "rotate corp --token-stdin", "stop"] {
        let ctl = stage.ctl(line, TOKEN);
        assert_eq!(ctl.exit, i32::from(UNREACHABLE), "{}", ctl.outcome.report());
        assert!(hint(&ctl).contains("regauthd --home"), "{}", ctl.json);
    }
    stage.daemon.restart();
    stage.assert_served(FIRST);
}

#[test]
fn why_it_did_not_start_is_said_at_every_log_level() {
    let folder = TempDir::new().unwrap();
    make(&folder.path().join("home"), 0o755);
    let mut daemon = client::command(binary("regauthd"), folder.path());
    daemon
        .env("REGAUTH_LOG", "off")
        .arg("--home")
        .arg(folder.path().join("home"));
    client::run(&mut daemon).fails().says("error: others may enter");
}

#[track_caller]
fn refuses_to_start(arguments: &[&str], says: [&str; 2]) {
    let outcome = start(arguments);
    assert_eq!(outcome.status.code(), Some(i32::from(FAILED)), "{}", outcome.report());
    says_all(&outcome, says);
    assert!(
        outcome.stderr.matches("os error").count() < 2,
        "said twice: {}",
        outcome.report()
    );
}

#[track_caller]
fn says_all<'a>(outcome: &Outcome, texts: impl IntoIterator<Item = &'a str>) {
    for text in texts {
        assert!(outcome.stderr.contains(text), "{text}: {}", outcome.report());
    }
}

/// `regauthd` with these arguments, to its end.
fn start(arguments: &[&str]) -> Outcome {
    let folder = TempDir::new().unwrap();
    let mut daemon = client::command(binary("regauthd"), folder.path());
    let unless_given = |flag, value| (!arguments.contains(&flag)).then_some([flag, value]);
    let usual = [
        unless_given("--listen", "127.0.0.1:0"),
        unless_given("--store", "vault"),
    ];
    client::run(daemon.args(arguments).args(usual.iter().flatten().flatten()))
}

fn append(stage: &Stage, text: &str) {
    let config = stage.home().join("config.toml");
    let before = fs::read_to_string(&config).unwrap();
    fs::write(&config, before + text).unwrap();
}

fn make(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

const BROKEN: &str = "listen = 3\ncolour = \"red\"\n[registries.corp]\nscope = [\"https://corp.example/\"]\n";
const BROKEN_PLACES: [&str; 4] = [
    "config.toml:1:10: `listen`",
    "config.toml:2:1: unknown key `colour`",
    "config.toml:3:1: `scopes` in [registries.corp] is missing",
    "config.toml:4:1: unknown key `scope`",
];
