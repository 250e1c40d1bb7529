//! A service manager as small as can be: it holds the listeners, passes them to each daemon that it starts, and hears what
//! the daemon says of itself.

use std::fs::DirBuilder;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

/// The sockets and what was heard.
#[derive(Debug)]
pub struct FakeServiceManager {
    sockets: Vec<(String, OwnedFd)>,
    hearing: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    _ended: Arc<()>,
}

impl FakeServiceManager {
    /// Holds nothing yet. It hears on a socket in `folder`.
    ///
    /// # Panics
    /// When that cannot be made.
    pub fn new(folder: &Path) -> Self {
        let hearing = folder.join("notify");
        let socket = UnixDatagram::bind(&hearing).unwrap();
        let (heard, ended) = (Arc::default(), Arc::new(()));
        let (to, alive) = (Arc::clone(&heard), Arc::downgrade(&ended));
        socket.set_read_timeout(Some(LOOK)).unwrap();
        // A daemon's words must be taken at once: the kernel keeps a few, then the daemon waits.
        std::thread::spawn(move || {
            while alive.strong_count() > 0 {
                hear(&socket, &to);
            }
        });
        Self {
            sockets: Vec::new(),
            hearing,
            heard,
            _ended: ended,
        }
    }

    /// Holds a port for the proxy, under this name.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn port(&mut self, name: &str, address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        self.sockets.push((name.to_owned(), listener.into()));
    }

    /// Holds the control socket of a home, with this mode, under this name.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn control(&mut self, name: &str, home: &Path, mode: u32) {
        let run = home.join("run");
        DirBuilder::new().recursive(true).mode(0o700).create(&run).unwrap();
        let path = run.join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self.sockets.push((name.to_owned(), listener.into()));
    }

    /// What it has been told so far, one message an item.
    ///
    /// # Panics
    /// When another thread has, with the list.
    pub fn notifications(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Makes a command one that this manager starts (sd_listen_fds(3), sd_notify(3)).
    pub(crate) fn pass_to(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        // The process id is known to none but the process itself.
        shell
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("NOTIFY_SOCKET", &self.hearing);
        if self.sockets.is_empty() {
            return shell;
        }
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        shell
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let descriptors = (3..).zip(&self.sockets).map(|(number, (_, socket))| FdMapping {
            parent_fd: socket.try_clone().unwrap(),
            child_fd: number,
        });
        shell.fd_mappings(descriptors.collect()).unwrap();
        shell
    }
}

fn hear(socket: &UnixDatagram, to: &Mutex<Vec<String>>) {
    let mut message = [0; 4096];
    match socket.recv(&mut message) {
        Ok(length) => to
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(&message[..length]).into_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
        Err(error) => panic!("{error}"),
    }
}

const LOOK: Duration = Duration::from_millis(200);
