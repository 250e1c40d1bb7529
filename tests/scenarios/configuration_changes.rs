//! `regauthctl set` and `edit`: a registry is changed in place, checked before it is live. What widens needs a yes.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-a-changed-registry";

/// Daemon with one registry whose scheme is wrong, so that the registry rejects its token.
fn with_wrong_user_name() -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    let (index, ca) = (registry.index(), registry.ca());
    let add = ctl::add_index("corp", &index, ca.to_str().unwrap());
    let add = [&add[..], &["--token-stdin", "--no-verify", "--username", "somebody"]].concat();
    daemon.ctl_with_input(&add, TOKEN).succeeds();
    (registry, daemon)
}

fn status(daemon: &Daemon, registry: &Registry) -> u16 {
    let page = format!("{}index/config.json", registry.scope());
    Curl::new().behind(daemon).get(&page).status
}

#[test]
fn a_key_that_is_set_is_checked_with_the_registry_and_live_at_once() {
    let (registry, daemon) = with_wrong_user_name();
    let file = daemon.home().join("config.toml");
    let commented = fs::read_to_string(&file)
        .unwrap()
        .replace("username = \"somebody\"", "username = \"somebody\" # me");
    fs::write(&file, &commented).unwrap();
    assert_eq!(status(&daemon, &registry), 403);

    let rejected = daemon.ctl(&["set", "corp", "username", "nobody"]).exits(4);
    assert!(
        rejected.json["err"]["hint"]
            .as_str()
            .unwrap()
            .contains("nothing was changed")
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), commented);

    let changed = daemon.ctl(&["set", "corp", "username", USERNAME]).succeeds().json;
    assert_eq!(changed["changes"][0]["key"], "username", "{changed}");
    assert_eq!(status(&daemon, &registry), 200);
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(
        written,
        commented.replace("\"somebody\"", &format!("{USERNAME:?}")),
        "a comment stays"
    );

    // A scheme excludes the user name of another one, and the registry rejects it.
    daemon.ctl(&["set", "corp", "scheme", "bearer"]).exits(4);
    daemon
        .ctl(&["set", "corp", "scheme", "bearer", "--no-verify"])
        .succeeds();
    assert!(daemon.ctl(&["show", "corp"]).json.get("username").is_none());
    assert_eq!(status(&daemon, &registry), 403);
    daemon.ctl(&["set", "corp", "username", USERNAME]).succeeds();
    assert_eq!(status(&daemon, &registry), 200);

    let unchanged = daemon.ctl(&["set", "corp", "username", USERNAME]).succeeds().json;
    assert_eq!(unchanged["applied"], false);
}

#[test]
fn what_widens_needs_a_yes_and_what_is_wrong_changes_nothing() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let file = daemon.home().join("config.toml");
    let before = fs::read_to_string(&file).unwrap();

    let host = registry.scope().replace("/api/cargo/", "/");
    for (arguments, exit) in [
        (&["scopes", &host][..], 8),
        (&["writes", "allow"], 8),
        (&["kind", "generic"], 8),
        (&["scheme", "X-Api-Key: {token}"], 8),
        (&["source", "file:/etc/token"], 8),
        (&["kind", "perl"], 2),
        (&["scopes", "http://corp.example/"], 2),
        (&["ca-file", "/no/such/file.pem"], 2),
        (&["read-ahead", "perhaps"], 2),
        (&["rejected-by", "401", "500"], 2),
        (&["username", "a", "b"], 2),
        (&["colour", "red"], 2),
        (&["scheme", "basic"], 2),
    ] {
        daemon.ctl(&[&["set", "corp"], arguments].concat()).exits(exit);
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{arguments:?}");
    }
    daemon.ctl(&["set", "nobody", "kind", "git"]).exits(6);

    let allow = ["set", "corp", "writes", "allow", "--yes"];
    let agreed = daemon
        .ctl_with_input(&[&allow[..], &["--token-stdin"]].concat(), TOKEN)
        .succeeds()
        .json;
    assert_eq!(
        agreed["changes"][0]["widens"], "writes such as publish are open",
        "{agreed}"
    );
    let narrowed = daemon.ctl(&["set", "corp", "writes", "--unset"]).succeeds().json;
    assert!(narrowed["changes"][0].get("widens").is_none(), "{narrowed}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn an_edit_with_errors_is_edited_again_and_a_change_meanwhile_is_merged() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let file = daemon.home().join("config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let user = User::new(&daemon).env("EDITOR", "./vi");

    // Without a terminal an edit with errors is discarded.
    user.write("vi", "#!/bin/sh\nsed -i 's/^index/idnex/' \"$2\"\n");
    user.run("chmod", &["+x", "vi"]).succeeds();
    let refused = user.ctl(&["edit", "corp"]).fails();
    assert!(refused.stderr.contains("unknown key `idnex`"), "{}", refused.report());
    assert_eq!(fs::read_to_string(&file).unwrap(), before);

    // At a terminal it is edited again, at the line of the error. Somebody else writes the file meanwhile.
    user.write(
        "vi",
        &format!(
            "#!/bin/sh\nif test -e again; then echo \"line $1\" > again; sed -i 's/^idnex/index/' \"$2\"; echo '# theirs' >> {file}\n\
             else touch again; sed -i 's/^index/idnex/; 1i # mine' \"$2\"; fi\n",
            file = file.display()
        ),
    );
    let terminal = Tmux::start(&user.command("sh"), 80, 24);
    terminal.run(&format!("{} edit corp; echo status=$?", binary("regauthctl").display()));
    terminal.wait_for("(d)iscard?");
    terminal.type_text("e\n");
    let screen = terminal.wait_for("status=0");
    assert!(screen.contains("Saved"), "{screen}");
    let line = 1 + before.lines().position(|line| line.starts_with("index")).unwrap();
    assert_eq!(user.read("again").unwrap(), format!("line +{}\n", line + 1));
    let merged = fs::read_to_string(&file).unwrap();
    assert_eq!(merged, format!("# mine\n{before}# theirs\n"));
}

#[test]
fn an_edit_is_kept_for_later_and_then_continued() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon).env("VISUAL", "./editor");
    user.write("editor", "#!/bin/sh\nsed -i 's/^index/idnex/' \"$1\"\n");
    user.run("chmod", &["+x", "editor"]).succeeds();
    let terminal = Tmux::start(&user.command("sh"), 80, 24);
    let edit = format!("{} edit; echo status=$?", binary("regauthctl").display());
    terminal.run(&edit);
    terminal.wait_for("(d)iscard?");
    terminal.type_text("k\n");
    terminal.wait_for("status=8");

    user.write(
        "editor",
        "#!/bin/sh\nsed -i 's/^idnex.*/&\\nwrites = \"allow\"/; s/^idnex/index/' \"$1\"\n",
    );
    terminal.run(&format!("clear; {edit}"));
    terminal.wait_for("that you kept? (y/N)");
    terminal.type_text("y\n");
    let question = terminal.wait_for("Make this change? (y/N)");
    assert!(question.contains("writes such as publish are open"), "{question}");
    terminal.type_text("y\n");
    terminal.wait_for("status=0");
    assert_eq!(daemon.ctl(&["show", "corp"]).json["writes"], "allow");

    // A setting gets another value while the question is open.
    let file = daemon.home().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let drain_within = |seconds: u8| fs::write(&file, format!("drain-timeout = '{seconds}s'\n{text}")).unwrap();
    drain_within(7);
    let set = format!(
        "{} set corp kind generic; echo status=$?",
        binary("regauthctl").display()
    );
    terminal.run(&format!("clear; {set}"));
    let question = terminal.wait_for("Make this change? (y/N)");
    assert!(question.contains("settings: drain-timeout"), "{question}");
    drain_within(8);
    terminal.type_text("y\n");
    terminal.wait_for("the configuration has changed since its changes were shown");
    assert_eq!(daemon.ctl(&["show", "corp"]).json["kind"], "cargo");
}

#[test]
fn a_new_index_outside_of_the_scopes_gets_the_token_only_with_a_yes() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let other = Registry::builder(Scheme::bearer(), "another-token").start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let index = other.index();
    let refused = daemon.ctl(&["set", "corp", "index", &index]).exits(8);
    assert!(
        refused.output.stdout.contains("the token also goes to"),
        "{}",
        refused.output.report()
    );

    // By hand it is in the file without a scope. Then nobody sends the token there, not even to ask.
    let file = daemon.home().join("config.toml");
    let edited = fs::read_to_string(&file).unwrap().replace(&registry.index(), &index);
    fs::write(&file, edited).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    daemon.ctl(&["verify", "corp"]);
    daemon.rotate("corp", TOKEN);
    assert!(other.nginx.requests().is_empty(), "{:?}", other.nginx.requests());
}
