//! Confirmation of a request by a person, whom polkit asks.
//!
//! polkit first decides without a question: a rule may permit or forbid the request. Otherwise it asks until a deadline, while
//! the client and the daemon run. No lock is held meanwhile.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::Request;
use regauth_shared::presence::Action;
use tokio::sync::Semaphore;

use crate::config::PresenceMode;
use crate::control::controller::Controller;
use crate::control::presence::peer_process::PeerProcess;
use crate::control::presence::polkit::{Answer, Authority, Polkit, Unavailable};
use crate::control::presence::prompts::{Prompts, TooSoon};
use crate::control::presence::question::Question;
use crate::control::server::Peer;

/// Questions to the persons of this daemon.
#[derive(Debug)]
pub(crate) struct Confirmation {
    mode: ArcSwap<PresenceMode>,
    prompts: Prompts,
    /// Connections to the bus, which has few for each user.
    places: Semaphore,
}

impl Confirmation {
    /// No question yet, in the configured mode.
    pub(crate) fn new(mode: PresenceMode) -> Self {
        Self {
            mode: ArcSwap::from_pointee(mode),
            prompts: Prompts::default(),
            places: Semaphore::new(MAX_CONNECTIONS),
        }
    }

    /// Configured mode in service.
    pub(crate) fn mode(&self) -> PresenceMode {
        **self.mode.load()
    }

    /// Replaces the configured mode.
    pub(crate) fn set_mode(&self, mode: PresenceMode) {
        self.mode.store(Arc::new(mode));
    }
}

/// Reason for a missing confirmation, as a clause.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConfirmed {
    /// polkit does not decide.
    #[error("nobody could be asked: {0}")]
    Unavailable(#[from] Unavailable),
    /// The kernel names no process that polkit could decide about.
    #[error("nobody could be asked: the program that asks has ended or is in a container")]
    NoProcess,
    /// No agent shows polkit's questions.
    #[error("nobody could be asked: your session has no authentication agent of polkit")]
    NoAgent,
    /// A rule forbids it.
    #[error("a rule of polkit forbids it ({})", .0.id())]
    ByRule(Action),
    /// The person said no, or could not authenticate.
    #[error("polkit's question was answered with no")]
    ByPerson,
    /// No answer.
    #[error("polkit's question was not answered within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The client has gone, or the daemon ends.
    #[error("the program that asked has gone")]
    Gone,
    /// Another question is open.
    #[error("another question of polkit for you is still open")]
    Busy,
    /// The person has refused a moment ago.
    #[error("the last question was refused, so the next one is in {} s", .0.as_secs() + 1)]
    Paused(Duration),
}

impl NotConfirmed {
    /// True if polkit can ask nobody here.
    pub(super) fn is_impossible(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoProcess | Self::NoAgent => true,
            Self::ByRule(_) | Self::ByPerson | Self::TimedOut(_) | Self::Gone | Self::Busy | Self::Paused(_) => false,
        }
    }

    /// Next step of the person.
    pub(super) fn next_step(&self, is_guarded: bool) -> String {
        let step = match self {
            Self::Unavailable(_) if !is_guarded => {
                "install polkit and regauth's package, or set presence = \"auto\" in config.toml and restart regauthd"
            }
            Self::Unavailable(_) => "",
            Self::NoProcess => "run it outside of the container",
            Self::NoAgent => "run it in a terminal, where regauthctl asks itself, or on the desktop",
            Self::ByRule(_) => "see /etc/polkit-1/rules.d",
            Self::ByPerson | Self::TimedOut(_) | Self::Gone => "repeat the same command and confirm it",
            Self::Busy => "answer it, then repeat the same command",
            Self::Paused(_) => "repeat the same command then",
        };
        match (step, is_guarded) {
            ("", _) => "repeat the same command with sudo".to_owned(),
            (step, true) => format!("{step}, or repeat the same command with sudo"),
            (step, false) => step.to_owned(),
        }
    }
}

impl From<TooSoon> for NotConfirmed {
    fn from(reason: TooSoon) -> Self {
        match reason {
            TooSoon::Open => Self::Busy,
            TooSoon::Paused(left) => Self::Paused(left),
        }
    }
}

impl Confirmation {
    /// True if this machine seems to have polkit and regauth's actions.
    pub(super) fn can_ask() -> bool {
        Polkit::of_machine().is_installed()
    }

    /// Has polkit decide about a request of a process. The dialogue says what `request` asks, if polkit trusts this daemon to
    /// say so.
    ///
    /// # Errors
    /// [`NotConfirmed`].
    pub(super) async fn ask(
        &self,
        controller: &Controller,
        peer: &Peer,
        action: Action,
        request: Option<&Request>,
    ) -> Result<(), NotConfirmed> {
        let process = peer.process().ok_or(NotConfirmed::NoProcess)?;
        let question = request.and_then(Question::about);
        let asking = Asking {
            polkit: Polkit::of_machine(),
            prompts: &self.prompts,
            time_limit: TIME_LIMIT,
        };
        let asked = async {
            let _place = self.places.acquire().await.map_err(|_| NotConfirmed::Gone)?;
            asking.ask(process, action, question.as_ref()).await
        };
        let asked = tokio::select! {
            asked = asked => asked,
            () = controller.proxy.drain.cancelled() => Err(NotConfirmed::Gone),
        };
        match &asked {
            Ok(()) => tracing::info!(user = process.user, action = action.id(), "polkit confirmed a request"),
            Err(reason) if reason.is_impossible() => {}
            Err(reason) => {
                tracing::warn!(user = process.user, action = action.id(), %reason, "a request was not confirmed");
            }
        }
        asked
    }
}

/// Way to ask.
struct Asking<'a> {
    polkit: Polkit,
    prompts: &'a Prompts,
    time_limit: Duration,
}

impl Asking<'_> {
    async fn ask(
        &self,
        process: &PeerProcess,
        action: Action,
        question: Option<&Question>,
    ) -> Result<(), NotConfirmed> {
        let authority = self.polkit.connect().await?;
        match authority.check(process, action).await? {
            Answer::Yes => {}
            Answer::No => return Err(NotConfirmed::ByRule(action)),
            Answer::Challenge => self.ask_person(&authority, process, action, question).await?,
        }
        // Its id may be that of another process by now, and polkit have decided about that.
        process.is_alive().then_some(()).ok_or(NotConfirmed::Gone)
    }

    async fn ask_person(
        &self,
        authority: &Authority,
        process: &PeerProcess,
        action: Action,
        question: Option<&Question>,
    ) -> Result<(), NotConfirmed> {
        let prompt = self.prompts.open(process.user, std::time::Instant::now())?;
        let answer = tokio::select! {
            answer = authority.ask(process, action, question) => Ok(answer),
            () = process.ended() => Err(NotConfirmed::Gone),
            () = tokio::time::sleep(self.time_limit) => Err(NotConfirmed::TimedOut(self.time_limit)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                authority.cancel().await;
                return Err(reason);
            }
        };
        match answer {
            Ok(Answer::Yes) => prompt.accept(),
            Ok(Answer::No) => return Err(NotConfirmed::ByPerson),
            Ok(Answer::Challenge) => {
                prompt.withdraw();
                return Err(NotConfirmed::NoAgent);
            }
            Err(error) => {
                prompt.withdraw();
                return Err(error.into());
            }
        }
        Ok(())
    }
}

const MAX_CONNECTIONS: usize = 16;
/// Longest time that a person has for the answer.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::Mutex;

    use tokio::net::UnixStream;
    use zbus::connection::Builder;
    use zbus::zvariant::OwnedValue;

    use super::*;

    /// Bus with a polkit that answers as it is told.
    struct Bus {
        _folder: tempfile::TempDir,
        daemon: Child,
        polkit: Polkit,
        connection: zbus::Connection,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Bus {
        async fn start(behaviour: Behaviour) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("bus");
            let daemon = start_bus(&socket).await;
            let log = Arc::default();
            let authority = FakeAuthority {
                behaviour,
                log: Arc::clone(&log),
            };
            let connection = Builder::address(format!("unix:path={}", socket.display()).as_str())
                .unwrap()
                .name("org.freedesktop.PolicyKit1")
                .unwrap()
                .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
                .unwrap();
            Self {
                connection: connection.build().await.unwrap(),
                polkit: Polkit::on(socket),
                _folder: folder,
                daemon,
                log,
            }
        }

        async fn ask(&self, prompts: &Prompts, time_limit: Duration) -> Result<(), NotConfirmed> {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let process = PeerProcess::of(&theirs).unwrap();
            let asking = Asking {
                polkit: self.polkit.clone(),
                prompts,
                time_limit,
            };
            asking.ask(&process, Action::Widen, None).await
        }

        fn log(&self) -> Vec<String> {
            self.log.lock().unwrap().clone()
        }
    }

    impl Drop for Bus {
        fn drop(&mut self) {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }

    async fn start_bus(socket: &Path) -> Child {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile"])
            .arg(format!("--address=unix:path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while UnixStream::connect(socket).await.is_err() {
            tokio::task::yield_now().await;
        }
        daemon
    }

    #[derive(Clone, Copy)]
    enum Behaviour {
        /// Permits or forbids by a rule.
        Rule(bool),
        /// Asks the person, who answers.
        Person(bool),
        /// Asks the person, who is silent.
        Silence,
        /// Has no agent.
        NoAgent,
    }

    struct FakeAuthority {
        behaviour: Behaviour,
        log: Arc<Mutex<Vec<String>>>,
    }

    type Subject = (String, HashMap<String, OwnedValue>);
    type Decision = (bool, bool, HashMap<String, String>);

    #[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
    impl FakeAuthority {
        async fn check_authorization(
            &self,
            subject: Subject,
            action: String,
            details: HashMap<String, String>,
            flags: u32,
            cancellation: String,
        ) -> Decision {
            let is_this_process =
                subject.1.get("pid").and_then(|id| u32::try_from(id).ok()) == Some(std::process::id());
            assert!(is_this_process && subject.0 == "unix-process" && details.is_empty());
            let kind = if flags == 0 { "check" } else { "ask" };
            self.log.lock().unwrap().push(format!("{kind} {action} {cancellation}"));
            let (is_authorized, is_challenge) = match (self.behaviour, flags) {
                (Behaviour::Rule(answer), _) => (answer, false),
                (_, 0) | (Behaviour::NoAgent, _) => (false, true),
                (Behaviour::Person(answer), _) => (answer, false),
                (Behaviour::Silence, _) => std::future::pending().await,
            };
            (is_authorized, is_challenge, HashMap::new())
        }

        fn cancel_check_authorization(&self, cancellation: String) {
            self.log.lock().unwrap().push(format!("cancel {cancellation}"));
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_rule_decides_without_a_question() {
        let prompts = Prompts::default();
        Bus::start(Behaviour::Rule(true))
            .await
            .ask(&prompts, LONG)
            .await
            .unwrap();
        let bus = Bus::start(Behaviour::Rule(false)).await;
        for _ in 0..3 {
            let refused = bus.ask(&prompts, LONG).await.unwrap_err();
            assert!(matches!(refused, NotConfirmed::ByRule(Action::Widen)), "{refused}");
        }
        assert_eq!(bus.log(), ["check org.regauth.widen "; 3]);
    }

    #[tokio::test]
    async fn a_yes_confirms_and_a_no_makes_the_next_question_wait() {
        let prompts = Prompts::default();
        let yes = Bus::start(Behaviour::Person(true)).await;
        for _ in 0..2 {
            yes.ask(&prompts, LONG).await.unwrap();
        }
        let no = Bus::start(Behaviour::Person(false)).await;
        let refused = no.ask(&prompts, LONG).await.unwrap_err();
        assert!(
            matches!(refused, NotConfirmed::ByPerson) && !refused.is_impossible(),
            "{refused}"
        );
        let paused = no.ask(&prompts, LONG).await.unwrap_err();
        assert!(matches!(paused, NotConfirmed::Paused(_)), "{paused}");
        assert_eq!(no.log().iter().filter(|line| line.starts_with("ask")).count(), 1);
    }

    #[tokio::test]
    async fn a_question_that_is_not_answered_is_taken_away() {
        let (bus, prompts) = (Bus::start(Behaviour::Silence).await, Prompts::default());
        let refused = bus.ask(&prompts, Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(refused, NotConfirmed::TimedOut(_)), "{refused}");
        assert_eq!(bus.log().last().unwrap(), "cancel regauth");
        assert!(matches!(
            bus.ask(&prompts, LONG).await.unwrap_err(),
            NotConfirmed::Paused(_)
        ));
    }

    #[tokio::test]
    async fn without_an_agent_or_a_polkit_or_a_bus_nobody_can_be_asked() {
        let (bus, prompts) = (Bus::start(Behaviour::NoAgent).await, Prompts::default());
        let error = bus.ask(&prompts, LONG).await.unwrap_err();
        assert!(
            matches!(error, NotConfirmed::NoAgent) && error.is_impossible(),
            "{error}"
        );
        bus.connection.release_name("org.freedesktop.PolicyKit1").await.unwrap();
        let error = bus.ask(&prompts, LONG).await.unwrap_err();
        assert!(
            error.to_string().contains("has no polkit") && error.is_impossible(),
            "{error}"
        );
        let nowhere = Polkit::on("/nowhere/bus".into()).connect().await.unwrap_err();
        assert!(nowhere.to_string().contains("no system bus"), "{nowhere}");
    }
}
