//! `regauthctl top` in a real terminal (tmux), with real requests to a private registry: keys, sizes, restarts, signals.

use std::fs;
use std::path::Path;
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::burst;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::screen_picture;
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-live-view";

/// User at a terminal, with a daemon and a registry.
struct Desk {
    registry: Registry,
    daemon: Daemon,
    user: User,
}

impl Desk {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
        let daemon = Daemon::start();
        daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
        let user = User::new(&daemon);
        Self { registry, daemon, user }
    }

    fn curl(&self) -> Curl {
        Curl::new().behind(&self.daemon)
    }

    /// Reads a page of the registry, and fails to write one.
    fn send_requests(&self, reads: usize) {
        for _ in 0..reads {
            let page = self.curl().get(&format!("{}index/config.json", self.registry.scope()));
            assert_eq!(page.status, 200);
        }
        let refused = self.curl().upload(&self.registry.upload(), 10);
        assert_eq!(refused.status, 403);
    }

    fn terminal(&self, width: u16, height: u16) -> Tmux {
        Tmux::start(&self.user.command("sh"), width, height)
    }

    /// Starts `top` and waits for the registry's row.
    fn top(&self, width: u16, height: u16) -> Tmux {
        let terminal = self.terminal(width, height);
        terminal.run(&top());
        terminal.wait_for("\ncorp ");
        terminal
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        self.user.ctl(arguments)
    }
}

fn top() -> String {
    format!("{} top", binary("regauthctl").display())
}

/// Cell of a table: the word below a heading, in the line that begins with `row`.
fn cell(screen: &str, row: &str, heading: &str) -> String {
    let headings = screen
        .lines()
        .find(|line| line.starts_with("REGISTRY"))
        .unwrap_or_default();
    let end = headings
        .find(heading)
        .map(|start| headings[..start].chars().count() + heading.len());
    let row = screen.lines().find(|line| line.starts_with(row)).unwrap_or_default();
    let until: String = row.chars().take(end.unwrap_or_default()).collect();
    until.split_whitespace().last().unwrap_or_default().to_owned()
}

#[test]
fn top_shows_real_requests_and_obeys_its_keys() {
    let desk = Desk::new();
    desk.send_requests(5);
    let terminal = desk.top(80, 24);
    terminal.wait_for("requests 6 ");
    let screen = terminal.wait_for("refused     write-denied 1");
    assert_eq!(cell(&screen, "corp", "REFUSED"), "1", "{screen}");
    assert_eq!(screen.lines().count(), 24, "{screen}");
    desk.send_requests(5);
    let busy = terminal.wait_until("times", |screen| cell(screen, "corp", "OWN P95").ends_with('s'));
    assert!(cell(&busy, "corp", "P50").ends_with('s'), "{busy}");
    terminal.wait_for("requests 12 ");
    assert!(screen.contains("writes      closed"), "{screen}");
    assert!(
        screen
            .lines()
            .last()
            .unwrap()
            .starts_with("q quit  ? help  Tab clients"),
        "{screen}"
    );

    terminal.press(&["Tab"]);
    // The program of a client that ends at once may stay unknown: choose one that was found.
    terminal.type_text("/curl");
    terminal.press(&["Enter"]);
    let clients = terminal.wait_until("the program of a curl", |screen| {
        ["Tab registries", "filter: curl", "\ncurl ", "/curl\n"]
            .iter()
            .all(|text| screen.contains(text))
    });
    assert!(
        clients.contains("started by") && clients.contains("requests 1 "),
        "{clients}"
    );
    terminal.press(&["Escape"]);
    terminal.wait_for("/ filter ");
    terminal.press(&["Tab", "Enter"]);
    let detail = terminal.wait_for("config.json");
    assert!(
        detail.contains("GET") && detail.contains("PUT") && detail.contains("403"),
        "{detail}"
    );
    let object = desk.ctl(&["top", "--json"]).succeeds().stdout;
    for shown in [&busy, &clients, &detail, &object] {
        LeakScan::new(TOKEN).scan("top", shown).assert_clean();
    }
    terminal.press(&["Escape"]);
    terminal.wait_for("Enter detail");

    terminal.press(&["?"]);
    terminal.wait_for("requests that regauthd answered itself");
    terminal.press(&["?"]);
    terminal.type_text("/qu");
    terminal.wait_for("filter: qu_");
    terminal.wait_for("no registry passes the filter");
    terminal.press(&["Escape"]);
    terminal.wait_for("\ncorp ");
    terminal.press(&["s"]);
    terminal.wait_for("sort: requests/s");
    terminal.press(&["p"]);
    terminal.wait_for("paused");
    terminal.press(&["p"]);

    desk.daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    terminal.wait_for("open for 4:5");
    terminal.press(&["q"]);
    let shell = terminal.wait_until("the shell's screen", |screen| !screen.contains("REGISTRY"));
    assert!(shell.contains("regauthctl top"), "{shell}");
}

#[test]
fn top_uses_a_wide_terminal_and_says_so_in_a_tiny_one() {
    let desk = Desk::new();
    desk.send_requests(2);
    let terminal = desk.top(200, 50);
    let wide = terminal.wait_for("TROUBLE");
    for heading in ["OWN P99", "UP/S", "CONNS", "REUSED", "GEN", "RENEWS", "WRITES"] {
        assert!(wide.contains(heading), "{heading}:\n{wide}");
    }
    assert_eq!(cell(&wide, "corp", "WRITES"), "closed", "{wide}");
    terminal.resize(20, 10);
    let tiny = terminal.wait_for("q quits");
    let tiny = tiny.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        tiny,
        "This terminal has 20 columns and 10 lines. top needs 40 and 8. q quits."
    );
    terminal.resize(80, 24);
    let narrow = terminal.wait_for("REFUSED EXPIRES");
    assert!(
        !narrow.contains("TROUBLE") && narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
}

#[test]
fn top_waits_while_the_daemon_restarts() {
    let mut desk = Desk::new();
    desk.send_requests(1);
    let terminal = desk.top(80, 24);
    desk.daemon.stop();
    let waiting = terminal.wait_for("daemon not running, waiting");
    assert!(waiting.contains("\ncorp "), "the last rows stay:\n{waiting}");
    desk.daemon.restart();
    terminal.wait_until("the daemon", |screen| {
        !screen.contains("waiting") && screen.contains("up 0:0")
    });
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let desk = Desk::new();
    for (signal, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let terminal = desk.terminal(80, 24);
        let [before, after] = ["before", "after"].map(|name| terminal.folder().join(name));
        terminal.run(&format!("echo the screen before; stty -a >{}", before.display()));
        terminal.run(&top());
        terminal.wait_for("\ncorp ");
        kill(signal, &terminal);
        terminal.wait_until("the shell's screen", |screen| screen.contains("the screen before"));
        terminal.run("echo status=$?");
        terminal.wait_for(&format!("\nstatus={status}"));
        terminal.run(&format!("stty -a >{}; echo end", after.display()));
        terminal.wait_for("\nend");
        assert_eq!(
            fs::read_to_string(before).unwrap(),
            fs::read_to_string(after).unwrap(),
            "SIG{signal}"
        );
    }
}

/// Sends a signal to the `top` in a terminal. Its pid is that of the shell's only child.
fn kill(signal: &str, terminal: &Tmux) {
    let shell = terminal.shell();
    let child = poll::wait_for("the shell's child", || {
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    });
    let sent = Command::new("kill").args(["-s", signal, &child]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn one_frame_is_text_or_one_json_object() {
    let desk = Desk::new();
    desk.send_requests(3);
    let text = desk.ctl(&["top", "--once"]).succeeds().stdout;
    assert!(
        text.contains("REGISTRY") && text.contains("\ncorp ") && text.contains("PROGRAM"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let object: serde_json::Value = serde_json::from_str(&desk.ctl(&["top", "--json"]).succeeds().stdout).unwrap();
    let corp = &object["registries"][0];
    assert_eq!(
        (&corp["name"], &corp["requests"], &corp["refused"]),
        (&"corp".into(), &4.into(), &1.into())
    );
    assert_eq!(corp["refusals"][0]["name"], "write-denied");
    assert!(corp["registry-time"]["p95-us"].as_u64().unwrap() > corp["own-time"]["p50-us"].as_u64().unwrap() / 100);
    assert!(object["clients"][0]["requests"].as_u64().unwrap() > 0);
    let first_line = desk.user.run("sh", &["-c", &format!("{} --once | head -1", top())]);
    assert_eq!(first_line.stderr, "", "a closed pipe is no error");
}

#[test]
fn top_says_what_it_needs() {
    let mut desk = Desk::new();
    let piped = desk
        .ctl(&["top"])
        .fails()
        .says("top draws on a terminal")
        .says("regauthctl top --once");
    assert_eq!(piped.status.code(), Some(2));
    desk.daemon.stop();
    assert_eq!(desk.ctl(&["top", "--once"]).status.code(), Some(3));
    assert_eq!(desk.ctl(&["top", "--interval", "0"]).status.code(), Some(2));
}

#[test]
fn no_color_turns_colours_off() {
    let mut desk = Desk::new();
    let is_coloured = |screen: &str| screen.contains("[38;5;6m");
    let coloured = desk.top(80, 24).coloured_screen();
    assert!(is_coloured(&coloured), "{coloured:?}");
    desk.user = User::new(&desk.daemon).env("NO_COLOR", "1");
    let plain = desk.top(80, 24).coloured_screen();
    assert!(!is_coloured(&plain), "{plain:?}");
}

/// A closed terminal reads as its end, over and over: a view that goes on would keep a core busy.
#[test]
fn top_ends_with_its_terminal() {
    let desk = Desk::new();
    let pid = desk.user.home().join("pid");
    let terminal = desk.terminal(80, 24);
    terminal.run(&format!("echo $$ >{} && exec {}", pid.display(), top()));
    terminal.wait_for("\ncorp ");
    let pid = fs::read_to_string(pid).unwrap();
    let process = std::path::PathBuf::from("/proc").join(pid.trim());
    assert!(process.exists());
    drop(terminal);
    poll::wait_for("the end of top", || (!process.exists()).then_some(()));
}

/// The README's picture, docs/top.svg, is a screen of this run. `REGAUTH_BLESS=1 cargo test -p regauth-tests --test scenarios
/// the_picture` draws it again. Numbers differ from run to run, so headings, labels and keys are compared.
#[test]
fn the_picture_in_the_readme_shows_what_top_shows() {
    let desk = Desk::new();
    let wheels = Registry::builder(Scheme::bearer(), "t0ken-of-the-wheels").start();
    desk.daemon.add_with("wheels", &wheels, &["--scope", &wheels.scope()]);
    wheels.accept(&["another-token"]);
    desk.daemon.ctl(&["verify", "wheels"]).exits(4);
    desk.daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let terminal = desk.top(100, 22);
    let page = format!("{}index/config.json", desk.registry.scope());
    let mut sent = 0;
    for requests in [20, 45, 70, 30, 60, 110, 150, 90, 130, 40] {
        assert!(
            burst::send(&desk.daemon, &page, requests, 2)
                .iter()
                .all(|status| *status == 200)
        );
        sent += requests;
        terminal.wait_for(&format!("requests {sent} "));
    }
    let picture = screen_picture::svg(&terminal.coloured_screen(), 100);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/top.svg");
    if std::env::var_os("REGAUTH_BLESS").is_some() {
        fs::write(&file, &picture).unwrap();
    }
    let words = |svg: &str| -> Vec<String> {
        let lines = screen_picture::text(svg).into_iter();
        let is_name =
            |word: &&str| word.chars().all(|letter| letter.is_alphabetic() || letter == '/') && word.len() > 2;
        lines
            .flat_map(|line| {
                line.split_whitespace()
                    .filter(is_name)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let shown = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        words(&shown),
        words(&picture),
        "docs/top.svg is old; REGAUTH_BLESS=1 draws it again"
    );
}
