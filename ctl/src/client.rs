//! Client of the control socket: connects, checks the socket's owner, reads the daemon's hello, writes one line, reads one
//! line.
//!
//! The client blocks: one request and one response need no runtime. Every read and write has a timeout. When the answer is
//! late, the client asks on another connection for the daemon's hello: a daemon that hangs is reported as unreachable, and
//! one that is busy with a slow registry, source or store is waited for. The daemon has deadlines for these.

mod connection;
mod release;
mod waiting;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use regauth_shared::frame::Answer;
use regauth_shared::paths::Folders;
use regauth_shared::presence::{Asks, Guarded};
use regauth_shared::request::Nothing;
use regauth_shared::response::AuditFiles;
use regauth_shared::version::{Greeting, Hello, PROTOCOL};
use regauth_shared::{ErrorBody, Request};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(crate) use self::connection::Lines;
use self::connection::{Connection, LOCAL_TIMEOUT, timed_out};
pub(crate) use self::release::RESTART_HINT;
use self::release::{SAME_RELEASE_HINT, explain_unknown_request, version_mismatch};
use self::waiting::Waiting;
use crate::error;
use crate::progress::Progress;
use crate::prompt;
use crate::shell::folder_word;
use crate::socket_owner::TrustedOwners;

/// Client of one daemon. Each request opens a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    folders: Folders,
    trusted_owners: TrustedOwners,
    start_hint: String,
    permission_hint: &'static str,
    diagnose: Option<Diagnose>,
    is_guarded: bool,
    is_at_terminal: bool,
}

/// Looks for the reason why a daemon stays silent; `None` if it may just be slow.
type Diagnose = fn() -> Option<ErrorBody>;

/// Answer of the daemon, parsed, with its JSON text as received: `--json` prints fields that this release does not
/// know.
pub(crate) struct Reply<T> {
    /// The parsed answer.
    pub(crate) answer: T,
    /// The answer's JSON.
    pub(crate) body: Box<RawValue>,
}

impl Client {
    /// Client of the daemon of this user that keeps its files in `folders`.
    pub(crate) fn new(folders: &Folders) -> Self {
        let start_hint = match &folders.home {
            Some(home) => format!("start it: regauthd --home {}", folder_word(home)),
            None if cfg!(target_os = "linux") => {
                "start it: regauthd, or once and for all: regauthctl service install".to_owned()
            }
            None => "start it: regauthd".to_owned(),
        };
        Self {
            socket: folders.socket(),
            folders: folders.clone(),
            trusted_owners: TrustedOwners::OwnUserAndRoot,
            start_hint,
            permission_hint: "a daemon obeys the user that it runs as; become that user, or start a daemon of your own",
            diagnose: None,
            is_guarded: false,
            is_at_terminal: false,
        }
    }

    /// Client of the machine's daemon, whose folders these are.
    pub(crate) fn of_system(folders: &Folders) -> Self {
        Self {
            trusted_owners: TrustedOwners::AlsoOwnerOfFolder,
            start_hint: "start it: sudo regauthctl service install --system".to_owned(),
            permission_hint: "the machine's daemon obeys root, and on Linux the members of the group regauth",
            ..Self::new(folders)
        }
    }

    /// Client of the guarded daemon, whose folders these are.
    pub(crate) fn of_guarded(folders: &Folders) -> Self {
        Self {
            start_hint: "start it: sudo systemctl start regauthd-control.socket regauthd-proxy.socket".to_owned(),
            is_guarded: true,
            ..Self::of_system(folders)
        }
    }

    /// True for the machine's daemon, guarded or not.
    pub(crate) fn is_of_system(&self) -> bool {
        self.trusted_owners == TrustedOwners::AlsoOwnerOfFolder
    }

    /// True for the guarded daemon.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Next step of a person who may not read a file of this daemon: the same command as root.
    pub(crate) fn as_root(&self, words: &str) -> String {
        let system = if self.is_guarded { "" } else { "--system " };
        format!("an administrator reads it: `sudo regauthctl {system}{words}`")
    }

    /// Calls `diagnose` when a connection is accepted and no hello comes within two seconds. Its error, if it finds
    /// one, is reported at once.
    ///
    /// A service manager accepts connections for a daemon that cannot start; only the manager knows that.
    pub(crate) fn diagnosed_by(self, diagnose: Diagnose) -> Self {
        Self {
            diagnose: Some(diagnose),
            ..self
        }
    }

    /// Lets polkit ask in the terminal, if this is one.
    pub(crate) fn at_terminal(self) -> Self {
        Self {
            is_at_terminal: prompt::is_interactive(),
            ..self
        }
    }

    /// True if a person is at the terminal and reads the answer: not with `--json`.
    pub(crate) fn has_person(&self) -> bool {
        self.is_at_terminal
    }

    /// True if the daemon has a person confirm each request of this user that widens anything, in a dialogue with its details.
    pub(crate) fn asks_a_person(&self) -> bool {
        self.is_guarded && !rustix::process::geteuid().is_root()
    }

    /// True if polkit or macOS will ask a person at this terminal about the request, in a dialogue without its details.
    ///
    /// # Errors
    /// As [`Client::ping`].
    pub(crate) fn will_ask_at_terminal(&self, request: &Request) -> Result<bool, ErrorBody> {
        if !self.is_at_terminal || self.is_guarded {
            return Ok(false);
        }
        let (_, daemon) = self.open()?;
        Ok(self.will_ask(&daemon, request))
    }

    /// True if nothing listens on the control socket, so that no daemon runs and none can be started by a connection.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.connect(), Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED))
    }

    /// Checks that a daemon runs and speaks our protocol version, without a request.
    ///
    /// Commands call it before they ask a person for anything.
    ///
    /// # Errors
    /// The errors of [`Client::call`] that come before the request.
    pub(crate) fn ping(&self) -> Result<(), ErrorBody> {
        self.open().map(drop)
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// No daemon runs, it speaks another protocol version, it hangs or it closes the connection; or the error that it
    /// answers.
    pub(crate) fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<Reply<T>, ErrorBody> {
        let (_, daemon, line) = self.ask(request)?;
        parse_answer(&line).map_err(|error| explain_unknown_request(&daemon, error))
    }

    /// Sends a request that ends the daemon, and waits until it has ended: the daemon keeps the connection open until
    /// then. `exit_timeout` reads from the answer how long that may take.
    ///
    /// # Errors
    /// The errors of [`Client::call`]; and a daemon that has not ended in time.
    pub(crate) fn call_and_wait_for_exit<T: DeserializeOwned>(
        &self,
        request: &Request,
        exit_timeout: impl FnOnce(&T) -> Duration,
    ) -> Result<Reply<T>, ErrorBody> {
        let (mut connection, _, line) = self.ask(request)?;
        let reply = parse_answer(&line)?;
        let _progress = Progress::start("waiting for regauthd to end");
        connection.wait_for_close(exit_timeout(&reply.answer))?;
        Ok(reply)
    }

    /// Sends a request whose answer is followed by a stream of lines.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) fn stream<T: DeserializeOwned>(&self, request: &Request) -> Result<Lines, ErrorBody> {
        let (connection, daemon, line) = self.ask(request)?;
        parse_answer::<T>(&line).map_err(|error| explain_unknown_request(&daemon, error))?;
        Lines::of(connection)
    }

    /// Opens the files of the audit record, which this user may not open itself. Names and files, the oldest first.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) fn audit_files(&self) -> Result<Vec<(String, File)>, ErrorBody> {
        let (mut connection, daemon) = self.send(&Request::AuditFiles(Nothing {}))?;
        let (line, files) = connection.read_line_with_files(LOCAL_TIMEOUT)?;
        let reply = parse_answer::<AuditFiles>(&line).map_err(|error| explain_unknown_request(&daemon, error))?;
        let names = reply.answer.files;
        if names.len() != files.len() {
            return Err(error::failed("regauthd did not send all files of its audit record"));
        }
        Ok(names.into_iter().zip(files).collect())
    }

    /// Waits for the answer for as long as the daemon greets other clients, at most [`ANSWER_TIMEOUT`].
    fn wait_for_answer(&self, connection: &mut Connection) -> Result<String, ErrorBody> {
        let begin = Instant::now();
        while !connection.is_readable_within(LIVENESS_INTERVAL) {
            // The answer, or the end of the connection, may have come since.
            if let Err(error) = self.ping()
                && !connection.is_readable_within(LIVENESS_GRACE)
            {
                return Err(error);
            }
            if begin.elapsed() > ANSWER_TIMEOUT {
                let message = format!(
                    "regauthd runs, but has not answered for {} s",
                    begin.elapsed().as_secs()
                );
                return Err(error::failed(message).hint("see regauthd's log; it may still carry out the request"));
            }
        }
        connection.read_line(LOCAL_TIMEOUT)
    }

    /// Sends a request and reads the first line of the answer.
    fn ask(&self, request: &Request) -> Result<(Connection, Hello, String), ErrorBody> {
        let line = line_of(request)?;
        let (mut connection, daemon) = self.open()?;
        let _waiting = match request {
            _ if self.will_ask(&daemon, request) => Waiting::for_confirmation(self.is_at_terminal),
            Request::RemoveRegistry(_) if daemon.asks && self.is_guarded => {
                Waiting::for_answer_or_confirmation(request, self.is_at_terminal)
            }
            _ => Waiting::for_answer(request),
        };
        connection.write_line(&line)?;
        let answer = self.wait_for_answer(&mut connection)?;
        Ok((connection, daemon, answer))
    }

    /// Sends a request and reads nothing.
    fn send(&self, request: &Request) -> Result<(Connection, Hello), ErrorBody> {
        let line = line_of(request)?;
        let (mut connection, daemon) = self.open()?;
        connection.write_line(&line)?;
        Ok((connection, daemon))
    }

    /// True if polkit or macOS asks the person about this request, unless a rule decides.
    fn will_ask(&self, daemon: &Hello, request: &Request) -> bool {
        let asks = |guarded: Guarded| match self.is_guarded {
            true => guarded.asks != Asks::OrTakesToken || !request.has_proof(),
            false => guarded.asks != Asks::GuardedOnly && !request.has_proof(),
        };
        daemon.asks && request.guarded().is_some_and(asks)
    }

    fn open(&self) -> Result<(Connection, Hello), ErrorBody> {
        let stream = self.connect().map_err(|errno| self.connect_error(errno))?;
        self.trusted_owners.check(&stream, &self.socket, &self.folders)?;
        let mut connection = Connection::new(stream);
        if let Some(diagnose) = self.diagnose
            && !connection.has_input_within(DIAGNOSIS_DELAY)
            && let Some(diagnosis) = diagnose()
        {
            return Err(diagnosis);
        }
        let line = connection.read_line(LOCAL_TIMEOUT)?;
        match serde_json::from_str::<Greeting>(&line) {
            Ok(Greeting { hello }) if hello.versions.contains(&PROTOCOL) => Ok((connection, hello)),
            Ok(Greeting { hello }) => Err(version_mismatch(&hello)),
            Err(_) => Err(self.refusal_before_hello(&line)),
        }
    }

    /// Connects with a timeout. `UnixStream::connect` would block for ever on a stopped daemon with a full backlog; the
    /// kernel honours a send timeout that is set before connect(2).
    fn connect(&self) -> Result<UnixStream, Errno> {
        let address = SocketAddrUnix::new(&self.socket)?;
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        set_socket_timeout(&socket, Timeout::Send, Some(LOCAL_TIMEOUT))?;
        rustix::net::connect(&socket, &address)?;
        Ok(UnixStream::from(socket))
    }

    fn connect_error(&self, errno: Errno) -> ErrorBody {
        let socket = self.socket.display();
        match errno {
            Errno::NOENT | Errno::NOTDIR => error::unreachable(format!(
                "no regauthd is running here: there is no control socket {socket}"
            ))
            .hint(&self.start_hint),
            Errno::CONNREFUSED => error::unreachable(format!(
                "no regauthd is running here: the one that made {socket} has ended"
            ))
            .hint(&self.start_hint),
            Errno::ACCESS | Errno::PERM => {
                error::unreachable(format!("no permission to open the control socket {socket}"))
                    .hint(self.permission_hint)
            }
            Errno::AGAIN => timed_out(LOCAL_TIMEOUT),
            Errno::NAMETOOLONG => error::unreachable(format!("the path of the control socket is too long: {socket}"))
                .hint("give a shorter folder as --home, to regauthd as well"),
            other => error::unreachable(format!(
                "cannot connect to the control socket {socket}: {}",
                io::Error::from(other)
            )),
        }
    }

    /// Error for a first line that is no hello. A daemon may refuse a peer with an error instead; anything else is not
    /// regauthd.
    fn refusal_before_hello(&self, line: &str) -> ErrorBody {
        match serde_json::from_str::<Answer<Box<RawValue>>>(line) {
            Ok(Answer::Err(error)) => error,
            _ => error::unreachable(format!(
                "the program that listens on {} does not greet as regauthd does",
                self.socket.display()
            )),
        }
    }
}

fn parse_answer<T: DeserializeOwned>(line: &str) -> Result<Reply<T>, ErrorBody> {
    let unknown =
        |_| error::failed("regauthd sent an answer that this regauthctl does not understand").hint(SAME_RELEASE_HINT);
    let body = match serde_json::from_str::<Answer<Box<RawValue>>>(line).map_err(unknown)? {
        Answer::Ok(body) => body,
        Answer::Err(error) => return Err(error),
    };
    let answer = serde_json::from_str(body.get()).map_err(unknown)?;
    Ok(Reply { answer, body })
}

/// The request as one line, with its line feed. It may hold a secret.
fn line_of(request: &Request) -> Result<Zeroizing<String>, ErrorBody> {
    let line = request.to_line();
    let line = line.map_err(|error| error::failed(format!("the request has no JSON form: {error}")))?;
    Ok(Zeroizing::new(line + "\n"))
}

/// A running daemon sends its hello at once; a service manager may have to start it first.
const DIAGNOSIS_DELAY: Duration = Duration::from_secs(2);
/// Time without an answer after which the daemon is asked for its hello.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);
/// Time for an answer that crossed the question.
const LIVENESS_GRACE: Duration = Duration::from_millis(200);
/// Longest wait for a daemon that is busy. It is longer than every deadline of the daemon's own: a person answers a
/// keychain's window, a migration copies many secrets.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);
