//! polkit's authority on the system bus
//! (<https://www.freedesktop.org/software/polkit/docs/latest/eggdbus-interface-org.freedesktop.PolicyKit1.Authority.html>).
//!
//! polkit decides about a process: by its rules at once, or by a question that an agent of the process's session shows to
//! the person. The agent cannot answer for the person: only a program of root, which checks the password or the finger,
//! gives polkit the answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use regauth_shared::presence::Action;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::zvariant::{Fd, Value};

use super::asking::Authenticator;
use super::not_confirmed::NotConfirmed;
use super::peer_process::PeerProcess;
use super::question::Question;

/// True if this machine seems to have polkit and regauth's actions.
pub(super) fn can_ask() -> bool {
    Polkit::of_machine().is_installed()
}

/// Connects to the machine's polkit, for a decision about one request of a process. polkit shows the text of `question` only
/// if it trusts this daemon to say so.
///
/// # Errors
/// [`Unavailable`].
pub(super) async fn prepare<'a>(
    process: &'a PeerProcess,
    action: Action,
    question: Option<Question>,
) -> Result<Inquiry<'a>, Unavailable> {
    Polkit::of_machine().prepare(process, action, question).await
}

/// System bus that polkit is on.
#[derive(Clone, Debug)]
struct Polkit {
    /// Path of the bus's socket. Not from the environment, which a user's program sets for a daemon that it starts.
    socket: PathBuf,
    /// Folders of the files that define actions.
    action_folders: Vec<PathBuf>,
}

/// Answer of polkit about one process and one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Permitted.
    Yes,
    /// Not permitted: by a rule, or the person has said no or failed to authenticate.
    No,
    /// The person would have to authenticate, and was not asked: the call did not allow it, or there is no agent.
    Challenge,
}

/// Fault that keeps polkit from deciding.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    /// The bus cannot be reached.
    #[error("this machine has no system bus ({0})")]
    NoBus(zbus::Error),
    /// The bus has no polkit.
    #[error("this machine has no polkit ({0})")]
    NoPolkit(zbus::Error),
    /// polkit refuses the question itself, as it does without the file that defines the actions.
    #[error("polkit does not answer for regauth ({0})")]
    Unknown(zbus::Error),
    /// The bus or polkit is silent.
    #[error("polkit has not answered within {} s", CALL_TIMEOUT.as_secs())]
    Silent,
}

impl Unavailable {
    /// Next step of a person whose own daemon must ask.
    pub(super) const NEXT_STEP: &str =
        "install polkit and regauth's package, or set presence = \"auto\" in config.toml and restart regauthd";
}

impl Polkit {
    /// The machine's.
    fn of_machine() -> Self {
        Self {
            socket: BUS_SOCKET.into(),
            action_folders: ACTION_FOLDERS.iter().map(PathBuf::from).collect(),
        }
    }

    /// polkit on another bus.
    #[cfg(test)]
    fn on(socket: PathBuf) -> Self {
        Self {
            socket,
            action_folders: Vec::new(),
        }
    }

    /// True if there is a system bus, and a file that defines regauth's actions.
    fn is_installed(&self) -> bool {
        let mut folders = self.action_folders.iter();
        self.socket.exists() && folders.any(|folder| folder.join(POLICY_FILE).exists())
    }

    async fn prepare<'a>(
        &self,
        process: &'a PeerProcess,
        action: Action,
        question: Option<Question>,
    ) -> Result<Inquiry<'a>, Unavailable> {
        let authority = self.connect().await?;
        Ok(Inquiry {
            authority,
            process,
            action,
            question,
        })
    }

    /// Connects to the bus.
    ///
    /// # Errors
    /// [`Unavailable::NoBus`] and [`Unavailable::Silent`].
    async fn connect(&self) -> Result<Authority, Unavailable> {
        if !self.socket.exists() {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Unavailable::NoBus(zbus::Error::InputOutput(error.into())));
        }
        let address = format!("unix:path={}", self.socket.display());
        let bus = async { Builder::address(address.as_str())?.build().await };
        let bus = tokio::time::timeout(CALL_TIMEOUT, bus).await;
        bus.map_err(|_| Unavailable::Silent)?
            .map(Authority)
            .map_err(Unavailable::NoBus)
    }
}

/// One request of a process, and the connection to polkit that decides about it.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    authority: Authority,
    process: &'a PeerProcess,
    action: Action,
    question: Option<Question>,
}

impl Authenticator for Inquiry<'_> {
    async fn is_permitted(&self) -> Result<bool, NotConfirmed> {
        match self.authority.check(self.process, self.action).await? {
            Answer::Yes => Ok(true),
            Answer::No => Err(NotConfirmed::ByRule(self.action)),
            Answer::Challenge => Ok(false),
        }
    }

    async fn ask(&self) -> Result<(), NotConfirmed> {
        let answer = self.authority.ask(self.process, self.action, self.question.as_ref());
        match answer.await? {
            Answer::Yes => Ok(()),
            Answer::No => Err(NotConfirmed::ByPerson),
            Answer::Challenge => Err(NotConfirmed::NoAgent),
        }
    }

    async fn cancel(&self) {
        self.authority.cancel().await;
    }
}

/// Connection to polkit. Closing it takes the question away that it has asked.
#[derive(Debug)]
struct Authority(Connection);

impl Authority {
    /// Decision without asking a person.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn check(&self, process: &PeerProcess, action: Action) -> Result<Answer, Unavailable> {
        let call = self.call(process, action, HashMap::new(), NO_INTERACTION, "");
        tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or(Err(Unavailable::Silent))
    }

    /// Decision after asking the person, however long that takes.
    ///
    /// # Errors
    /// [`Unavailable`].
    async fn ask(
        &self,
        process: &PeerProcess,
        action: Action,
        question: Option<&Question>,
    ) -> Result<Answer, Unavailable> {
        let details = question.map(Question::details).unwrap_or_default();
        self.call(process, action, details, ALLOW_INTERACTION, CANCELLATION_ID)
            .await
    }

    /// Takes the question away that [`Authority::ask`] asks.
    async fn cancel(&self) {
        let cancel = self.0.call_method(
            Some(NAME),
            PATH,
            Some(INTERFACE),
            "CancelCheckAuthorization",
            &CANCELLATION_ID,
        );
        match tokio::time::timeout(CALL_TIMEOUT, cancel).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "polkit did not cancel a question"),
            Err(_) => tracing::debug!("polkit did not cancel a question in time"),
        }
    }

    async fn call(
        &self,
        process: &PeerProcess,
        action: Action,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation: &str,
    ) -> Result<Answer, Unavailable> {
        let subject = HashMap::from([
            ("pid", Value::from(process.id)),
            ("start-time", Value::from(process.start_time())),
            ("uid", Value::from(process.user.cast_signed())),
            // Newer polkits take this instead of the id and the start; older ones ignore it.
            ("pidfd", Value::from(Fd::from(process.descriptor()))),
        ]);
        let request = (("unix-process", subject), action.id(), details, flags, cancellation);
        let reply = self
            .0
            .call_method(Some(NAME), PATH, Some(INTERFACE), "CheckAuthorization", &request)
            .await
            .map_err(unavailable)?;
        let body = reply.body();
        let answer: ((bool, bool, HashMap<String, String>),) = body.deserialize().map_err(Unavailable::Unknown)?;
        let ((is_authorized, is_challenge, _),) = answer;
        Ok(match (is_authorized, is_challenge) {
            (true, _) => Answer::Yes,
            (false, true) => Answer::Challenge,
            (false, false) => Answer::No,
        })
    }
}

fn unavailable(error: zbus::Error) -> Unavailable {
    let is_absent = |name: &str| NO_SERVICE.iter().any(|absent| name.ends_with(absent));
    match &error {
        zbus::Error::MethodError(name, ..) if is_absent(name.as_str()) => Unavailable::NoPolkit(error),
        zbus::Error::MethodError(..) => Unavailable::Unknown(error),
        _ => Unavailable::NoBus(error),
    }
}

/// polkit takes other texts from a trusted user alone, such as a guarded daemon's.
pub(super) const SHOWS_ANY_TEXT: bool = false;

const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
/// polkit(8); before polkit 124 only the last one.
const ACTION_FOLDERS: [&str; 4] = [
    "/etc/polkit-1/actions",
    "/run/polkit-1/actions",
    "/usr/local/share/polkit-1/actions",
    "/usr/share/polkit-1/actions",
];
const POLICY_FILE: &str = "org.regauth.policy";

const NAME: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";
const NO_INTERACTION: u32 = 0;
const ALLOW_INTERACTION: u32 = 1;
/// Each connection asks one question.
const CANCELLATION_ID: &str = "regauth";
/// Ends of the names of errors of a bus without polkit.
const NO_SERVICE: [&str; 4] = [".ServiceUnknown", ".NameHasNoOwner", ".UnitMasked", ".NoSuchUnit"];

/// Time limit for everything but the person. A bus may start polkit for a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
