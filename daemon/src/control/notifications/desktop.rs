//! The desktop's notification daemon
//! (<https://specifications.freedesktop.org/notification-spec/latest/protocol.html>), over the session bus.

use std::collections::HashMap;
use std::time::Duration;

use regauth_shared::response::Problem;
use zbus::blocking::connection;
use zbus::zvariant::Value;

/// Shows a problem as the summary, and the next command as the body. Blocks for at most [`CALL_TIMEOUT`] a call.
///
/// Some daemons read the body as markup. The hints of the warnings have none: they are our own texts with a registry's
/// name.
///
/// # Errors
/// There is no session bus, or no notification daemon on it.
pub(super) fn show(problem: &Problem) -> zbus::Result<()> {
    let bus = connection::Builder::session()?.method_timeout(CALL_TIMEOUT).build()?;
    let summary = format!("regauth: {}", problem.message);
    let actions: &[&str] = &[];
    let hints = HashMap::from([("urgency", Value::from(NORMAL_URGENCY))]);
    let notification = (
        "regauth",
        NEW,
        "dialog-warning",
        summary,
        problem.hint.as_str(),
        actions,
        hints,
        USUAL_TIMEOUT,
    );
    bus.call_method(Some(NAME), PATH, Some(NAME), "Notify", &notification)?;
    Ok(())
}

/// Time limit of a call. A bus may start the notification daemon for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Bus name and interface.
const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// Id for a notification that replaces none.
const NEW: u32 = 0;
const NORMAL_URGENCY: u8 = 1;
/// The notification daemon decides.
const USUAL_TIMEOUT: i32 = -1;
