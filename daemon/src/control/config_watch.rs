//! Reload of a gateway's configuration when its file changes: a mounted ConfigMap, whose link Kubernetes replaces.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Clients;
use crate::control::controller::Controller;
use crate::control::presence::{Permission, Presence};
use crate::control::verbs::lifecycle;
use crate::file_stamp::FileStamp;
use crate::file_watch::FileWatch;

/// Reloads the configuration whenever its file has changed, if this daemon is a gateway. A failed reload is tried again every
/// few seconds, and `status` shows its error.
pub(crate) async fn follow(controller: Arc<Controller>, end: CancellationToken) {
    if controller.proxy.clients != Clients::Gateway || !controller.persistent {
        return;
    }
    let mut watch = FileWatch::new(&controller.file_watcher, [controller.config_file.clone()]);
    let [mut loaded] = watch.look().await;
    let mut previous = loaded;
    let mut failed: Option<(Option<FileStamp>, Instant)> = None;
    loop {
        let until_look = watch.until_look_once_settled(previous == loaded, CHECK_INTERVAL);
        if end.run_until_cancelled(until_look).await.is_none() {
            return;
        }
        let [now] = watch.look().await;
        // A program may be writing the file in place: it is read once it has stopped changing.
        let is_whole = now == previous && now.is_some();
        let has_just_failed = failed.is_some_and(|(stamp, at)| stamp == now && at.elapsed() < RETRY_INTERVAL);
        previous = now;
        if now == loaded {
            failed = None;
            controller.reload_error.store(None);
        } else if is_whole && !has_just_failed {
            if reload(&controller).await {
                loaded = now;
            }
            failed = (now != loaded).then(|| (now, Instant::now()));
        }
    }
}

/// True if the file is in service now.
async fn reload(controller: &Controller) -> bool {
    let error = lifecycle::reload(controller, Permission::unasked(Presence::Unknown { user: None }))
        .await
        .err();
    let last = controller.reload_error.load_full();
    if let Some(error) = &error
        && last.is_none_or(|last| last.message != error.message)
    {
        tracing::error!(
            error = error.message,
            "kept the previous configuration: its file changed and has errors"
        );
    }
    let is_loaded = error.is_none();
    controller.reload_error.store(error.map(Arc::new));
    is_loaded
}

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
