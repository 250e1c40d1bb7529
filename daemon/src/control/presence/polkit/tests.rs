use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::net::UnixStream;
use zbus::zvariant::OwnedValue;

use super::*;
use crate::control::presence::asking::Asking;
use crate::control::presence::prompts::Prompts;

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
        let inquiry = self.polkit.prepare(&process, Action::Widen, None).await?;
        Asking { prompts, time_limit }.ask(&inquiry, &process).await
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
        let is_this_process = subject.1.get("pid").and_then(|id| u32::try_from(id).ok()) == Some(std::process::id());
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
