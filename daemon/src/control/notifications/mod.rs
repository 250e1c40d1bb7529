//! Desktop notifications: a token near its end, a registry that rejects its token, a locked store.
//!
//! The texts are the problems that `status` lists ([`problems`], [`store`]): what, and the next command. Each cause is
//! notified once in 24 hours ([`history`]), over the session bus ([`desktop`]). Without a session bus nothing is shown.

mod desktop;
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::response::Problem;
use tokio_util::sync::CancellationToken;

use self::history::History;
use crate::control::controller::Controller;
use crate::control::problems;
use crate::control::verbs::store;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Cause of a notification, such as `rejected corp`. Registries with one credential have one cause.
type Cause = String;

/// Every [`CHECK_INTERVAL`]: notifies of causes that last, until `end`.
pub(crate) async fn serve(controller: Arc<Controller>, end: CancellationToken) {
    let mut history = History::read(controller.folders.notifications());
    let mut seen = BTreeSet::new();
    let mut pause = CHECK_INTERVAL;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let warnings = warnings(&controller);
        // At a login the keyring opens moments after the start, and a rejected token may be renewed at once.
        let lasting = warnings.iter().filter(|(cause, _)| seen.contains(*cause));
        let due = lasting.filter(|(cause, _)| history.is_due(cause));
        let due: Vec<(Cause, Problem)> = due.map(|(cause, problem)| (cause.clone(), problem.clone())).collect();
        seen = warnings.into_keys().collect();
        pause = match notify(&mut history, due).await {
            Ok(()) => CHECK_INTERVAL,
            Err(error) => {
                tracing::debug!(error, "could not show a desktop notification");
                RETRY_INTERVAL
            }
        };
    }
}

async fn notify(history: &mut History, due: Vec<(Cause, Problem)>) -> Result<(), String> {
    for (cause, problem) in due {
        tokio::task::spawn_blocking(move || desktop::show(&problem))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        tracing::debug!(cause, "showed a desktop notification");
        history.record(cause);
    }
    Ok(())
}

/// Everything to notify of. The store is not asked here: one that was locked after the tokens were read is no problem yet.
fn warnings(controller: &Controller) -> BTreeMap<Cause, Problem> {
    let snapshot = controller.snapshot();
    let error = snapshot.store_error.as_ref();
    let locked = error.filter(|error| error.is_locked());
    let locked = locked.map(|error| ("locked store".to_owned(), store::problem(error)));
    let warn_before = controller.at_start.warn_before;
    let of_registries = snapshot
        .registries
        .values()
        .filter_map(|route| warning(route, warn_before));
    locked.into_iter().chain(of_registries).collect()
}

/// A registry that rejects its token, or whose token ends soon.
fn warning(route: &RegistryRoute, warn_before: Duration) -> Option<(Cause, Problem)> {
    let owner = match &route.registry.source {
        Source::Of(owner) => owner,
        _ => &route.name,
    };
    if route.credential.state().value()?.breaker.is_rejected() {
        return Some((format!("rejected {owner}"), problems::credential_problem(route)?));
    }
    let problem = problems::ending_problem(route, warn_before)?;
    Some((format!("ending {owner}"), problem))
}

/// Time between two checks. A cause is notified at the second one.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Pause after a failure. The bus may start a notification daemon for each attempt, and at a login it starts late.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
