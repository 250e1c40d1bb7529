//! One line of text for an event or a note.

use regauth_shared::audit::Note;
use regauth_shared::event::{Client, Event, EventKind, Exchange, Operation};
use regauth_shared::response::VerdictResult;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Columns of an event: time, registry, client, what happened.
pub(crate) fn event(event: &Event) -> Vec<String> {
    let registry = event.kind.registry().map_or("-", |registry| registry.as_str());
    let client = event
        .kind
        .exchange()
        .map_or("-".to_owned(), |exchange| client(&exchange.client));
    vec![time(event.time), registry.to_owned(), client, what(&event.kind)]
}

/// Columns of a note, as those of an event.
pub(crate) fn note(note: &Note) -> Vec<String> {
    let (at, text) = match note {
        Note::Repaired { time, bytes } => (
            Some(*time),
            format!("record: removed {bytes} bytes of a line that a kill had cut"),
        ),
        Note::Damaged { time } => (Some(*time), "record: the line before cannot be read".to_owned()),
        Note::Pruned { time, through } => (Some(*time), format!("record: deleted the lines up to {}", through.line)),
        _ => (None, "record: a note of a newer release".to_owned()),
    };
    vec![at.map_or("-".to_owned(), time), "-".to_owned(), "-".to_owned(), text]
}

/// Time in RFC 3339, to the second.
pub(crate) fn time(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Name of a client: its program, grant, user or address.
fn client(client: &Client) -> String {
    let program = client.program.as_deref().and_then(|path| path.rsplit('/').next());
    let named = match (program, client.pid) {
        (Some(program), Some(pid)) => Some(format!("{program}[{pid}]")),
        (program, _) => program.map(str::to_owned),
    };
    let grant = client.grant.as_ref().map(|grant| format!("grant {grant}"));
    let user = || client.uid.map(|uid| format!("user {uid}"));
    match (named, grant) {
        (Some(named), Some(grant)) => format!("{named}, {grant}"),
        (named, grant) => {
            (named.or(grant).or_else(user).or_else(|| client.address.clone())).unwrap_or_else(|| "unknown".to_owned())
        }
    }
}

fn what(kind: &EventKind) -> String {
    match kind {
        EventKind::Request(exchange) => request(exchange),
        EventKind::Refusal(exchange) => {
            let code = exchange.code.as_deref().unwrap_or("refused");
            format!("{}: {code}", request(exchange))
        }
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
        EventKind::GrantRevoked(revoked) => format!("revoked the grant {}", revoked.grant),
        EventKind::RegistryAdded(_) => "added the registry".to_owned(),
        EventKind::RegistryRemoved(_) => "removed the registry".to_owned(),
        EventKind::RegistryChanged(_) => "changed the registry".to_owned(),
        EventKind::Reload(reload) => format!("reloaded the configuration, registries: {}", reload.registries),
        EventKind::StoreLocked(store) => format!("the store {} is locked", store.store),
        EventKind::StoreOpened(store) => format!("the store {} is open", store.store),
        EventKind::Started(started) => format!("regauthd {} started", started.version),
        EventKind::Stopping => "regauthd stops".to_owned(),
        EventKind::Lost(lost) => format!("{} events are missing", lost.events),
        _ => "an event of a newer release".to_owned(),
    }
}

fn request(exchange: &Exchange) -> String {
    let method = exchange.method.as_deref().unwrap_or("CONNECT");
    // A refused CONNECT has no path, and a request outside of every scope is told by its host.
    let host = exchange
        .host
        .as_deref()
        .filter(|_| exchange.registry.is_none() || exchange.path.is_none());
    let target = format!(
        "{}{}",
        host.unwrap_or_default(),
        exchange.path.as_deref().unwrap_or_default()
    );
    let status = exchange
        .status
        .map_or("no answer".to_owned(), |status| status.to_string());
    let write = if exchange.operation == Some(Operation::Write) {
        ", write"
    } else {
        ""
    };
    format!("{method} {target} {status}{write}")
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
