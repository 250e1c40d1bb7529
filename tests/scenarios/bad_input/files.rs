//! Wrong files: invalid configurations, unsafe folders, taken ports, homes and sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use regauth_shared::exit_code::{EXISTS, FAILED, NOT_FOUND, REFUSED, UNREACHABLE, USAGE};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::programs::binary;
use serde_json::json;
use tempfile::TempDir;

use super::{FIRST, Fixture, TOKEN, hint, text};

#[test]
fn all_configuration_errors_are_reported_with_positions_at_start() {
    for (text, locations) in [
        (INVALID, &INVALID_POSITIONS[..]),
        ("listen = \n", &["config.toml:1:"]),
        ("store = \"sentinel-in-the-wrong-location\"\n", &["config.toml:1:9: "]),
        (
            "[registries.x]\nindex = \"https://u:sentinel-in-the-wrong-location@a.example/\"\n",
            &["config.toml:2:9: "],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let daemon = Daemon::builder().without_store_flag().config(text);
        let output = daemon.run(&folder.path().join("home"));
        assert_eq!(output.status.code(), Some(i32::from(FAILED)));
        assert_prints_all(&output, locations.iter().copied().chain(["fix them and start again"]));
        LeakScan::new(TOKEN).scan("its output", output.report()).assert_clean();
    }
}

#[test]
fn a_running_daemon_keeps_its_configuration_when_the_new_one_has_errors() {
    let fixture = Fixture::start();
    let config = fixture.home().join("config.toml");
    let good = fs::read(&config).unwrap();
    fs::write(&config, INVALID).unwrap();
    let add = "add-registry new --token-stdin --scope https://a.example/";
    for line in ["reload", "remove-registry corp", add] {
        let refused = fixture.refuses(line, USAGE, "the daemon keeps its present configuration");
        for location in INVALID_POSITIONS {
            assert!(refused.output.stdout.contains(location), "{}", refused.output.report());
        }
    }
    fixture.assert_served(FIRST);
    fs::remove_file(&config).unwrap();
    fixture.refuses("reload", FAILED, "cannot read");
    fixture.assert_served(FIRST);
    fs::write(&config, good).unwrap();
    fixture.ctl("reload", "").succeeds();
    fixture.assert_served(FIRST);
}

#[test]
fn edits_by_hand_that_are_not_loaded_are_not_overwritten() {
    let fixture = Fixture::start();
    append(&fixture, "[registries.mine]\nscopes = [\"https://mine.example/\"]\n");
    let add = "add-registry mine --token-stdin --no-verify --scope https://other.example/";
    fixture.refuses(add, EXISTS, "regauthctl reload");
    let add = "add-registry new --token-stdin --no-verify --scope https://mine.example/";
    fixture.refuses(add, FAILED, "the change does not fit into");
    fixture.ctl("reload", "").succeeds();
    assert_eq!(fixture.names(), ["corp", "mine"]);
}

#[test]
fn a_registry_deleted_from_the_file_by_hand_can_be_removed_with_its_token() {
    let fixture = Fixture::start();
    let config = fixture.home().join("config.toml");
    let all = fs::read_to_string(&config).unwrap();
    fs::write(&config, all.split("\n[registries.corp]").next().unwrap()).unwrap();
    let notes = fixture.ctl("reload", "").succeeds().json["notes"].to_string();
    assert!(notes.contains("regauthctl remove-registry corp"), "{notes}");
    assert_eq!(fixture.items(), json!({ "corp": FIRST }));
    fixture.ctl("remove-registry corp", "").succeeds();
    assert_eq!(fixture.items(), json!({}));
    fixture.refuses("remove-registry corp", NOT_FOUND, "none is configured");
}

#[test]
fn reload_lists_changes_that_need_a_restart() {
    let fixture = Fixture::start();
    let config = fixture.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace("\nstore = \"vault\"", "\nstore = \"memory\"\ndrain-timeout = \"3s\"");
    fs::write(&config, changed + "[upstream]\nproxy = \"http://proxy.example:3128\"\n").unwrap();
    let notes = fixture.ctl("reload", "").succeeds().json["notes"].clone();
    let of = |key: &str| format!("`{key}` differs in the file and takes effect at the next start");
    assert_eq!(notes, json!([of("store"), of("drain-timeout"), of("[upstream]")]));
    fixture.assert_served(FIRST);
}

#[test]
fn a_command_that_the_configuration_overrides_is_refused() {
    let fixture = Fixture::start();
    let registry = "[registries.open]\nscopes = [\"https://open.example/\"]\nwrites = \"allow\"\n";
    append(&fixture, &format!("{registry}source = \"env:NOWHERE\"\n"));
    fixture.ctl("reload", "").succeeds();
    fixture.refuses("deny open", REFUSED, "regauthctl reload");
    fixture.refuses("rotate open --token-stdin", REFUSED, "env:NOWHERE");
}

#[test]
fn an_unusable_home_is_reported_with_the_fix() {
    let folder = TempDir::new().unwrap();
    let below = |name: &str| folder.path().join(name);
    let [open, state, taken, latin] = ["open", "state", "taken", "latin"].map(below);
    for (folder, mode) in [(&open, 0o755), (&state, 0o700), (&state.join("state"), 0o750)] {
        create_folder(folder, mode);
    }
    create_folder(&taken, 0o700);
    fs::create_dir(taken.join("config.toml")).unwrap();
    create_folder(&latin, 0o700);
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
        assert_start_fails(&["--home", home], says);
    }
}

#[test]
fn a_taken_port_or_home_is_reported_with_the_fix() {
    let fixture = Fixture::start();
    let listen = fixture.daemon.proxy().replace("http://", "");
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let home = ["--home", text(&home)];
    assert_start_fails(&[&home[..], &["--listen", &listen]].concat(), ["in use", "--listen"]);
    assert_start_fails(
        &[&home[..], &["--listen", "0.0.0.0:9001"]].concat(),
        ["other machines", "clients = \"grants\""],
    );
    assert_start_fails(
        &[&home[..], &["--config", "/nowhere/c.toml"]].concat(),
        ["/nowhere/c.toml", "--config"],
    );
    assert_start_fails(
        &["--home", text(fixture.home())],
        ["another regauthd", "regauthctl stop"],
    );
    assert_start_fails(
        &[&home[..], &["--listen", "0.0.0.0:0"]].concat(),
        ["other machines", "grants"],
    );
    fixture.assert_served(FIRST);
}

#[test]
fn a_wrong_argument_of_the_daemon_is_a_usage_error() {
    for arguments in [
        &["--listen", "somewhere"][..],
        &["--store", "bank"],
        &["--bogus"],
        &["extra"],
    ] {
        assert_eq!(
            run_daemon(arguments).status.code(),
            Some(i32::from(USAGE)),
            "{arguments:?}"
        );
    }
}

/// Root gives the folder to another user; other users try `/`, which root owns.
#[test]
fn a_folder_of_another_user_is_refused() {
    let folder = TempDir::new().unwrap();
    let home = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        folder.path()
    } else {
        Path::new("/")
    };
    assert_start_fails(&["--home", text(home)], ["belongs to user", "--home"]);
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced() {
    let mut fixture = Fixture::start();
    fixture.daemon.kill();
    assert!(fixture.home().join("run/control.sock").exists());
    for line in ["list", "status", "rotate corp --token-stdin", "stop"] {
        let ctl = fixture.ctl(line, TOKEN);
        assert_eq!(ctl.exit, i32::from(UNREACHABLE), "{}", ctl.output.report());
        assert!(hint(&ctl).contains("regauthd --home"), "{}", ctl.json);
    }
    fixture.daemon.restart();
    fixture.assert_served(FIRST);
}

#[test]
fn a_failed_start_prints_the_reason_at_every_log_level() {
    let folder = TempDir::new().unwrap();
    create_folder(&folder.path().join("home"), 0o755);
    let mut daemon = exec::command(binary("regauthd"), folder.path());
    daemon
        .env("REGAUTH_LOG", "off")
        .arg("--home")
        .arg(folder.path().join("home"));
    exec::run(&mut daemon).fails().says("error: others may enter");
}

#[track_caller]
fn assert_start_fails(arguments: &[&str], says: [&str; 2]) {
    let output = run_daemon(arguments);
    assert_eq!(output.status.code(), Some(i32::from(FAILED)), "{}", output.report());
    assert_prints_all(&output, says);
    assert!(
        output.stderr.matches("os error").count() < 2,
        "the error is printed twice: {}",
        output.report()
    );
}

#[track_caller]
fn assert_prints_all<'a>(output: &Output, texts: impl IntoIterator<Item = &'a str>) {
    for text in texts {
        assert!(output.stderr.contains(text), "{text}: {}", output.report());
    }
}

/// Runs `regauthd` with these arguments until it exits.
fn run_daemon(arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let mut daemon = exec::command(binary("regauthd"), folder.path());
    let unless_given = |flag, value| (!arguments.contains(&flag)).then_some([flag, value]);
    let usual = [
        unless_given("--listen", "127.0.0.1:0"),
        unless_given("--store", "vault"),
    ];
    exec::run(daemon.args(arguments).args(usual.iter().flatten().flatten()))
}

fn append(fixture: &Fixture, text: &str) {
    let config = fixture.home().join("config.toml");
    let before = fs::read_to_string(&config).unwrap();
    fs::write(&config, before + text).unwrap();
}

fn create_folder(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

const INVALID: &str = "listen = 3\ncolour = \"red\"\n[registries.corp]\nscope = [\"https://corp.example/\"]\n";
const INVALID_POSITIONS: [&str; 4] = [
    "config.toml:1:10: `listen`",
    "config.toml:2:1: unknown key `colour`",
    "config.toml:3:1: `scopes` in [registries.corp] is missing",
    "config.toml:4:1: unknown key `scope`",
];
