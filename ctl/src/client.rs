//! Asks the daemon: connect, read its greeting, write one line, read one line.
//!
//! Blocking on purpose: one question and one answer need no runtime. Every wait has an end, so a daemon that hangs is
//! reported; a request that makes the daemon ask a registry, a store or a person gets the time that those need.

use std::io::{self, BufRead, BufReader, ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use regauth_shared::frame::{Answer, MAX_LINE};
use regauth_shared::paths::Folders;
use regauth_shared::version::{Greeting, Hello, PROGRAM, PROTOCOL};
use regauth_shared::{ErrorBody, ErrorKind, Request};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error;
use crate::service::Installation;

/// Where the daemon is.
pub(crate) struct Client {
    socket: PathBuf,
    how_to_start: String,
    how_to_be_let_in: &'static str,
    /// Who may have made the socket, and start the daemon at our connection.
    service: Option<Installation>,
}

/// The daemon's answer, understood, and its JSON as it came: fields that we do not know are not lost to `--json`.
pub(crate) struct Reply<T> {
    /// The answer.
    pub(crate) answer: T,
    /// Its JSON.
    pub(crate) body: Box<RawValue>,
}

impl Client {
    /// The client of the daemon that keeps its files in these folders.
    pub(crate) fn new(folders: &Folders) -> Self {
        let how_to_start = match &folders.home {
            Some(home) => format!("start it: regauthd --home {}", home.display()),
            None if cfg!(target_os = "linux") => {
                "start it: regauthd, or once and for all: regauthctl service install".to_owned()
            }
            None => "start it: regauthd".to_owned(),
        };
        Self {
            socket: folders.socket(),
            how_to_start,
            how_to_be_let_in: "a daemon obeys the user that it runs as; become that user, or start a daemon of your own",
            service: folders.home.is_none().then_some(Installation::User),
        }
    }

    /// The same, of the machine's own daemon.
    pub(crate) fn of_the_system(self) -> Self {
        Self {
            how_to_start: "start it: sudo regauthctl service install --system".to_owned(),
            how_to_be_let_in: "the machine's daemon obeys root, and on Linux the members of the group regauth",
            service: Some(Installation::System),
            ..self
        }
    }

    /// Makes sure that a daemon is there and speaks our version, before a person is asked for anything.
    ///
    /// # Errors
    /// Those of [`Client::ask`] that come before the request.
    pub(crate) fn greet(&self) -> Result<(), ErrorBody> {
        self.open().map(drop)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// No daemon, one of another version, one that hangs or breaks off; and whatever error it answers.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<Reply<T>, ErrorBody> {
        let (mut connection, daemon) = self.send(request)?;
        understand(&connection.read_line(patience(request))?).map_err(|error| in_view_of(&daemon, error))
    }

    /// Sends a request that ends the daemon, and waits for the end: the daemon keeps the connection open until then.
    /// `patience` says how long that may take, in view of the answer.
    ///
    /// # Errors
    /// Those of [`Client::ask`]; and a daemon that has not ended in time.
    pub(crate) fn ask_and_see_it_end<T: DeserializeOwned>(
        &self,
        request: &Request,
        patience: impl FnOnce(&T) -> Duration,
    ) -> Result<Reply<T>, ErrorBody> {
        let (mut connection, _) = self.send(request)?;
        let reply = understand(&connection.read_line(BRIEF)?)?;
        connection.see_the_end(patience(&reply.answer))?;
        Ok(reply)
    }

    fn send(&self, request: &Request) -> Result<(Connection, Hello), ErrorBody> {
        let line = request
            .to_line()
            .map_err(|error| error::failed(format!("the request has no JSON form: {error}")))?;
        let line = Zeroizing::new(line + "\n");
        let (mut connection, daemon) = self.open()?;
        connection.write_line(&line)?;
        Ok((connection, daemon))
    }

    fn open(&self) -> Result<(Connection, Hello), ErrorBody> {
        let stream = self.connect().map_err(|errno| self.explain(errno))?;
        let mut connection = Connection(BufReader::new(stream));
        if let Some(installation) = self.service
            && !connection.speaks_within(SOON)
            && let Some(diagnosis) = installation.diagnose()
        {
            return Err(diagnosis);
        }
        let line = connection.read_line(BRIEF)?;
        match serde_json::from_str::<Greeting>(&line) {
            Ok(Greeting { hello }) if hello.versions.contains(&PROTOCOL) => Ok((connection, hello)),
            Ok(Greeting { hello }) => Err(other_version(&hello)),
            Err(_) => Err(refused_at_the_door(&line, self)),
        }
    }

    /// A plain `UnixStream::connect` would wait for ever for a daemon that is stopped and whose backlog is full; the
    /// kernel honours a send timeout that is set before.
    fn connect(&self) -> Result<UnixStream, Errno> {
        let address = SocketAddrUnix::new(&self.socket)?;
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        set_socket_timeout(&socket, Timeout::Send, Some(BRIEF))?;
        rustix::net::connect(&socket, &address)?;
        Ok(UnixStream::from(socket))
    }

    fn explain(&self, errno: Errno) -> ErrorBody {
        let socket = self.socket.display();
        match errno {
            Errno::NOENT | Errno::NOTDIR => error::unreachable(format!(
                "no regauthd is running here: there is no control socket {socket}"
            ))
            .hint(&self.how_to_start),
            Errno::CONNREFUSED => error::unreachable(format!(
                "no regauthd is running here: the one that made {socket} has ended"
            ))
            .hint(&self.how_to_start),
            Errno::ACCESS | Errno::PERM => {
                error::unreachable(format!("no permission to open the control socket {socket}"))
                    .hint(self.how_to_be_let_in)
            }
            Errno::AGAIN => hung(BRIEF),
            Errno::NAMETOOLONG => error::unreachable(format!("the path of the control socket is too long: {socket}"))
                .hint("give a shorter folder as --home, to regauthd as well"),
            other => error::unreachable(format!(
                "cannot connect to the control socket {socket}: {}",
                io::Error::from(other)
            )),
        }
    }
}

struct Connection(BufReader<UnixStream>);

impl Connection {
    fn write_line(&mut self, line: &str) -> Result<(), ErrorBody> {
        self.0
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|error| match error.kind() {
                IoErrorKind::WouldBlock | IoErrorKind::TimedOut => hung(BRIEF),
                IoErrorKind::BrokenPipe | IoErrorKind::ConnectionReset => broken_off(),
                _ => error::io("cannot write to the control socket")(error),
            })
    }

    /// Nothing is read, so that whoever is slow is still heard.
    fn speaks_within(&mut self, patience: Duration) -> bool {
        self.wait_at_most(patience).is_ok() && self.0.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    fn read_line(&mut self, patience: Duration) -> Result<String, ErrorBody> {
        self.wait_at_most(patience)?;
        let mut line = Vec::new();
        // One byte more: the line ending, or the proof that the line goes on.
        let mut bounded = (&mut self.0).take(MAX_LINE as u64 + 1);
        bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| match error.kind() {
                IoErrorKind::WouldBlock | IoErrorKind::TimedOut => hung(patience),
                IoErrorKind::ConnectionReset => broken_off(),
                _ => error::io("cannot read from the control socket")(error),
            })?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| error::failed("regauthd's answer is not UTF-8")),
            _ if line.len() == MAX_LINE => Err(error::failed(format!(
                "regauthd's answer is longer than the {MAX_LINE} bytes that the protocol allows"
            ))),
            _ => Err(broken_off()),
        }
    }

    fn wait_at_most(&self, patience: Duration) -> Result<(), ErrorBody> {
        let set = self.0.get_ref().set_read_timeout(Some(patience));
        set.map_err(error::io("cannot set a time limit on the control socket"))
    }

    fn see_the_end(&mut self, patience: Duration) -> Result<(), ErrorBody> {
        self.wait_at_most(patience)?;
        match self.0.read(&mut [0]).map_err(|error| error.kind()) {
            Ok(_) | Err(IoErrorKind::ConnectionReset) => Ok(()),
            Err(_) => Err(
                error::failed(format!("regauthd has not ended within {} s", patience.as_secs()))
                    .hint("a second SIGTERM ends it at once, whatever is still under way"),
            ),
        }
    }
}

fn understand<T: DeserializeOwned>(line: &str) -> Result<Reply<T>, ErrorBody> {
    let unknown =
        |_| error::failed("regauthd answered something that this regauthctl does not understand").hint(SAME_RELEASE);
    let body = match serde_json::from_str::<Answer<Box<RawValue>>>(line).map_err(unknown)? {
        Answer::Ok(body) => body,
        Answer::Err(error) => return Err(error),
    };
    let answer = serde_json::from_str(body.get()).map_err(unknown)?;
    Ok(Reply { answer, body })
}

fn other_version(hello: &Hello) -> ErrorBody {
    let versions: Vec<_> = hello.versions.iter().map(u32::to_string).collect();
    let message = format!(
        "regauthd {} speaks version {} of the protocol; this is regauthctl {PROGRAM}, which speaks version {PROTOCOL}",
        hello.daemon,
        versions.join(", "),
    );
    // Both lists may have gaps; who knows the highest version is the newer one.
    let newer = hello.versions.iter().any(|version| *version > PROTOCOL);
    let hint = if newer {
        format!("update regauthctl to the release of the daemon, {}", hello.daemon)
    } else {
        format!("update regauthd to the release of regauthctl, {PROGRAM}; if it is installed, {RESTART}")
    };
    ErrorBody::new(ErrorKind::UnsupportedVersion, message).hint(hint)
}

/// A daemon that does not know what it was asked, and is of another release: that is why.
fn in_view_of(daemon: &Hello, error: ErrorBody) -> ErrorBody {
    if error.kind != ErrorKind::Invalid || daemon.daemon == PROGRAM || error.hint.is_some() {
        return error;
    }
    error.hint(format!(
        "the regauthd that runs is {}, and this is regauthctl {PROGRAM}; {RESTART}",
        daemon.daemon
    ))
}

/// A daemon may turn a peer away before it greets, with an error; anything else is not a daemon.
fn refused_at_the_door(line: &str, client: &Client) -> ErrorBody {
    match serde_json::from_str::<Answer<Box<RawValue>>>(line) {
        Ok(Answer::Err(error)) => error,
        _ => error::unreachable(format!(
            "what listens on {} does not greet as regauthd does",
            client.socket.display()
        )),
    }
}

fn hung(after: Duration) -> ErrorBody {
    error::unreachable(format!("regauthd did not answer within {} s", after.as_secs()))
        .hint("its log says what it is doing; what was asked may still be carried out")
}

fn broken_off() -> ErrorBody {
    error::unreachable("regauthd closed the connection without an answer").hint("its log says why")
}

/// How long a request may take: the daemon asks nobody, a registry or a store, or a person.
fn patience(request: &Request) -> Duration {
    match request {
        Request::List(_) | Request::Show(_) | Request::Status(_) | Request::Stop(_) | Request::Log(_) => BRIEF,
        Request::Store(_) | Request::Holds(_) => BRIEF,
        Request::Allow(_) | Request::Deny(_) | Request::Grant(_) | Request::Grants(_) | Request::Revoke(_) => BRIEF,
        Request::AddRegistry(_) | Request::AddScope(_) | Request::RemoveRegistry(_) | Request::Rotate(_) => LONG,
        Request::Verify(_) | Request::Reload(_) => LONG,
        Request::Unlock(_) => PERSON,
        Request::StoreMove(_) => MANY,
    }
}

/// A daemon greets at once; a service manager may have to start it first.
const SOON: Duration = Duration::from_secs(2);
const BRIEF: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);
const PERSON: Duration = Duration::from_secs(180);
/// A slow keychain, for each of many secrets.
const MANY: Duration = Duration::from_secs(1800);

/// What helps a daemon that runs and is not the one that is installed. It may not understand `regauthctl stop`.
pub(crate) const RESTART: &str = if cfg!(target_os = "macos") {
    "restart the service (launchctl kickstart -k gui/$UID/regauthd), or end regauthd and start it again"
} else {
    "restart the service (systemctl --user restart regauthd; the machine's: sudo systemctl restart regauthd), or end \
     regauthd and start it again"
};

const SAME_RELEASE: &str = "install regauthctl and regauthd of the same release and restart the daemon";
