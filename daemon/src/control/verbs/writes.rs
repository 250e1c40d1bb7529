//! `allow` and `deny`: open and close a registry for writes.

use std::time::Duration;

use regauth_shared::event::{EventKind, RegistryChange, WritesOpened};
use regauth_shared::request::{Allow, ByName};
use regauth_shared::response::WritesChanged;
use regauth_shared::{ErrorBody, ErrorKind};
use time::OffsetDateTime;

use crate::control::controller::Controller;
use crate::control::verbs::show::rfc3339;
use crate::deadline::Deadline;

/// Opens writes for a limited time.
///
/// # Errors
/// `not-found`; `invalid` when the time is zero or longer than a day.
pub(crate) fn allow(controller: &Controller, request: Allow) -> Result<WritesChanged, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    if request.seconds == 0 || request.seconds > MAX_OPEN.as_secs() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "writes are opened for between 1 second and 24 hours",
        )
        .hint("`writes = \"allow\"` in config.toml keeps them open"));
    }
    let until = Deadline::after(OffsetDateTime::now_utc(), Duration::from_secs(request.seconds));
    route.usage.open_writes(Some(until));
    tracing::info!(registry = %request.name, seconds = request.seconds, "opened writes");
    controller.announce(EventKind::WritesOpened(WritesOpened {
        registry: request.name.clone(),
        until: rfc3339(until.wall),
    }));
    Ok(WritesChanged {
        name: request.name,
        open_until: Some(rfc3339(until.wall)),
    })
}

/// Closes writes at once.
///
/// # Errors
/// `not-found`; `refused` when the configuration keeps writes open.
pub(crate) fn deny(controller: &Controller, request: ByName) -> Result<WritesChanged, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    route.usage.open_writes(None);
    if route.writes_are_open() {
        let name = &request.name;
        let message = format!("writes of `{name}` stay open: the configuration says writes = \"allow\"");
        return Err(ErrorBody::new(ErrorKind::Refused, message)
            .hint("change it to \"deny\" in config.toml, then `regauthctl reload`"));
    }
    tracing::info!(registry = %request.name, "closed writes");
    controller.announce(EventKind::WritesClosed(RegistryChange {
        registry: request.name.clone(),
    }));
    Ok(WritesChanged {
        name: request.name,
        open_until: None,
    })
}

/// Longest time for which `allow` opens writes.
const MAX_OPEN: Duration = Duration::from_secs(24 * 60 * 60);
