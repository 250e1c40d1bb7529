//! dunst, a real notification daemon, on a session bus and an X server without a screen.

use std::path::Path;

use tempfile::TempDir;

use crate::exec;
use crate::poll;
use crate::process::Process;

/// Running notification daemon.
#[derive(Debug)]
pub struct NotificationDaemon {
    // Drop order: dunst before its display.
    dunst: Process,
    _display: Process,
    _folder: TempDir,
}

impl NotificationDaemon {
    /// Starts dunst on the bus of this address, such as [`Keyring::address`](crate::keyring::Keyring::address).
    ///
    /// # Panics
    /// When it does not own its name on the bus in time.
    pub fn start(bus: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (display, name) = start_display(folder.path());
        let mut dunst = exec::command("dunst", folder.path());
        dunst.arg("-print").env("DISPLAY", name);
        dunst.env("DBUS_SESSION_BUS_ADDRESS", bus);
        let mut dunst = Process::spawn("dunst", &mut dunst, &folder.path().join("dunst.log"));
        let mut ask = exec::command("dbus-send", folder.path());
        ask.env("DBUS_SESSION_BUS_ADDRESS", bus).args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.Notifications",
            "/org/freedesktop/Notifications",
            "org.freedesktop.Notifications.GetServerInformation",
        ]);
        dunst.wait_until("its name on the bus", || {
            exec::run(&mut ask).status.success().then_some(())
        });
        Self {
            dunst,
            _display: display,
            _folder: folder,
        }
    }

    /// All that dunst printed about the notifications that it has shown.
    pub fn log(&self) -> String {
        self.dunst.log()
    }

    /// Notifications that were shown, in order: summary and body.
    pub fn shown(&self) -> Vec<(String, String)> {
        let log = self.log();
        let values = |key: &str| -> Vec<String> {
            let start = format!("\t{key}: '");
            let value = |line: &str| Some(line.strip_prefix(&start)?.strip_suffix('\'')?.to_owned());
            log.lines().filter_map(value).collect()
        };
        values("summary").into_iter().zip(values("body")).collect()
    }

    /// Waits for a notification whose summary contains a text, and returns its body.
    ///
    /// # Panics
    /// When it is not shown in time.
    pub fn wait_for(&self, text: &str) -> String {
        poll::wait_for(text, || {
            let shown = self.shown();
            let (_, body) = shown.into_iter().find(|(summary, _)| summary.contains(text))?;
            Some(body)
        })
    }
}

/// Starts an X server, which chooses a free display, and returns the display's name.
fn start_display(folder: &Path) -> (Process, String) {
    let mut server = exec::command("Xvfb", folder);
    server.args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]);
    let mut server = Process::spawn("Xvfb", &mut server, &folder.join("xvfb.log"));
    let number = server.log_file().to_owned();
    let number = server.wait_until("its display", || {
        let log = std::fs::read_to_string(&number).ok()?;
        let mut numbers = log.lines().filter_map(|line| line.parse::<u32>().ok());
        numbers.next().filter(|_| log.ends_with('\n'))
    });
    (server, format!(":{number}"))
}
