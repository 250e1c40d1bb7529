//! A person at a terminal: a program that has a pseudo-terminal of its own (`setsid --ctty` of util-linux makes it so),
//! what it shows there, and what is typed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::poll;

/// A program and the person's end of its terminal.
#[derive(Debug)]
pub struct Terminal {
    person: File,
    program: File,
    child: Child,
}

impl Terminal {
    /// Starts a command on a terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &Command) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        let program = program.unwrap();
        let mut setsid = Command::new("setsid");
        setsid
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            setsid.current_dir(folder);
        }
        let end = || program.try_clone().unwrap();
        let child = setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self {
            person: File::from(person),
            program,
            child,
        }
    }

    /// What it shows, up to and with `text`.
    ///
    /// # Panics
    /// When it ends before.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut byte = [0];
            self.person.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        String::from_utf8(seen).unwrap()
    }

    /// Types a line once the program has turned echo off, as a person's fingers do after a prompt.
    ///
    /// # Panics
    /// When it does not turn echo off.
    pub fn type_without_echo(&mut self, line: &str) {
        poll::wait_for("the terminal to stop echoing", || {
            let modes = tcgetattr(&self.program).unwrap().local_modes;
            (!modes.contains(LocalModes::ECHO)).then_some(())
        });
        self.person.write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Waits for its end: what it has shown since, and its exit status.
    ///
    /// # Panics
    /// When it does not end.
    pub fn finish(self) -> (String, ExitStatus) {
        let Self {
            mut person,
            program,
            mut child,
        } = self;
        let status = poll::wait_for("the program to end", || child.try_wait().unwrap());
        // The last end but ours: reading what is left comes to an end.
        drop(program);
        let mut rest = Vec::new();
        // Linux says EIO at the end of a terminal that nobody has open any more.
        let _ = person.read_to_end(&mut rest);
        (String::from_utf8(rest).unwrap(), status)
    }
}
