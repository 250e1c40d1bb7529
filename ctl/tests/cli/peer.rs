//! Scripted daemon on a control socket, and runs of the real program against it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// Temporary folder for `--home`, with or without a scripted daemon.
pub(crate) struct Home {
    folder: TempDir,
}

/// Result of one run of the program.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Scripted daemon in a thread; it ends with its last answer.
pub(crate) struct Peer(JoinHandle<Vec<String>>);

impl Home {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        Self { folder }
    }

    /// Home folder with a daemon that sends regauthd's hello and gives these answers in turn, one a connection.
    pub(crate) fn answering(answers: &[String]) -> (Self, Peer) {
        let home = Self::empty();
        let peer = home.peer(golden("hello"), answers.to_vec());
        (home, peer)
    }

    /// Starts a daemon with this hello line and these answers.
    pub(crate) fn peer(&self, greeting: String, answers: Vec<String>) -> Peer {
        let listener = UnixListener::bind(self.socket()).unwrap();
        Peer(std::thread::spawn(move || serve(&listener, &greeting, &answers)))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("run/control.sock")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Command of the program with this home folder and no other variables.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(arguments, [("REGAUTH_HOME", self.path())])
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments), b"")
    }

    pub(crate) fn run_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        run(self.command(arguments), stdin)
    }
}

impl Peer {
    /// Waits for the daemon's end and returns the requests. Connections without a request are left out.
    pub(crate) fn requests(self) -> Vec<String> {
        self.0.join().unwrap()
    }
}

fn serve(listener: &UnixListener, greeting: &str, answers: &[String]) -> Vec<String> {
    let mut requests = Vec::new();
    while let Some(answer) = answers.get(requests.len()) {
        let (mut stream, _) = listener.accept().unwrap();
        // A client that rejects the hello has closed the connection already.
        let _ = stream.write_all(format!("{greeting}\n").as_bytes());
        let mut line = String::new();
        let has_request = BufReader::new(&stream).read_line(&mut line).unwrap_or_default() > 0;
        if has_request {
            requests.push(line.trim_end().to_owned());
            let _ = stream.write_all(format!("{answer}\n").as_bytes());
        }
    }
    requests
}

/// Command of the program with only these variables in its environment.
pub(crate) fn command<K: AsRef<OsStr>, V: AsRef<OsStr>>(
    arguments: &[&str],
    environment: impl IntoIterator<Item = (K, V)>,
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regauthctl"));
    command.args(arguments).env_clear().envs(environment);
    command
}

/// Runs a command to its end with `stdin` as its input.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Run {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The write fails if the program ends without reading its stdin.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Run {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Line of one golden file of the protocol.
pub(crate) fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    text.trim_end().to_owned()
}
