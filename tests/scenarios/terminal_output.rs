//! Output at a terminal: colours, line breaks, a sign of life, a question before a token is deleted. Pipes get plain text.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::held_server::HeldServer;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-at-a-terminal";

/// Runs `regauthctl` at the terminal until it has ended, and returns the screen.
fn run(terminal: &Tmux, arguments: &str) -> String {
    terminal.run(&format!(
        "clear; {} {arguments}; echo status=$?",
        binary("regauthctl").display()
    ));
    terminal.wait_until("the exit status", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("status=") && !line.contains('$'))
    })
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn colours_mark_states_and_errors_at_a_terminal_only() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    let terminal = Tmux::start(&user.command("sh"), 120, 24);

    run(&terminal, "list");
    let list = terminal.coloured_screen();
    assert!(list.contains("\u{1b}[32mready"), "{list}");
    run(&terminal, "show nobody");
    let error = terminal.coloured_screen();
    assert!(
        error.contains("\u{1b}[1m\u{1b}[31merror:") && error.contains("36mhint:"),
        "{error}"
    );

    for plain in ["list | cat", "list --json"] {
        run(&terminal, plain);
        let screen = terminal.coloured_screen();
        assert!(
            screen.contains("ready") && !screen.contains("\u{1b}[32m"),
            "{plain}\n{screen}"
        );
    }
    terminal.run("export NO_COLOR=1");
    run(&terminal, "list");
    assert!(!terminal.coloured_screen().contains("\u{1b}[32m"));
    let piped = user.ctl(&["show", "nobody"]).fails();
    assert!(!piped.stderr.contains('\u{1b}'), "{}", piped.report());
}

#[test]
fn help_and_hints_break_between_words_at_80_columns() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    let terminal = Tmux::start(&user.command("sh"), 80, 250);
    for arguments in ["--help", "help add-registry", "help set"] {
        let screen = run(&terminal, arguments);
        let (shown, _) = screen.split_once("status=").unwrap();
        let piped = user.ctl(&arguments.split(' ').collect::<Vec<_>>()).succeeds().stdout;
        assert!(words(shown).ends_with(&words(&piped)), "{screen}");
    }
    // A command in backticks stays on one line, so that it can be copied.
    let screen = run(&terminal, "restart");
    assert!(
        screen.contains("hint: under systemd") && screen.contains("\n  "),
        "{screen}"
    );
    assert!(
        words(&screen).contains("by hand: `regauthctl stop --wait`, then `regauthd`"),
        "{screen}"
    );
}

#[test]
fn a_wide_table_continues_below_itself() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    let hosts: Vec<String> = (1..=4)
        .map(|number| format!("https://host-{number}.corp.example/"))
        .collect();
    let scopes: Vec<&str> = hosts.iter().flat_map(|host| ["--scope", host]).collect();
    daemon.add_with("corp", &registry, &scopes);
    let user = User::new(&daemon);
    let terminal = Tmux::start(&user.command("sh"), 80, 24);
    let screen = run(&terminal, "list");
    let column = screen.lines().find_map(|line| line.find("HOSTS")).unwrap();
    for host in hosts {
        let host = host.trim_start_matches("https://").trim_end_matches('/');
        let line = screen.lines().find(|line| line.contains(host)).unwrap();
        assert_eq!(line.find(host), Some(column), "{screen}");
    }
    let piped = user.ctl(&["list"]).succeeds().stdout;
    assert_eq!(piped.lines().count(), 2, "{piped}");
}

#[test]
fn a_sign_of_life_shows_what_is_waited_for_and_disappears() {
    let server = HeldServer::start(&["/index/"]);
    let daemon = Daemon::start();
    let location = server.location("/index/");
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let add = [&["add-registry", "corp", "--token-stdin", "--no-verify"], &location[..]].concat();
    daemon.ctl_with_input(&add, TOKEN).succeeds();
    let user = User::new(&daemon);
    let terminal = Tmux::start(&user.command("sh"), 80, 24);
    terminal.run(&format!(
        "{} verify corp; echo status=$?",
        binary("regauthctl").display()
    ));
    terminal.wait_for("waiting for the registry (1 s)");
    server.release();
    let screen = terminal.wait_until("the exit status", |screen| {
        screen.lines().any(|line| line.starts_with("status="))
    });
    assert!(!screen.contains("waiting for"), "{screen}");
}

#[test]
fn remove_registry_asks_at_a_terminal_and_familiar_names_work() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    let terminal = Tmux::start(&user.command("sh"), 80, 24);
    let remove = format!("{} rm corp; echo status=$?", binary("regauthctl").display());
    for (answer, status) in [("n", "status=8"), ("y", "status=0")] {
        terminal.run(&format!("clear; {remove}"));
        terminal.wait_for("Remove corp and delete its token? (y/N)");
        assert_eq!(daemon.ctl(&["ls"]).json["registries"].as_array().unwrap().len(), 1);
        terminal.type_text(&format!("{answer}\n"));
        terminal.wait_for(status);
    }
    assert_eq!(daemon.ctl(&["list"]).json["registries"].as_array().unwrap().len(), 0);
    for (verb, says) in [
        ("start", "service install"),
        ("token", "no command shows a token"),
        ("lst", "list"),
    ] {
        let refused = daemon.ctl(&[verb]).exits(2);
        assert!(refused.output.stdout.contains(says), "{}", refused.output.report());
    }
}

#[test]
fn logout_deletes_the_token_alone_and_login_stores_another() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    daemon.ctl(&["logout", "corp"]).succeeds();
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "missing");
    let user = User::new(&daemon);
    let mut login = user.command(binary("regauthctl"));
    login.args(["login", "corp"]);
    let mut terminal = regauth_tests::terminal::Terminal::start(&login);
    // The hosts are named: a program may have added a registry of that name.
    terminal.read_until(&format!(
        "New token for corp (bearer), for {}: ",
        registry.nginx.authority()
    ));
    terminal.type_without_echo(TOKEN);
    let (rest, status) = terminal.finish();
    assert!(status.success(), "{rest}");
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "ready");
    daemon.ctl(&["logout", "corp"]).succeeds();
    daemon
        .ctl_with_input(&["login", "corp", "--token-stdin"], TOKEN)
        .succeeds();
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "ready");
}
