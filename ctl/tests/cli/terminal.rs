//! The prompt, on a real pseudo-terminal that is the program's own (`setsid --ctty` of util-linux makes it so).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::peer::{Home, golden};

/// A person's end of a terminal, and the program's.
struct Terminal {
    person: File,
    program: File,
}

impl Terminal {
    fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        Self {
            person: File::from(person),
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
            self.person.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        String::from_utf8(seen).unwrap()
    }

    fn type_in(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    /// Waits, as a person's fingers do, until the program has turned echo off after its prompt.
    fn wait_for_silence(&self) {
        while self.modes().contains(LocalModes::ECHO) {
            std::thread::yield_now();
        }
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.program).unwrap().local_modes
    }
}

#[test]
fn a_token_is_asked_for_by_name_and_scheme_and_not_echoed() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["rotate", "corp"]);
    terminal.read_until("New token for corp (basic, me@corp.example): ");
    terminal.wait_for_silence();
    terminal.type_in("s3cret-token\r");
    let seen = terminal.read_until("generation 4");
    assert!(!seen.contains("s3cret"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests(), [golden("request/show"), golden("request/rotate")]);
    assert!(terminal.modes().contains(USUAL));
}

#[test]
fn add_registry_asks_its_way_through() {
    let (home, peer) = Home::answering(&[golden("response/add-registry")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["add-registry"]);
    for (question, answer) in [
        ("Name (as cargo calls it, such as corp): ", "No Name\r"),
        ("starts with a letter or a digit", ""),
        ("Name (as cargo calls it, such as corp): ", "corp\r"),
        ("nothing for another) ", "1\r"),
        ("Index, or https:// place: ", "sparse+https://x.example/\r"),
        ("does not have its index there", ""),
        (
            "place: ",
            "sparse+https://x.example/artifactory/api/cargo/crates/index/\r",
        ),
        ("be a password): ", "me@corp.example\r"),
    ] {
        terminal.read_until(question);
        terminal.type_in(answer);
    }
    terminal.read_until("Token for corp (basic, me@corp.example): ");
    terminal.wait_for_silence();
    terminal.type_in("s3cret-token\r");
    terminal.read_until("Added corp");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        peer.requests()
            .concat()
            .contains(r#""scheme":"basic","username":"me@corp.example""#)
    );
}

#[test]
fn import_shows_what_it_found_and_asks_what_to_take_and_whether_to_take_it_out() {
    let (home, peer) = Home::answering(&[golden("response/list-least"), golden("response/add-registry")]);
    let netrc = home.path().join(".netrc");
    std::fs::write(&netrc, "machine corp.example login me password s3cret-token\n").unwrap();
    std::fs::create_dir(home.path().join("state")).unwrap();
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["import"]);
    let mut seen = terminal.read_until("numbers, names, all, or nothing) ");
    terminal.type_in("corp-example\r");
    seen += &terminal.read_until("--forget-backup`. (y/N) ");
    terminal.type_in("y\r");
    seen += &terminal.read_until("deletes the copies");
    assert!(seen.contains("(12 characters)") && !seen.contains("s3cret"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(netrc).unwrap(), "");
    let asked = peer.requests().concat();
    let wanted =
        r#""scopes":["https://corp.example/"],"kind":"generic","scheme":"basic","username":"me","token":"s3cret"#;
    assert!(asked.contains(wanted), "{asked}");
}

#[test]
fn token_stdin_at_a_terminal_does_not_echo_either() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["rotate", "corp", "--token-stdin"]);
    terminal.read_until("New token");
    terminal.wait_for_silence();
    terminal.type_in("s3cret-token\r");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests().last(), Some(&golden("request/rotate")));
}

#[test]
fn nobody_is_asked_when_there_is_no_daemon() {
    let (home, mut terminal) = (Home::empty(), Terminal::open());
    let arguments = ["add-registry", "corp", "--scope", "https://corp.example/"];
    let mut child = terminal.run(&home, &arguments);
    assert!(!terminal.read_until("hint: ").contains("Token for"));
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn ctrl_c_and_a_signal_leave_the_terminal_as_it_was() {
    for kill in [None, Some(rustix::process::Signal::TERM)] {
        let (home, _peer) = Home::answering(&[golden("response/show"), golden("response/rotate")]);
        let mut terminal = Terminal::open();
        let mut child = terminal.run(&home, &["rotate", "corp"]);
        terminal.read_until("New token");
        terminal.wait_for_silence();
        match kill {
            None => terminal.type_in("\u{3}"),
            // `setsid` is the parent, or the program itself where it needs no fork.
            Some(signal) => rustix::process::kill_process(program(&child), signal).unwrap(),
        }
        assert!(!child.wait().unwrap().success());
        assert!(terminal.modes().contains(USUAL), "{kill:?}: {:?}", terminal.modes());
    }
}

#[test]
fn a_vault_asks_for_its_passphrase() {
    let (home, peer) = Home::answering(&[golden("response/status-locked"), golden("response/unlock")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock"]);
    terminal.read_until("Passphrase of the vault: ");
    terminal.wait_for_silence();
    terminal.type_in("correct horse battery staple\r");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(peer.requests(), [golden("request/status"), golden("request/unlock")]);
}

#[test]
fn a_new_passphrase_is_asked_for_twice_without_echo() {
    let (home, peer) = Home::answering(&[golden("response/status"), golden("response/unlock")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock", "--set-passphrase"]);
    terminal.read_until("New passphrase of the vault: ");
    terminal.wait_for_silence();
    terminal.type_in("correct horse battery staple\r");
    terminal.read_until("The same again: ");
    terminal.wait_for_silence();
    terminal.type_in("correct horse battery staple\r");
    let seen = terminal.read_until("regauthctl unlock");
    assert!(!seen.contains("horse"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let expected = [golden("request/status"), golden("request/unlock-set-passphrase")];
    assert_eq!(peer.requests(), expected);
}

#[test]
fn two_passphrases_that_differ_change_nothing() {
    let (home, _peer) = Home::answering(&[golden("response/status"), golden("error/failed")]);
    let mut terminal = Terminal::open();
    let mut child = terminal.run(&home, &["unlock", "--set-passphrase"]);
    for (prompt, typed) in [
        ("New passphrase of the vault: ", "one\r"),
        ("The same again: ", "two\r"),
    ] {
        terminal.read_until(prompt);
        terminal.wait_for_silence();
        terminal.type_in(typed);
    }
    terminal.read_until("nothing was changed");
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_store_that_is_open_asks_for_nothing() {
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

const USUAL: LocalModes = LocalModes::ECHO.union(LocalModes::ICANON).union(LocalModes::ISIG);
