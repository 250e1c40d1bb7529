//! The listener: accepts connections and hands them to the workers, until the daemon drains.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::proxy::worker::Workers;

/// Accepts until `drain` is cancelled. An error of `accept` costs a pause and never the loop.
pub async fn accept(listener: TcpListener, workers: Workers, drain: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                workers.hand_over(stream);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors: accepting again at once would spin until one is free.
                tracing::warn!(%error, "cannot accept connections, pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

const PAUSE: Duration = Duration::from_millis(100);
