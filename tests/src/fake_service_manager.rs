//! Minimal service manager: it holds listeners, passes them to each daemon that it starts, and records `sd_notify`
//! messages.

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

/// Listeners and received messages.
#[derive(Debug)]
pub struct FakeServiceManager {
    sockets: Vec<(String, OwnedFd)>,
    notify_socket: PathBuf,
    notifications: Arc<Mutex<Vec<String>>>,
    _ended: Arc<()>,
}

impl FakeServiceManager {
    /// Creates a manager without listeners. Its notification socket is in `folder`.
    ///
    /// # Panics
    /// When the socket cannot be created.
    pub fn new(folder: &Path) -> Self {
        let notify_socket = folder.join("notify");
        let socket = UnixDatagram::bind(&notify_socket).unwrap();
        let (notifications, ended) = (Arc::default(), Arc::new(()));
        let (to, alive) = (Arc::clone(&notifications), Arc::downgrade(&ended));
        socket.set_read_timeout(Some(STOP_CHECK_INTERVAL)).unwrap();
        // Messages must be read at once: the kernel queues a few, then the daemon blocks.
        std::thread::spawn(move || {
            while alive.strong_count() > 0 {
                receive(&socket, &to);
            }
        });
        Self {
            sockets: Vec::new(),
            notify_socket,
            notifications,
            _ended: ended,
        }
    }

    /// Adds a TCP listener with this descriptor name.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn add_port(&mut self, name: &str, address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        self.sockets.push((name.to_owned(), listener.into()));
    }

    /// Adds the control socket of a home with this mode and descriptor name.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn add_control_socket(&mut self, name: &str, home: &Path, mode: u32) {
        let run = home.join("run");
        DirBuilder::new().recursive(true).mode(0o700).create(&run).unwrap();
        let path = run.join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self.sockets.push((name.to_owned(), listener.into()));
    }

    /// Messages received so far.
    ///
    /// # Panics
    /// When the receiving thread panicked.
    pub fn notifications(&self) -> Vec<String> {
        self.notifications.lock().unwrap().clone()
    }

    /// Wraps a command so that it gets the listeners and the notification socket (sd_listen_fds(3), sd_notify(3)).
    pub(crate) fn pass_to(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        // LISTEN_PID must be the daemon's own process id; the shell becomes the daemon.
        shell
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("NOTIFY_SOCKET", &self.notify_socket);
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

fn receive(socket: &UnixDatagram, to: &Mutex<Vec<String>>) {
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

const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(200);
