//! Notifications to the service manager (sd_notify(3)): ready, status, reloading, stopping, watchdog.
//!
//! Without NOTIFY_SOCKET in the environment, the functions do nothing.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::proxy::downstream::accept::Liveness;
use crate::proxy::state::ProxyState;

/// Reports that clients can connect.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Sets the status text for `systemctl status`.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Reports a reload, until the returned value is dropped.
pub fn reloading() -> Reloading {
    // Type=notify-reload needs the time (sd_notify(3)). If the clock cannot be read, the reload goes on without it.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    Reloading(())
}

/// Guard of a reload.
#[must_use]
pub struct Reloading(());

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

/// Reports that the daemon drains.
pub fn stopping(proxy: &ProxyState) {
    let status = format!("draining, {} connections", proxy.counters.connections());
    notify(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

/// Notifies the watchdog of the service manager while every thread responds. The task runs on the control thread and
/// asks each worker. If one hangs, the notifications stop, and the service manager restarts the daemon.
pub async fn watchdog(liveness: Liveness, end: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // sd_watchdog_enabled(3) recommends half of the limit.
    let mut interval = tokio::time::interval(limit / 2);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = end.cancelled() => return,
        }
        if tokio::time::timeout(limit / 2, liveness.check()).await.is_ok() {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker did not respond, skipped the watchdog notification");
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "notification of the service manager failed");
    }
}
