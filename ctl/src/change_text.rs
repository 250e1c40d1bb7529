//! Texts of events for people, the same in `watch` and `audit`.

use regauth_shared::event::{Confirmation, EventKind};
use regauth_shared::response::VerdictResult;

/// Describes an event that is no request.
pub(crate) fn describe(kind: &EventKind) -> String {
    match kind {
        EventKind::Renewal(renewal) => match (&renewal.generation, &renewal.failure) {
            (Some(generation), _) => format!("renewed the token, generation {generation}"),
            (None, failure) => format!(
                "could not renew the token: {}",
                failure.as_deref().unwrap_or("no reason given")
            ),
        },
        EventKind::Rotation(rotation) => {
            let verified = if rotation.verified { "" } else { ", not verified" };
            format!("rotated the token, generation {}{verified}", rotation.generation)
        }
        EventKind::Logout(_) => "deleted the token".to_owned(),
        EventKind::Verification(verification) => format!("verified the token: {}", verdict(verification.result)),
        EventKind::WritesOpened(opened) => format!("opened writes until {}", opened.until),
        EventKind::WritesClosed(_) => "closed writes".to_owned(),
        EventKind::GrantCreated(created) => {
            let names: Vec<&str> = created.registries.iter().map(|registry| registry.as_str()).collect();
            let registries = if names.is_empty() {
                "every registry".to_owned()
            } else {
                names.join(", ")
            };
            let writes = if created.write { " and writes" } else { "" };
            format!(
                "granted {} reads{writes} of {registries} until {}",
                created.grant, created.expires
            )
        }
        EventKind::GrantExpired(expired) => format!("the grant {} has expired", expired.grant),
        EventKind::GrantRevoked(revoked) => format!("revoked the grant {}", revoked.grant),
        EventKind::RegistryAdded(_) => "added the registry".to_owned(),
        EventKind::RegistryRemoved(_) => "removed the registry".to_owned(),
        EventKind::RegistryChanged(_) => "changed the registry".to_owned(),
        EventKind::Confirmation(confirmation) => describe_confirmation(confirmation),
        EventKind::Reload(reload) => format!("reloaded the configuration, registries: {}", reload.registries),
        EventKind::StoreLocked(store) => format!("the store {} cannot be read", store.store),
        EventKind::StoreOpened(store) => format!("the store {} is open", store.store),
        EventKind::Started(started) => format!("regauthd {} started", started.version),
        EventKind::Stopping => "regauthd stops".to_owned(),
        EventKind::Lost(lost) => format!("lost {} events", lost.events),
        _ => "an event of a newer release".to_owned(),
    }
}

fn describe_confirmation(confirmation: &Confirmation) -> String {
    let user = confirmation
        .uid
        .map_or("a user".to_owned(), |uid| format!("user {uid}"));
    let (by, effect) = (confirmation.by.as_str(), &confirmation.effect);
    if confirmation.confirmed {
        return format!("{by} confirmed a request of {user} that {effect}");
    }
    let reason = confirmation.reason.as_deref().unwrap_or("no reason given");
    format!("{by} did not confirm a request of {user} that {effect}: {reason}")
}

fn verdict(result: VerdictResult) -> &'static str {
    match result {
        VerdictResult::Accepted => "accepted",
        VerdictResult::Rejected => "rejected",
        VerdictResult::Public => "the page is public",
        VerdictResult::NoToken => "there is none",
        _ => "unclear",
    }
}

/// Status of a request whose client left before the answer.
pub(crate) const NO_ANSWER: &str = "no answer";

#[cfg(test)]
mod tests {
    use regauth_shared::event::Confirmer;

    use super::*;

    #[test]
    fn a_confirmation_names_who_asked_for_what_and_the_answer() {
        let mut confirmation = Confirmation {
            registry: None,
            uid: Some(1000),
            effect: "opens writes".to_owned(),
            by: Confirmer::Polkit,
            confirmed: true,
            reason: None,
        };
        let text = |confirmation: &Confirmation| describe(&EventKind::Confirmation(confirmation.clone()));
        assert_eq!(
            text(&confirmation),
            "polkit confirmed a request of user 1000 that opens writes"
        );
        confirmation.confirmed = false;
        confirmation.reason = Some("it was answered with no".to_owned());
        assert_eq!(
            text(&confirmation),
            "polkit did not confirm a request of user 1000 that opens writes: it was answered with no"
        );
    }
}
