//! The signals that a daemon listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::controller::Controller;
use crate::control::verbs::lifecycle;

/// SIGTERM, SIGINT and SIGHUP.
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

    /// Until somebody wants the daemon to end; reloads until then.
    pub(super) async fn wait_for_the_end(&mut self, controller: &Controller) {
        loop {
            tokio::select! {
                () = controller.stop.cancelled() => return,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
            if let Err(error) = lifecycle::reload(controller).await {
                tracing::error!("not reloaded: {}", error.message);
            }
        }
    }

    /// Until a signal asks the daemon to end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
