//! What the service manager is told (sd_notify(3)): that we are ready, what we are doing, that we are alive.
//!
//! Without a service manager that listens (NOTIFY_SOCKET) nothing here does anything.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::proxy::downstream::accept::Liveness;
use crate::proxy::state::ProxyState;

/// Clients can connect, and the state is loaded.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What we are doing, in words for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The configuration is being read again, until the returned value is dropped.
pub fn reloading() -> Reloading {
    // Type=notify-reload needs the moment (sd_notify(3)); a clock that cannot be read is no reason not to reload.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    Reloading(())
}

/// A reload that is under way.
#[must_use]
pub struct Reloading(());

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

/// The daemon ends.
pub fn stopping(plane: &ProxyState) {
    let status = format!("draining, {} connections", plane.counters.connections());
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

/// Says that we are alive for as long as it is true, where a watchdog wants to know: this task runs on the control side's
/// thread, and every worker has to answer on its own. One that hangs ends the signs of life, and the service manager starts
/// another daemon.
pub async fn watchdog(liveness: Liveness, end: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // sd_watchdog_enabled(3): half of the time that is allowed.
    let mut beat = tokio::time::interval(limit / 2);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = end.cancelled() => return,
        }
        if tokio::time::timeout(limit / 2, liveness.check()).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker does not answer; the service manager is told no more that all is well");
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
