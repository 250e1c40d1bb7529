//! A busy daemon: commands that stop something act at once while another command waits for a registry, a source or a store.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::held_server::HeldServer;
use regauth_tests::keyring::Keyring;
use regauth_tests::poll;
use rustix::process::Signal;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-in-use";

fn add(daemon: &Daemon, name: &str, location: &[String], more: &[&str]) -> Ctl {
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let arguments = [&["add-registry", name], &location[..], more].concat();
    let with_token = more.contains(&"--token-stdin");
    daemon.ctl_with_input(&arguments, if with_token { TOKEN } else { "" })
}

fn add_stored(daemon: &Daemon, name: &str, server: &HeldServer, path: &str) {
    add(daemon, name, &server.location(path), &["--token-stdin", "--no-verify"]).succeeds();
}

/// Source command that waits for a file with the token, after it has created `PATH.asked`.
fn waiting_source(gate: &Path) -> Vec<String> {
    let script = format!(
        "touch {0}.asked; until test -e {0}; do sleep 0.05; done; cat {0}",
        gate.display()
    );
    ["--source-timeout", "5m", "--source-command", "sh", "-c", &script]
        .map(str::to_owned)
        .into()
}

/// Writes a file that is whole when it appears.
fn put(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, file).unwrap();
}

fn wait_for_file(path: &Path) {
    poll::wait_for("the source to be asked", || path.exists().then_some(()));
}

fn status(daemon: &Daemon, url: &str) -> u16 {
    Curl::new().behind(daemon).get(url).status
}

/// Runs each command that stops something, on the registries `kept` and `gone`.
fn stop_everything(daemon: &Daemon, server: &HeldServer) {
    let granted = daemon
        .ctl(&["grant", "--registry", "kept", "--for", "1h"])
        .succeeds()
        .json;
    let bearer = Curl::new()
        .trusts(&daemon.bundle())
        .proxy(granted["proxy"].as_str().unwrap());
    assert_eq!(bearer.get(&server.url("/kept/a")).status, 200);
    daemon
        .ctl(&["revoke", granted["grant"]["id"].as_str().unwrap()])
        .succeeds();
    assert!(
        !bearer.fetch(&server.url("/kept/a")).output.status.success(),
        "the bearer is refused at once"
    );
    daemon.ctl(&["allow", "kept", "--for", "1m"]).succeeds();
    daemon.ctl(&["deny", "kept"]).succeeds();
    let rotation = ["rotate", "kept", "--token-stdin", "--no-verify"];
    daemon.ctl_with_input(&rotation, "t0ken-of-the-rotation").succeeds();
    assert_eq!(status(daemon, &server.url("/kept/b")), 200);
    assert_eq!(server.arrivals("/kept/b"), ["Bearer t0ken-of-the-rotation"]);
    daemon.ctl(&["remove-registry", "gone"]).succeeds();
    assert_eq!(daemon.ctl(&["show", "gone"]).exit, 6);
    daemon.ctl(&["reload"]).succeeds();
}

#[test]
fn commands_that_stop_something_act_at_once_while_a_registry_is_silent() {
    let server = HeldServer::start(&["/probed/"]);
    let daemon = Daemon::start();
    add_stored(&daemon, "kept", &server, "/kept/");
    add_stored(&daemon, "gone", &server, "/gone/");
    let location = server.location("/probed/");
    thread::scope(|scope| {
        let adding = scope.spawn(|| add(&daemon, "slow", &location, &["--token-stdin"]));
        server.wait_for_arrivals("/probed/", 1);
        stop_everything(&daemon, &server);
        assert!(!adding.is_finished(), "the registry has not answered");
        server.release();
        adding.join().unwrap().succeeds();
    });
}

#[test]
fn commands_that_stop_something_act_at_once_while_a_rotation_is_verified() {
    let server = HeldServer::start(&["/probed/"]);
    let daemon = Daemon::start();
    for name in ["kept", "gone", "probed"] {
        add_stored(&daemon, name, &server, &format!("/{name}/"));
    }
    thread::scope(|scope| {
        let rotating = scope.spawn(|| daemon.rotate("probed", "t0ken-that-is-verified"));
        server.wait_for_arrivals("/probed/", 1);
        stop_everything(&daemon, &server);
        assert!(!rotating.is_finished(), "the registry has not answered");
        server.release();
        rotating.join().unwrap().succeeds();
    });
}

#[test]
fn commands_that_stop_something_act_at_once_while_a_source_command_runs() {
    let server = HeldServer::start(&[]);
    let folder = TempDir::new().unwrap();
    let gate = folder.path().join("gate");
    let daemon = Daemon::start();
    daemon.register_secret("minted-t0ken");
    add_stored(&daemon, "kept", &server, "/kept/");
    add_stored(&daemon, "gone", &server, "/gone/");
    let source = waiting_source(&gate);
    let source: Vec<&str> = ["--no-verify"]
        .into_iter()
        .chain(source.iter().map(String::as_str))
        .collect();
    let location = server.location("/minted/");
    thread::scope(|scope| {
        let adding = scope.spawn(|| add(&daemon, "slow", &location, &source));
        wait_for_file(&folder.path().join("gate.asked"));
        stop_everything(&daemon, &server);
        assert!(!adding.is_finished(), "the source has given no token");
        put(&gate, "minted-t0ken");
        adding.join().unwrap().succeeds();
    });
    assert_eq!(status(&daemon, &server.url("/minted/x")), 200);
}

#[test]
fn what_needs_no_store_acts_at_once_while_a_keychain_is_unresponsive() {
    let server = HeldServer::start(&[]);
    let keyring = Keyring::start();
    let daemon = Daemon::builder()
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .start();
    for name in ["kept", "gone", "stored"] {
        add_stored(&daemon, name, &server, &format!("/{name}/"));
    }
    let granted = daemon
        .ctl(&["grant", "--registry", "kept", "--for", "1h"])
        .succeeds()
        .json;
    keyring.suspend();
    thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            let rotation = ["rotate", "stored", "--token-stdin", "--no-verify"];
            daemon.ctl_with_input(&rotation, "t0ken-for-the-store")
        });
        poll::wait_for("the rotation to be in the journal", || {
            let journal = fs::read_to_string(daemon.home().join("state/ledger.json")).unwrap();
            journal.contains("rotations").then_some(())
        });
        daemon.ctl(&["deny", "kept"]).succeeds();
        daemon
            .ctl(&["revoke", granted["grant"]["id"].as_str().unwrap()])
            .succeeds();
        daemon.ctl(&["grant", "--registry", "kept", "--for", "1h"]).succeeds();
        assert!(!rotating.is_finished(), "the keychain has not answered");
        let removed = daemon.ctl(&["remove-registry", "gone"]).succeeds();
        assert!(
            removed.json["notes"].to_string().contains("as soon as the store opens"),
            "{}",
            removed.json
        );
        assert_eq!(server.arrivals("/gone/x"), [""; 0]);
        assert_eq!(status(&daemon, &server.url("/kept/x")), 200);
        rotating.join().unwrap().exits(5);
    });
    keyring.resume();
}

#[test]
fn a_registry_that_is_removed_while_its_new_token_is_verified_stays_removed() {
    let server = HeldServer::start(&["/corp/"]);
    let daemon = Daemon::start();
    add_stored(&daemon, "corp", &server, "/corp/");
    thread::scope(|scope| {
        let rotating = scope.spawn(|| daemon.rotate("corp", "t0ken-that-comes-late"));
        server.wait_for_arrivals("/corp/", 1);
        daemon.ctl(&["remove-registry", "corp"]).succeeds();
        server.release();
        rotating.join().unwrap().exits(6);
    });
    assert_eq!(daemon.ctl(&["list"]).json["registries"].as_array().unwrap().len(), 0);
}

#[test]
fn of_two_additions_of_one_name_at_once_one_wins_and_the_other_says_so() {
    let server = HeldServer::start(&["/one/"]);
    let daemon = Daemon::start();
    let location = server.location("/one/");
    thread::scope(|scope| {
        let first = scope.spawn(|| add(&daemon, "corp", &location, &["--token-stdin"]));
        server.wait_for_arrivals("/one/", 1);
        add_stored(&daemon, "corp", &server, "/two/");
        server.release();
        let refused = first.join().unwrap().exits(7);
        assert!(
            refused.json["err"]["message"].to_string().contains("already"),
            "{}",
            refused.json
        );
    });
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert!(shown["scopes"][0].as_str().unwrap().ends_with("/two/"), "{shown}");
}

#[test]
fn verify_asks_all_registries_at_the_same_time() {
    let server = HeldServer::start(&["/a/", "/b/", "/c/"]);
    let daemon = Daemon::start();
    for name in ["a", "b", "c"] {
        add_stored(&daemon, name, &server, &format!("/{name}/"));
    }
    thread::scope(|scope| {
        let verifying = scope.spawn(|| daemon.ctl(&["verify"]));
        // None is answered before all are asked.
        for path in ["/a/", "/b/", "/c/"] {
            server.wait_for_arrivals(path, 1);
        }
        server.release();
        let verified = verifying.join().unwrap().succeeds().json;
        let results = verified["registries"].as_array().unwrap();
        assert!(
            results.iter().all(|verdict| verdict["result"] == "accepted"),
            "{verified}"
        );
    });
}

#[test]
fn doctor_has_a_verdict_for_each_silent_registry() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::start();
    for number in 1..=4 {
        let scope = format!("https://{}/{number}/", silent.local_addr().unwrap());
        let location = ["--kind", "generic", "--scope", &scope].map(str::to_owned);
        add(
            &daemon,
            &format!("r{number}"),
            &location,
            &["--token-stdin", "--no-verify"],
        )
        .succeeds();
    }
    let report = daemon.ctl(&["doctor"]).output.stdout;
    for number in 1..=4 {
        assert!(report.contains(&format!("r{number}: ")), "{report}");
        let lines = report.lines();
        let of_registry = lines.filter(|line| line.contains(&format!("r{number}: ")));
        for line in of_registry {
            assert!(line.contains("accepted the connection and did not"), "{report}");
        }
    }
    assert!(!report.contains("registries-not-asked"), "{report}");
}

#[test]
fn sigterm_is_heard_while_a_reload_and_a_source_wait() {
    let server = HeldServer::start(&[]);
    let folder = TempDir::new().unwrap();
    let gate = folder.path().join("gate");
    let mut daemon = Daemon::builder().store("vault").start();
    add_stored(&daemon, "kept", &server, "/kept/");
    let source = waiting_source(&gate);
    let home = daemon.home().to_owned();
    let url = server.url("/minted/");
    let adding = thread::spawn(move || {
        let location = [
            "add-registry",
            "slow",
            "--kind",
            "generic",
            "--scope",
            &url,
            "--no-verify",
        ];
        let source: Vec<&str> = source.iter().map(String::as_str).collect();
        Ctl::run(&home, &[&location, &source[..]].concat(), "")
    });
    wait_for_file(&folder.path().join("gate.asked"));
    daemon.signal(Signal::HUP);
    assert!(daemon.stop().success());
    let told = adding.join().unwrap().exits(3);
    assert!(
        told.json["err"]["message"].to_string().contains("is ending"),
        "{}",
        told.json
    );
}

#[test]
fn stop_is_heard_while_a_registry_is_asked() {
    let server = HeldServer::start(&["/probed/"]);
    let mut daemon = Daemon::start();
    let location = server.location("/probed/");
    let home = daemon.home().to_owned();
    let adding = thread::spawn(move || {
        let location: Vec<&str> = location.iter().map(String::as_str).collect();
        let arguments = [&["add-registry", "slow", "--token-stdin"], &location[..]].concat();
        Ctl::run(&home, &arguments, TOKEN)
    });
    server.wait_for_arrivals("/probed/", 1);
    daemon.signal(Signal::HUP);
    daemon.ctl(&["stop"]).succeeds();
    assert!(daemon.wait().success());
    adding.join().unwrap().exits(3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_registry_that_is_removed_while_a_reload_waits_for_the_store_stays_removed() {
    let server = HeldServer::start(&[]);
    let shim = regauth_tests::system_shim::SystemShim::new();
    let daemon = shim.load_into(Daemon::builder().store("vault")).start();
    for name in ["kept", "gone"] {
        add_stored(&daemon, name, &server, &format!("/{name}/"));
    }
    // The reload asks the store for the key of a host that is new.
    let config = daemon.home().join("config.toml");
    let added =
        "\n[registries.more]\nkind = \"generic\"\nscopes = [\"https://more.invalid/\"]\nsource = \"file:/nowhere\"\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + added).unwrap();
    shim.hold_syncs("vault.age");
    let rotation = ["rotate", "kept", "--token-stdin", "--no-verify"];
    thread::scope(|scope| {
        let rotating = scope.spawn(|| daemon.ctl_with_input(&rotation, "t0ken-of-the-rotation"));
        shim.wait_for_held_sync();
        let reloading = scope.spawn(|| daemon.ctl(&["reload"]));
        daemon.ctl(&["remove-registry", "gone"]).succeeds();
        assert_eq!(daemon.ctl(&["show", "gone"]).exit, 6);
        shim.release_syncs();
        reloading.join().unwrap().succeeds();
        rotating.join().unwrap();
    });
    assert_eq!(daemon.ctl(&["show", "gone"]).exit, 6);
    daemon.ctl(&["show", "more"]).succeeds();
}

#[test]
#[cfg(target_os = "linux")]
fn a_rotation_and_a_removal_during_a_migration_are_not_lost() {
    let server = HeldServer::start(&[]);
    let keyring = Keyring::start();
    let shim = regauth_tests::system_shim::SystemShim::new();
    let daemon = Daemon::builder()
        .without_store_flag()
        .config("store = \"keychain\"\n")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let mut daemon = shim.load_into(daemon).start();
    for name in ["kept", "gone"] {
        add_stored(&daemon, name, &server, &format!("/{name}/"));
    }
    shim.hold_syncs("vault.age");
    thread::scope(|scope| {
        let moving = scope.spawn(|| daemon.ctl(&["store", "move", "vault"]));
        shim.wait_for_held_sync();
        let rotation = ["rotate", "kept", "--token-stdin", "--no-verify"];
        daemon.ctl_with_input(&rotation, "t0ken-of-the-rotation").succeeds();
        daemon.ctl(&["remove-registry", "gone"]).succeeds();
        assert!(!moving.is_finished(), "the new store is slow");
        shim.release_syncs();
        if !moving.join().unwrap().succeeded() {
            // This machine was so slow that the store's deadline passed.
            daemon.ctl(&["store", "move", "vault"]).succeeds();
        }
    });
    daemon.restart();
    assert_eq!(status(&daemon, &server.url("/kept/x")), 200);
    assert_eq!(server.arrivals("/kept/x"), ["Bearer t0ken-of-the-rotation"]);
    let items = regauth_tests::store_items::in_vault(&daemon);
    assert!(!items.iter().any(|item| item.contains("gone")), "{items:?}");
}
