//! Real terminal: a shell in tmux, with a server of its own. A test presses keys and reads the screen.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::exec::{self, Output};
use crate::poll;

/// Shell in a terminal of a given size. The terminal ends with it.
#[derive(Debug)]
pub struct Tmux {
    folder: TempDir,
    /// Environment of the shell, for tmux's own commands.
    environment: Vec<(String, String)>,
}

impl Tmux {
    /// Starts `sh` with the environment and folder of a command, such as `user.command("sh")`.
    ///
    /// # Panics
    /// When tmux does not start.
    pub fn start(shell: &Command, width: u16, height: u16) -> Self {
        let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
        let variables = shell
            .get_envs()
            .filter_map(|(name, value)| Some((text(name), text(value?))));
        let tmux = Self {
            folder: TempDir::new().unwrap(),
            environment: variables.collect(),
        };
        let folder = shell.get_current_dir().unwrap_or(tmux.folder.path()).to_owned();
        let [width, height] = [width, height].map(|size| size.to_string());
        let size = [
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "-c",
            folder.to_str().unwrap(),
            "exec sh",
        ];
        tmux.tmux(&[&["-f", "/dev/null"], size.as_slice()].concat());
        tmux.tmux(&["set-option", "-g", "window-size", "manual"]);
        tmux.wait_until("a prompt", |screen| !screen.trim().is_empty());
        tmux
    }

    /// Types a command line and presses Enter.
    pub fn run(&self, line: &str) {
        self.type_text(line);
        self.press(&["Enter"]);
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys, by tmux's names: `Tab`, `Enter`, `Escape`, `Down`, `q`.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Resizes the terminal.
    pub fn resize(&self, width: u16, height: u16) {
        let [width, height] = [width, height].map(|size| size.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// Text on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).stdout
    }

    /// Screen with its colours as escape sequences.
    pub fn coloured_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"]).stdout
    }

    /// Waits until the screen contains a text, and returns the screen.
    ///
    /// # Panics
    /// When it never does; the message has the screen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is as wanted, and returns it.
    ///
    /// # Panics
    /// When it never is; the message has the screen.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let found = poll::within(poll::TIMEOUT, || {
            let screen = self.screen();
            is_wanted(&screen).then_some(screen)
        });
        found.unwrap_or_else(|| panic!("the screen never shows {what:?}:\n{}", self.screen()))
    }

    /// Process id of the shell.
    pub fn shell(&self) -> u32 {
        let pid = self.tmux(&["display-message", "-p", "#{pane_pid}"]).stdout;
        pid.trim().parse().unwrap()
    }

    /// Folder for files that the shell writes; it ends with the terminal.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut tmux = exec::command("tmux", self.folder.path());
        tmux.envs(self.environment.iter().map(|(name, value)| (name, value)));
        tmux.env_remove("TMUX")
            .arg("-u")
            .arg("-S")
            .arg(self.folder.path().join("tmux.sock"));
        exec::run(tmux.args(arguments)).succeeds()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut tmux = exec::command("tmux", self.folder.path());
        tmux.arg("-S")
            .arg(self.folder.path().join("tmux.sock"))
            .arg("kill-server");
        exec::run(&mut tmux);
    }
}
