//! Prompts on a real pseudo-terminal, which `setsid --ctty` of util-linux makes the program's controlling terminal.

mod index_offers;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::peer::{Home, golden};

/// Both ends of a pseudo-terminal.
struct Terminal {
    controller: File,
    program: File,
}

impl Terminal {
    fn open() -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        Self {
            controller: File::from(controller),
            program: program.unwrap(),
        }
    }

    fn run(&self, home: &Home, arguments: &[&str]) -> Child {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_regauthctl")]);
        command.args(arguments).env("REGAUTH_HOME", home.path());
        command
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CARGO_HOME");
        let end = || self.program.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut byte = [0];
            self.controller.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        String::from_utf8(seen).unwrap()
    }

    fn type_in(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the program has turned echo off, which it does after the prompt.
    fn wait_until_echo_is_off(&self) {
        while self.modes().contains(LocalModes::ECHO) {
            std::thread::yield_now();
        }
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.program).unwrap().local_modes
    }
}

#[test]
fn prompts_for_a_token_with_name_and_scheme_without_echo() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["rotate", "corp"]);
    terminal.read_until("New token for corp (basic, me@corp.example), for corp.example and dl.corp.example:8443: ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("s3cret-token\r");
    let seen = terminal.read_until("generation 4");
    assert!(!seen.contains("s3cret"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests(), [golden("request/show"), golden("request/rotate")]);
    assert!(terminal.modes().contains(DEFAULT_MODES));
}

const ANSWERS_TO_THE_WIZARD: [(&str, &str); 8] = [
    ("Name (as in cargo's configuration, such as corp): ", "No Name\r"),
    ("starts with a letter or a digit", ""),
    ("Name (as in cargo's configuration, such as corp): ", "corp\r"),
    ("nothing for another kind of registry): ", "1\r"),
    (
        "git/crates.git\r\nIndex, or https:// URL: ",
        "sparse+https://x.example/\r",
    ),
    ("Use this URL? (y/N) ", "n\r"),
    (
        "https:// URL: ",
        " registry = \"https://x.example/artifactory/api/cargo/crates/index/\" \r",
    ),
    ("used as a password): ", "me@corp.example\r"),
];

#[test]
fn prompts_for_every_value_of_add_registry() {
    let (home, peer) = Home::answering(&[
        golden("error/not-found"),
        golden("response/check-registry"),
        golden("response/add-registry"),
    ]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["add-registry"]);
    for (question, answer) in ANSWERS_TO_THE_WIZARD {
        terminal.read_until(question);
        terminal.type_in(answer);
    }
    terminal.read_until("Token for corp (basic, me@corp.example): ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("\"Bearer s3cret-token\"\r");
    let seen = terminal.read_until("Added corp") + &terminal.read_until("--token-stdin");
    assert!(!seen.contains("s3cret"), "{seen}");
    assert!(seen.contains("words around the token were left out"), "{seen}");
    assert!(
        seen.ends_with(
            "The same without questions:\r\n\r\nregauthctl add-registry corp --preset artifactory --index \
             sparse+https://x.example/artifactory/api/cargo/crates/index/ --username me@corp.example --token-stdin"
        ),
        "{seen}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let requests = peer.requests();
    let [_, check, add] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert!(
        check.contains("check-registry") && !check.contains("token\""),
        "{check}"
    );
    let expected = concat!(
        r#""scheme":"basic","username":"me@corp.example","#,
        r#""rejected-by":[400,401,403],"token":"s3cret-token""#
    );
    assert!(add.contains(expected), "{add}");
}

#[test]
fn shows_what_a_reload_changes_before_polkit_asks() {
    for (hello, requests) in [
        (
            r#"{"hello":{"versions":[1],"daemon":"0.1.0","asks":true}}"#.to_owned(),
            vec!["reload-check", "reload-reviewed"],
        ),
        (golden("hello"), vec!["reload"]),
    ] {
        let home = Home::empty();
        let answers = requests.iter().map(|_| golden("response/reload-changes")).collect();
        let peer = home.peer(hello, answers);
        let mut terminal = Terminal::open();
        let mut child = terminal.run(&home, &["reload"]);
        let (first, last) = match requests.len() {
            1 => ("Reloaded; ", "settings: notify"),
            _ => ("settings: notify", "Reloaded; "),
        };
        let seen = terminal.read_until(first) + &terminal.read_until(last);
        assert!(seen.contains("corp  writes  (default) -> \"allow\""), "{seen}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let expected: Vec<_> = requests.iter().map(|name| golden(&format!("request/{name}"))).collect();
        assert_eq!(peer.requests(), expected);
    }
}

#[test]
fn prompts_for_the_tokens_to_import_and_their_removal() {
    let (home, peer) = Home::answering(&[golden("response/list-least"), golden("response/add-registry-offers")]);
    let netrc = home.path().join(".netrc");
    std::fs::write(&netrc, "machine corp.example login me password s3cret-token\n").unwrap();
    std::fs::create_dir(home.path().join("state")).unwrap();
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["import"]);
    let mut seen = terminal.read_until("numbers, names, all, or nothing) ");
    terminal.type_in("corp-example\r");
    seen += &terminal.read_until("Send the token there as well? (y/N) ");
    terminal.type_in("n\r");
    seen += &terminal.read_until("--forget-backup`. (y/N) ");
    terminal.type_in("y\r");
    seen += &terminal.read_until("deletes the copies");
    assert!(seen.contains("does not get the token"), "{seen}");
    assert!(seen.contains("(12 characters)") && !seen.contains("s3cret"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(netrc).unwrap(), "");
    let requests = peer.requests().concat();
    let expected =
        r#""scopes":["https://corp.example/"],"kind":"generic","scheme":"basic","username":"me","token":"s3cret"#;
    assert!(requests.contains(expected), "{requests}");
}

#[test]
fn prompts_without_echo_for_token_stdin_at_a_terminal() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["rotate", "corp", "--token-stdin"]);
    terminal.read_until("New token");
    terminal.wait_until_echo_is_off();
    terminal.type_in("s3cret-token\r");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests().last(), Some(&golden("request/rotate")));
}

#[test]
fn drops_what_is_pasted_after_the_first_line_of_a_token() {
    for rest in ["s3cret-rest\r", "s3cret-rest"] {
        let (home, peer) = Home::answering(&[golden("response/show")]);
        let mut terminal = Terminal::open();
        let mut child = terminal.run(&home, &["rotate", "corp"]);
        terminal.read_until("New token");
        terminal.wait_until_echo_is_off();
        terminal.type_in(&format!("s3cret-first\r{rest}"));
        let seen = terminal.read_until("paste it as one line");
        assert_eq!(child.wait().unwrap().code(), Some(2));
        assert!(!seen.contains("s3cret"), "{seen}");
        assert_eq!(peer.requests(), [golden("request/show")]);
        assert_eq!(rustix::io::ioctl_fionread(&terminal.program).unwrap(), 0);
        assert!(terminal.modes().contains(DEFAULT_MODES));
    }
}

#[test]
fn accepts_a_token_with_blank_lines_after_it() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["rotate", "corp"]);
    terminal.read_until("New token");
    terminal.wait_until_echo_is_off();
    terminal.type_in("s3cret-token\r \r\r");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests(), [golden("request/show"), golden("request/rotate")]);
}

#[test]
fn does_not_prompt_without_a_daemon() {
    let (home, mut terminal) = (Home::empty(), Terminal::open());
    let arguments = ["add-registry", "corp", "--scope", "https://corp.example/"];
    let mut child = terminal.run(&home, &arguments);
    assert!(!terminal.read_until("hint:").contains("Token for"));
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn restores_the_terminal_after_ctrl_c_and_sigterm() {
    for kill in [None, Some(rustix::process::Signal::TERM)] {
        let (home, _peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
        let mut terminal = Terminal::open();
        let mut child = terminal.run(&home, &["rotate", "corp"]);
        terminal.read_until("New token");
        terminal.wait_until_echo_is_off();
        match kill {
            None => terminal.type_in("\u{3}"),
            // `setsid` is the parent of the program, or the program itself if it did not fork.
            Some(signal) => rustix::process::kill_process(program(&child), signal).unwrap(),
        }
        assert!(!child.wait().unwrap().success());
        assert!(
            terminal.modes().contains(DEFAULT_MODES),
            "{kill:?}: {:?}",
            terminal.modes()
        );
    }
}

#[test]
fn prompts_for_the_passphrase_of_a_vault() {
    let (home, peer) = Home::answering(&[golden("response/status-locked"), golden("response/unlock")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock"]);
    terminal.read_until("Passphrase of the vault: ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("correct horse battery staple\r");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests(), [golden("request/status"), golden("request/unlock")]);
}

#[test]
fn prompts_twice_without_echo_for_a_new_passphrase() {
    let (home, peer) = Home::answering(&[golden("response/status"), golden("response/unlock")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock", "--set-passphrase"]);
    terminal.read_until("New passphrase of the vault: ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("correct horse battery staple\r");
    terminal.read_until("The same again: ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("correct horse battery staple\r");
    let seen = terminal.read_until("regauthctl unlock");
    assert!(!seen.contains("horse"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let expected = [golden("request/status"), golden("request/unlock-set-passphrase")];
    assert_eq!(peer.requests(), expected);
}

#[test]
fn changes_nothing_if_two_passphrases_differ() {
    let (home, _peer) = Home::answering(&[golden("response/status"), golden("error/failed")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock", "--set-passphrase"]);
    for (prompt, typed) in [
        ("New passphrase of the vault: ", "one of twelve\r"),
        ("The same again: ", "two of twelve\r"),
    ] {
        terminal.read_until(prompt);
        terminal.wait_until_echo_is_off();
        terminal.type_in(typed);
    }
    terminal.read_until("nothing was changed");
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn refuses_a_passphrase_of_one_letter_before_it_asks_again() {
    let (home, peer) = Home::answering(&[golden("response/status")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock", "--set-passphrase"]);
    terminal.read_until("New passphrase of the vault: ");
    terminal.wait_until_echo_is_off();
    terminal.type_in("x\r");
    let seen = terminal.read_until("nothing was changed");
    assert!(seen.contains("at least 12 characters"), "{seen}");
    assert!(!seen.contains("again"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(peer.requests(), [golden("request/status")]);
}

#[test]
fn does_not_prompt_for_an_open_store() {
    let (home, peer) = Home::answering(&[golden("response/status"), golden("response/unlock")]);
    let terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests().last(), Some(&golden("request/unlock-least")));
}

fn program(child: &Child) -> rustix::process::Pid {
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let of_setsid = std::fs::read_to_string(children).unwrap();
    let id = of_setsid
        .split_whitespace()
        .next()
        .map_or(child.id(), |id| id.parse().unwrap());
    rustix::process::Pid::from_raw(id.cast_signed()).unwrap()
}

const DEFAULT_MODES: LocalModes = LocalModes::ECHO.union(LocalModes::ICANON).union(LocalModes::ISIG);
