//! `allow` and `deny`: whether writes are open.

use std::time::Duration;

use regauth_shared::request::{Allow, ByName};
use regauth_shared::response::WritesChanged;
use regauth_shared::{ErrorBody, ErrorKind};
use time::OffsetDateTime;

use crate::control::controller::Controller;
use crate::control::state::find;
use crate::control::verbs::show::moment;

/// Opens writes for a while.
pub(crate) fn allow(controller: &Controller, request: Allow) -> Result<WritesChanged, ErrorBody> {
    let route = find(&controller.snapshot().registries, &request.name)?;
    if request.seconds == 0 || request.seconds > LONGEST.as_secs() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "writes are opened for between 1 second and 24 hours",
        )
        .hint("`writes = \"allow\"` in config.toml keeps them open"));
    }
    let until = OffsetDateTime::now_utc() + Duration::from_secs(request.seconds);
    route.usage.open_writes(Some(until));
    tracing::info!(registry = %request.name, seconds = request.seconds, "writes are open");
    Ok(WritesChanged {
        name: request.name,
        open_until: Some(moment(until)),
    })
}

/// Closes writes at once.
pub(crate) fn deny(controller: &Controller, request: ByName) -> Result<WritesChanged, ErrorBody> {
    let route = find(&controller.snapshot().registries, &request.name)?;
    route.usage.open_writes(None);
    if route.writes_are_open() {
        return Err(ErrorBody::new(
            ErrorKind::Refused,
            format!(
                "writes of `{}` stay open: the configuration says writes = \"allow\"",
                request.name
            ),
        )
        .hint("change it to \"deny\" in config.toml, then `regauthctl reload`"));
    }
    tracing::info!(registry = %request.name, "writes are closed");
    Ok(WritesChanged {
        name: request.name,
        open_until: None,
    })
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
