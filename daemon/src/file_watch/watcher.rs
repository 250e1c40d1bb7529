//! The daemon's one watcher: it keeps inotify's watches and passes its events on to the readers of files.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::file_system::{is_local, reports_entries};
#[cfg(target_os = "linux")]
use super::inotify::{Event, EventQueue, Ready};
use super::subscriptions::{Descriptor, Signal, Subscription, Subscriptions, WatchId};
#[cfg(not(target_os = "linux"))]
use super::unsupported::EventQueue;
use super::walk::walk;

/// Watcher of the daemon's files.
#[derive(Debug)]
pub(crate) struct FileWatcher {
    /// Absent if this system has none, or refused it: then all files are looked at.
    queue: Option<EventQueue>,
    /// Locked while a watch begins, so that no event of it is passed on before its reader is known.
    subscriptions: Mutex<Subscriptions>,
    has_failed: AtomicBool,
    /// Kinds of errors that the log has.
    logged: Mutex<Vec<ErrorKind>>,
}

impl FileWatcher {
    /// A watcher whose events wait for [`FileWatcher::run`].
    pub(crate) fn new() -> Arc<Self> {
        let queue = EventQueue::open();
        let watcher = Self::with_queue(None);
        match queue {
            Ok(queue) => Self::with_queue(Some(queue)),
            Err(error) => {
                watcher.report(&error);
                watcher
            }
        }
    }

    /// A watcher without events.
    #[cfg(test)]
    pub(crate) fn without_events() -> Arc<Self> {
        Self::with_queue(None)
    }

    fn with_queue(queue: Option<EventQueue>) -> Arc<Self> {
        Arc::new(Self {
            queue,
            subscriptions: Mutex::default(),
            has_failed: AtomicBool::new(false),
            logged: Mutex::default(),
        })
    }

    /// Passes events on until `end` is cancelled.
    #[cfg(target_os = "linux")]
    pub(crate) async fn run(&self, end: CancellationToken) {
        let Some(queue) = &self.queue else {
            return;
        };
        if let Some(Err(error)) = end.run_until_cancelled(self.serve(queue)).await {
            self.report(&error);
            self.has_failed.store(true, Ordering::Release);
            self.lock().report_all();
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) async fn run(&self, end: CancellationToken) {
        end.cancelled().await;
    }

    #[cfg(target_os = "linux")]
    async fn serve(&self, queue: &EventQueue) -> io::Result<std::convert::Infallible> {
        let mounts = queue.mounts()?;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let quiet_since = Instant::now();
            let ready = queue.ready(&mounts).await?;
            pause = match quiet_since.elapsed() {
                quiet if quiet > QUIET => SHORTEST_PAUSE,
                _ => (pause * 2).min(LONGEST_PAUSE),
            };
            tokio::time::sleep(pause).await;
            self.pass_on(queue, ready);
        }
    }

    #[cfg(target_os = "linux")]
    fn pass_on(&self, queue: &EventQueue, ready: Ready) {
        let mut subscriptions = self.lock();
        if ready == Ready::MountTable {
            subscriptions.request_looks();
        }
        queue.drain(|event| match event {
            Event::Changed(watch, name) => subscriptions.report(watch, name),
            Event::Gone(watch) => subscriptions.report_gone(watch),
            Event::Lost => subscriptions.request_looks(),
        });
    }

    pub(super) fn join(&self) -> (WatchId, Arc<Signal>) {
        self.lock().join()
    }

    /// Subscribes a reader to everything on the way to its file, and to the file.
    ///
    /// # Errors
    /// Not all changes would be reported.
    pub(super) fn subscribe(&self, id: WatchId, path: &Path, all: &mut Vec<Subscription>) -> io::Result<()> {
        let Some(queue) = self.queue.as_ref().filter(|_| !self.has_failed.load(Ordering::Acquire)) else {
            return Err(ErrorKind::Unsupported.into());
        };
        let file = walk(path, |folder, name| {
            if !reports_entries(folder) {
                return Err(unreported(folder));
            }
            all.push(self.add(id, name, || queue.watch_folder(folder))?);
            Ok(())
        })?;
        let Some(file) = file else {
            return Ok(());
        };
        if !is_local(&file) {
            return Err(unreported(&file));
        }
        match self.add(id, OsStr::new(""), || queue.watch_file(&file)) {
            Ok(subscription) => all.push(subscription),
            // Its folder reports the next file of this name.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn add(
        &self,
        id: WatchId,
        name: &OsStr,
        watch: impl FnOnce() -> io::Result<Descriptor>,
    ) -> io::Result<Subscription> {
        let mut subscriptions = self.lock();
        let watch = watch()?;
        subscriptions.add(id, watch, name);
        let name = name.into();
        Ok(Subscription { watch, name })
    }

    pub(super) fn unsubscribe<'a>(&self, id: WatchId, ended: impl Iterator<Item = &'a Subscription>) {
        let mut subscriptions = self.lock();
        for subscription in ended {
            if subscriptions.remove(id, subscription)
                && let Some(queue) = &self.queue
            {
                queue.end_watch(subscription.watch);
            }
        }
    }

    pub(super) fn leave(&self, id: WatchId, subscriptions: &[Subscription]) {
        self.unsubscribe(id, subscriptions.iter());
        self.lock().leave(id);
    }

    /// Logs the reason why files are looked at, once for each kind.
    pub(super) fn report(&self, error: &io::Error) {
        // The reason why there is no queue has been logged.
        if error.kind() == ErrorKind::Unsupported {
            return;
        }
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if !logged.contains(&error.kind()) {
            logged.push(error.kind());
            tracing::debug!(%error, "could not watch a file: looking at it every second");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the watches in use.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn watches(&self) -> usize {
        self.lock().watches()
    }
}

fn unreported(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{} is on a file system that reports not all changes",
        path.display()
    ))
}

/// Time from the first event to the readers' looks: a program that replaces a file causes several.
#[cfg(target_os = "linux")]
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, while events do not cease: entries come and go in a folder such as /tmp. Looks are then as frequent as
/// without events.
#[cfg(target_os = "linux")]
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Time without an event after which the shortest pause counts again.
#[cfg(target_os = "linux")]
const QUIET: Duration = Duration::from_secs(3);
