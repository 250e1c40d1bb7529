//! Presence: requests that widen where a token goes or what it may do need a person, since a program could send them, too.
//!
//! [`regauth_shared::presence`] has the table of these requests. A request of root counts as a person's, because sudo or doas
//! decides who becomes root. All other users are asked: by polkit on Linux, by LocalAuthentication on macOS. [`question`] has
//! the dialogue's text, [`asking`] the deadline, and [`prompts`] limits how often the dialogue opens.
//!
//! A guarded daemon always asks. A user's own daemon asks as `presence` in config.toml says ([`PresenceMode`]).

mod announcement;
mod asking;
mod confirmation;
#[cfg(any(target_os = "macos", test))]
mod local_authentication;
mod not_confirmed;
#[cfg(any(target_os = "macos", test))]
mod peer_connection;
#[cfg(target_os = "linux")]
mod peer_process;
#[cfg(target_os = "linux")]
mod polkit;
mod prompts;
mod question;

#[cfg(target_os = "macos")]
use self::local_authentication as platform;
#[cfg(target_os = "linux")]
use self::polkit as platform;
use regauth_shared::presence::{Action, Asks, Guarded};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use crate::config::PresenceMode;
use crate::control::controller::Controller;
use crate::control::review::Review;
use crate::control::server::{ControlClients, Peer};
use crate::registry::Source;
use not_confirmed::NotConfirmed;
use question::Question;

pub(in crate::control) use announcement::announce_token;
pub(crate) use confirmation::Confirmation;
/// Other end of a control connection: the program that asks.
#[cfg(target_os = "macos")]
pub(crate) use peer_connection::PeerConnection as Asker;
/// Other end of a control connection: the program that asks.
#[cfg(target_os = "linux")]
pub(crate) use peer_process::PeerProcess as Asker;

/// Presence of a person behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Root has asked, or the platform has asked a person.
    Person,
    /// It may be any program.
    Unknown {
        /// Number of its user; `None` without a control connection.
        user: Option<u32>,
    },
}

/// Permission to carry out a request.
#[derive(Debug)]
pub(crate) struct Permission {
    pub(crate) presence: Presence,
    /// Changes that a person was asked about; `None` if nobody was asked, or not about a configuration.
    reviewed: Option<Review>,
    /// Digest of the changes that `regauthctl` has shown before the request.
    shown: Option<String>,
}

impl Permission {
    /// Permission without a question.
    pub(crate) fn unasked(presence: Presence) -> Self {
        Self {
            presence,
            reviewed: None,
            shown: None,
        }
    }

    /// The permission for this request alone.
    #[must_use]
    pub(in crate::control) fn of(self, request: &Request) -> Self {
        Self {
            shown: request.reviewed().map(str::to_owned),
            ..self
        }
    }

    /// Refuses a configuration that changes more than what a person was asked about, or other than what was shown.
    ///
    /// # Errors
    /// `failed` if something was changed meanwhile.
    pub(in crate::control) fn refuse_beyond(&self, controller: &Controller, review: &Review) -> Result<(), ErrorBody> {
        controller
            .confirmation
            .refuse_other_than(self.shown.as_deref(), review)?;
        match &self.reviewed {
            Some(reviewed) => review.refuse_beyond(reviewed),
            None => Ok(()),
        }
    }
}

/// Has a person permit a guarded request.
///
/// # Errors
/// `refused`, with the reason and what to do; `not-found` for an unknown registry; those of the verb that a review finds. Nothing
/// was changed.
pub(crate) async fn require(controller: &Controller, peer: &Peer, request: &Request) -> Result<Permission, ErrorBody> {
    if is_present(controller, peer) {
        announcement::announce_root(controller, request);
        return Ok(Permission::unasked(Presence::Person));
    }
    let unknown = Permission::unasked(Presence::Unknown { user: peer.user() });
    let Some(guarded) = request.guarded().or(removal(controller, request).await?) else {
        return Ok(unknown);
    };
    if !needs_person(controller, guarded) {
        return Ok(unknown);
    }
    let is_guarded = controller.proxy.served.is_guarded();
    let mode = mode(controller);
    check_names(controller, request)?;
    let takes_token = (!is_guarded || guarded.asks == Asks::OrTakesToken) && needs_token(controller, request);
    if takes_token && request.has_proof() {
        return Ok(unknown);
    }
    let guarded = Guarded {
        action: action(controller, guarded.action),
        ..guarded
    };
    let reviewed = Review::of_request(controller, request).await?;
    let question = (is_guarded || platform::SHOWS_ANY_TEXT)
        .then(|| Question::about(request, reviewed.as_ref()))
        .flatten();
    let asked = controller
        .confirmation
        .ask(controller, peer, guarded.action, question)
        .await;
    announcement::announce_answer(controller, peer, request, guarded, &asked);
    match asked {
        Ok(()) => Ok(Permission {
            reviewed,
            ..Permission::unasked(Presence::Person)
        }),
        Err(reason) if reason.is_impossible() && (takes_token || mode == PresenceMode::Auto) => {
            tracing::debug!(%reason, "could not ask for a person's confirmation");
            Ok(unknown)
        }
        Err(reason) => Err(refused(guarded, (!is_guarded).then_some(mode), &reason)),
    }
}

/// True if a request of this kind needs a person, in this mode of the daemon.
fn needs_person(controller: &Controller, guarded: Guarded) -> bool {
    let is_open = guarded.asks == Asks::GuardedOnly && !controller.proxy.served.is_guarded();
    mode(controller) != PresenceMode::Never && !is_open
}

/// A removal is open, except that of a name that root has defined.
async fn removal(controller: &Controller, request: &Request) -> Result<Option<Guarded>, ErrorBody> {
    let Request::RemoveRegistry(request) = request else {
        return Ok(None);
    };
    let is_of_root = controller.is_name_of_root(&request.name).await?;
    Ok(is_of_root.then_some(Guarded {
        action: Action::Manage,
        does: "removes a registry that root has defined",
        asks: Asks::GuardedOnly,
    }))
}

/// True if the platform asks about guarded requests of this client, as far as that can be said before.
pub(crate) fn asks(controller: &Controller, peer: &Peer) -> bool {
    !is_present(controller, peer) && mode(controller) != PresenceMode::Never && platform::can_ask()
}

/// Mode in service.
pub(crate) fn mode(controller: &Controller) -> PresenceMode {
    let configured = controller.confirmation.mode();
    match controller.control_clients {
        ControlClients::Served(_) => PresenceMode::Always,
        // polkit says yes to root without asking.
        ControlClients::Owner if is_root() => PresenceMode::Never,
        ControlClients::Owner => configured,
        // polkit does not let a dynamic user ask about others.
        ControlClients::Group if configured == PresenceMode::Auto => PresenceMode::Never,
        ControlClients::Group => configured,
    }
}

/// A person is present who can become root, with or without a password, as sudo or doas decide. Where the daemon itself is
/// root's, so are programs.
fn is_present(controller: &Controller, peer: &Peer) -> bool {
    peer.is_root() && (controller.proxy.served.is_guarded() || !is_root())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A change by one user of several is a change for all of them: an administrator decides.
fn action(controller: &Controller, action: Action) -> Action {
    match controller.proxy.served.ids().len() {
        0 | 1 => action,
        _ => Action::Administer,
    }
}

/// Refuses a request about an unknown registry before a person is asked.
fn check_names(controller: &Controller, request: &Request) -> Result<(), ErrorBody> {
    let snapshot = controller.snapshot();
    let mut names = named(request).into_iter();
    names.try_for_each(|name| snapshot.registry(name).map(drop))
}

fn named(request: &Request) -> Vec<&RegistryName> {
    match request {
        Request::AddRegistry(request) => Vec::from_iter(&request.credential_of),
        Request::AddScope(request) => vec![&request.name],
        Request::Confirm(request) => vec![&request.name],
        Request::SetRegistry(request) => vec![&request.name],
        Request::Allow(request) => vec![&request.name],
        Request::RemoveRegistry(request) => vec![&request.name],
        Request::Grant(request) => request.registries.iter().collect(),
        _ => Vec::new(),
    }
}

/// True if the verb itself permits the request only with the registry's present token, unless a person is there.
fn needs_token(controller: &Controller, request: &Request) -> bool {
    let name = match request {
        Request::AddRegistry(request) => request.credential_of.as_ref(),
        Request::AddScope(request) => Some(&request.name),
        Request::Confirm(request) => Some(&request.name),
        _ => None,
    };
    let snapshot = controller.snapshot();
    let source = |name: &RegistryName| Some(snapshot.registry(name).ok()?.configured().source.clone());
    name.and_then(|name| match source(name)? {
        Source::Of(owner) => source(&owner),
        own => Some(own),
    })
    .is_some_and(|source| source.is_stored())
}

/// Error of a daemon that is guarded, or that a mode of the configuration makes ask.
fn refused(guarded: Guarded, mode: Option<PresenceMode>, reason: &NotConfirmed) -> ErrorBody {
    let subject = match mode {
        None => "is guarded".to_owned(),
        Some(mode) => format!("has presence = \"{}\"", mode.as_str()),
    };
    let message = format!(
        "this regauthd {subject}: it {} only if a person confirms, since a program of yours could ask too; {reason}",
        guarded.does
    );
    let hint = format!("nothing was changed; {}", reason.next_step(mode.is_none()));
    ErrorBody::new(ErrorKind::Refused, message).hint(hint)
}

/// Name of the platform's part that asks.
const PLATFORM: &str = if cfg!(target_os = "macos") { "macOS" } else { "polkit" };
