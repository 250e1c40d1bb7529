//! `regauthctl` without a verb, in a real terminal and with `--json`: the state and the one next step, from the first start to a busy day.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-overview";

/// Runs `regauthctl` alone at a terminal, and returns the screen once it shows the next step.
fn overview(user: &User) -> String {
    let terminal = Tmux::start(&user.command("sh"), 100, 24);
    terminal.run(&format!("{}; echo status=$?", binary("regauthctl").display()));
    terminal.wait_for("\nstatus=")
}

fn next(screen: &str) -> &str {
    let line = screen.lines().find_map(|line| line.strip_prefix("next: "));
    line.unwrap_or_else(|| panic!("no next step:\n{screen}"))
}

#[test]
fn the_next_step_leads_from_the_first_start_to_a_working_client() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let mut daemon = Daemon::start();
    let user = User::new(&daemon);

    let empty = overview(&user);
    assert_eq!(next(&empty), "regauthctl add-registry (asks for everything)", "{empty}");

    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let unused = overview(&user);
    assert_eq!(next(&unused), "regauthctl setup cargo", "{unused}");
    let labels: Vec<_> = unused
        .lines()
        .skip(1)
        .take(5)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        labels,
        ["regauthd", "store", "registries", "clients", "traffic"],
        "{unused}"
    );
    assert!(unused.contains("corp (ready)"), "{unused}");

    user.ctl(&["setup", "cargo"]).succeeds();
    let page = Curl::new()
        .behind(&daemon)
        .get(&format!("{}index/config.json", registry.scope()));
    assert_eq!(page.status, 200);
    let busy = overview(&user);
    assert!(
        next(&busy).starts_with("regauthctl top") && busy.contains("cargo is set up"),
        "{busy}"
    );
    assert!(busy.contains("status=0"), "{busy}");

    registry.accept(&["another-token"]);
    daemon.ctl(&["verify", "corp"]).exits(4);
    let rejected = overview(&user);
    assert!(next(&rejected).contains("regauthctl login corp"), "{rejected}");

    daemon.stop();
    let stopped = overview(&user);
    assert!(next(&stopped).contains("regauthd"), "{stopped}");
    assert!(stopped.contains("status=3"), "{stopped}");
}

#[test]
fn a_program_without_a_verb_gets_the_overview_as_json() {
    let mut daemon = Daemon::start();
    let running = daemon.ctl(&[]).succeeds().json;
    assert_eq!(running["status"]["pid"], daemon.pid(), "{running}");
    assert_eq!(
        running["next"]["step"], "regauthctl add-registry (asks for everything)",
        "{running}"
    );

    daemon.stop();
    let stopped = daemon.ctl(&[]).exits(3).json;
    assert!(stopped.get("status").is_none(), "{stopped}");
    let step = stopped["next"]["step"].as_str().unwrap();
    assert!(step.contains("regauthd"), "{stopped}");
}

#[test]
fn a_script_without_a_verb_gets_the_usage() {
    let daemon = Daemon::start();
    let output = User::new(&daemon)
        .ctl(&[])
        .fails()
        .says("Usage: regauthctl [OPTIONS] <COMMAND>");
    assert_eq!((output.status.code(), output.stdout.as_str()), (Some(2), ""));
}
