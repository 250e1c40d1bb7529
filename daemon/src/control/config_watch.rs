//! Reload of a gateway's configuration when its file changes: a mounted ConfigMap, whose link Kubernetes replaces.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Clients;
use crate::control::controller::Controller;
use crate::control::verbs::lifecycle;
use crate::file_stamp::FileStamp;

/// Reloads the configuration whenever its file has changed, if this daemon is a gateway.
pub(crate) async fn follow(controller: Arc<Controller>, end: CancellationToken) {
    if controller.proxy.clients != Clients::Gateway || !controller.persistent {
        return;
    }
    let mut loaded = stamp(&controller.config_file).await;
    let mut previous = loaded;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let now = stamp(&controller.config_file).await;
        // A program may be writing the file in place: it is read once it has stopped changing.
        if now != loaded && now == previous && now.is_some() {
            loaded = now;
            if let Err(error) = lifecycle::reload(&controller).await {
                tracing::error!(
                    error = error.message,
                    "kept the previous configuration: its file changed and has errors"
                );
            }
        }
        previous = now;
    }
}

async fn stamp(path: &std::path::Path) -> Option<FileStamp> {
    let path = PathBuf::from(path);
    let stamp = tokio::task::spawn_blocking(move || FileStamp::of(&path).ok());
    stamp.await.ok().flatten()
}

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
