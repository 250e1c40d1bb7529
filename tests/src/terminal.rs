//! Program on a pseudo-terminal, which `setsid --ctty` (util-linux) makes its controlling terminal. A test reads the
//! output and types input.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::poll;

/// Program and the user's end of its terminal.
#[derive(Debug)]
pub struct Terminal {
    user_end: File,
    program_end: File,
    child: Child,
}

impl Terminal {
    /// Starts a command on a new terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &Command) -> Self {
        let user_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user_end).unwrap();
        unlockpt(&user_end).unwrap();
        let name = ptsname(&user_end, Vec::new()).unwrap();
        let program_end = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        let program_end = program_end.unwrap();
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
        let end = || program_end.try_clone().unwrap();
        let child = setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self {
            user_end: File::from(user_end),
            program_end,
            child,
        }
    }

    /// Reads output up to and including `text`.
    ///
    /// # Panics
    /// When the program exits first, or is silent for a minute.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut output = Vec::new();
        let limit = Timespec::try_from(READ_LIMIT).unwrap();
        while !String::from_utf8_lossy(&output).contains(text) {
            let ready = event::poll(&mut [PollFd::new(&self.user_end, PollFlags::IN)], Some(&limit));
            assert_ne!(ready, Ok(0), "no {text:?} in {:?}", String::from_utf8_lossy(&output));
            let mut byte = [0];
            self.user_end.read_exact(&mut byte).unwrap();
            output.extend(byte);
        }
        String::from_utf8(output).unwrap()
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is closed.
    pub fn type_line(&mut self, line: &str) {
        self.user_end.write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Types a line after the program has turned echo off, as a user does at a password prompt.
    ///
    /// # Panics
    /// When it does not turn echo off.
    pub fn type_without_echo(&mut self, line: &str) {
        poll::wait_for("the terminal to stop echoing", || {
            let modes = tcgetattr(&self.program_end).unwrap().local_modes;
            (!modes.contains(LocalModes::ECHO)).then_some(())
        });
        self.user_end.write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Waits until the program exits; returns the rest of its output and the exit status.
    ///
    /// # Panics
    /// When it does not exit.
    pub fn finish(self) -> (String, ExitStatus) {
        let Self {
            mut user_end,
            program_end,
            mut child,
        } = self;
        let status = poll::wait_for("the program to end", || child.try_wait().unwrap());
        // Closes the last program end, so that reading the rest reaches the end.
        drop(program_end);
        let mut rest = Vec::new();
        // Linux reports EIO once the program's end is closed.
        let _ = user_end.read_to_end(&mut rest);
        (String::from_utf8(rest).unwrap(), status)
    }
}

/// Longest silence of a program whose output a test waits for.
const READ_LIMIT: Duration = Duration::from_secs(60);
