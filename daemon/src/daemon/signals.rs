//! Signals of the daemon.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::control::controller::Controller;
use crate::control::presence::{Permission, Presence};
use crate::control::verbs::lifecycle;

/// Listener for SIGTERM, SIGINT and SIGHUP.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM, SIGINT or `regauthctl stop`, also while a SIGHUP reloads. `reloads` tracks the reloads.
    pub(super) async fn wait_for_stop(&mut self, controller: &Arc<Controller>, reloads: &TaskTracker) {
        loop {
            tokio::select! {
                () = controller.stop.cancelled() => return,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
            let controller = Arc::clone(controller);
            reloads.spawn(async move {
                if let Err(error) =
                    lifecycle::reload(&controller, Permission::unasked(Presence::Unknown { user: None })).await
                {
                    tracing::error!(error = %error.message, "reload failed");
                }
            });
        }
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn terminated(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
