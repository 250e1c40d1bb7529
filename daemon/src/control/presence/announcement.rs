//! Events about confirmations, for `watch` and the audit record: who asked for what, and the answer.
//!
//! No event repeats a text of the request but the registry's name: the sender chooses the others.

use regauth_shared::event::{self, Confirmer, EventKind};
use regauth_shared::presence::Guarded;
use regauth_shared::{RegistryName, Request};

use crate::control::controller::Controller;
use crate::control::presence::not_confirmed::NotConfirmed;
use crate::control::presence::{named, needs_person};
use crate::control::server::Peer;

/// Announces an answer of the platform. A question that nobody was asked has none.
pub(super) fn announce_answer(
    controller: &Controller,
    peer: &Peer,
    request: &Request,
    guarded: Guarded,
    asked: &Result<(), NotConfirmed>,
) {
    let reason = asked.as_ref().err();
    if reason.is_some_and(|reason| !reason.is_answer()) {
        return;
    }
    controller.announce(EventKind::Confirmation(event::Confirmation {
        registry: registry(request),
        uid: peer.user(),
        effect: guarded.does.to_owned(),
        by: PLATFORM,
        confirmed: asked.is_ok(),
        reason: reason.map(ToString::to_string),
    }));
}

/// Announces a guarded request of root, who is asked nothing.
pub(super) fn announce_root(controller: &Controller, request: &Request) {
    let Some(guarded) = request.guarded().filter(|guarded| needs_person(controller, *guarded)) else {
        return;
    };
    controller.announce(EventKind::Confirmation(event::Confirmation {
        registry: registry(request),
        uid: Some(rustix::process::Uid::ROOT.as_raw()),
        effect: guarded.does.to_owned(),
        by: Confirmer::Root,
        confirmed: true,
        reason: None,
    }));
}

/// Announces that a request brought the present token of a registry, or another one.
pub(in crate::control) fn announce_token(
    controller: &Controller,
    user: Option<u32>,
    registry: &RegistryName,
    is_right: bool,
) {
    controller.announce(EventKind::Confirmation(event::Confirmation {
        registry: Some(registry.clone()),
        uid: user,
        effect: "sends a token to more places".to_owned(),
        by: Confirmer::Token,
        confirmed: is_right,
        reason: (!is_right).then(|| "it is not the present token".to_owned()),
    }));
}

fn registry(request: &Request) -> Option<RegistryName> {
    named(request).first().copied().cloned()
}

const PLATFORM: Confirmer = if cfg!(target_os = "macos") {
    Confirmer::Macos
} else {
    Confirmer::Polkit
};
