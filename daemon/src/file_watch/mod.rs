//! Files that the daemon reads again when they change: tokens, certificates, keys of issuers, the configuration.
//!
//! On Linux, inotify reports the changes of a file and of every folder and link on its way ([`walk`]). Looks at the
//! file become rare ([`RARER`]). They remain because inotify misses some changes: those of a network file system, of
//! FUSE, of an overlay's lower layer, and by mmap(2). Files on such a file system are looked at as often as their readers
//! ask for, and so are all files if the system refuses a watch. [`mounts`] reports a mount over a path.
//!
//! inotify is used through rustix, which is a dependency anyway. The crate `notify` would add a thread and a licence that
//! `deny.toml` does not list (CC0-1.0), and watches neither links nor folders that do not exist yet. Other systems look.

mod file_system;
#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only inotify reports changes"))]
mod subscriptions;
#[cfg(not(target_os = "linux"))]
mod unsupported;
mod walk;
mod watcher;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::subscriptions::{Signal, Subscription, WatchId};
pub(crate) use self::watcher::FileWatcher;
use crate::file_stamp::FileStamp;

/// Files that one reader follows, with their stamps at the last look.
#[derive(Debug)]
pub(crate) struct FileWatch<const FILES: usize> {
    subscriber: Arc<Subscriber<FILES>>,
    reach: Reach,
    last: Option<[Option<FileStamp>; FILES]>,
}

/// Subscriptions of one reader. They end when it is dropped.
#[derive(Debug)]
struct Subscriber<const FILES: usize> {
    watcher: Arc<FileWatcher>,
    id: WatchId,
    signal: Arc<Signal>,
    paths: [PathBuf; FILES],
    subscriptions: Mutex<Vec<Subscription>>,
}

/// Knowledge about where the files are, which decides how often and on which thread they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// inotify reports their changes.
    Watched,
    /// Not reported, but a look does not wait.
    Local,
    /// A look may wait for a network or a program.
    Remote,
}

impl<const FILES: usize> FileWatch<FILES> {
    /// Files that have not been looked at.
    pub(crate) fn new(watcher: &Arc<FileWatcher>, paths: [PathBuf; FILES]) -> Self {
        let (id, signal) = watcher.join();
        Self {
            subscriber: Arc::new(Subscriber {
                watcher: Arc::clone(watcher),
                id,
                signal,
                paths,
                subscriptions: Mutex::default(),
            }),
            reach: Reach::Remote,
            last: None,
        }
    }

    /// Waits for the next look of a reader that reads files once they have stopped changing. Files that have not `settled` are
    /// looked at after `interval`. Cancel safe.
    pub(crate) async fn until_look_once_settled(&self, settled: bool, interval: Duration) {
        match settled {
            true => self.until_look(interval).await,
            false => tokio::time::sleep(interval).await,
        }
    }

    /// Waits until the files are to be looked at: soon after a change that was reported, and else after `interval`, or
    /// [`RARER`] times that if changes are reported. Cancel safe.
    pub(crate) async fn until_look(&self, interval: Duration) {
        let interval = match self.reach {
            Reach::Watched => interval * RARER,
            Reach::Local | Reach::Remote => interval,
        };
        tokio::select! {
            () = self.subscriber.signal.raised() => {}
            () = tokio::time::sleep(until_next(interval)) => {}
        }
    }

    /// Stamps of the files; `None` for one that is absent or not regular. Changes after this look are reported.
    pub(crate) async fn look(&mut self) -> [Option<FileStamp>; FILES] {
        let may_lead_elsewhere = self.subscriber.signal.take() || self.last.is_none();
        let mut stamps = match self.reach {
            _ if may_lead_elsewhere => self.follow().await,
            Reach::Watched | Reach::Local => stamps(&self.subscriber.paths),
            Reach::Remote => {
                let subscriber = Arc::clone(&self.subscriber);
                let stamps = tokio::task::spawn_blocking(move || stamps(&subscriber.paths));
                stamps.await.unwrap_or([None; FILES])
            }
        };
        if !may_lead_elsewhere && self.last != Some(stamps) {
            stamps = self.follow().await;
        }
        self.last = Some(stamps);
        stamps
    }

    /// Follows the paths to where they lead now, then looks.
    async fn follow(&mut self) -> [Option<FileStamp>; FILES] {
        let subscriber = Arc::clone(&self.subscriber);
        let followed = tokio::task::spawn_blocking(move || (subscriber.follow(), stamps(&subscriber.paths)));
        let (reach, stamps) = followed.await.unwrap_or((Reach::Remote, [None; FILES]));
        self.reach = reach;
        stamps
    }

    /// True if changes of the files are reported.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn is_watched(&self) -> bool {
        self.reach == Reach::Watched
    }
}

impl<const FILES: usize> Subscriber<FILES> {
    /// Subscribes to what is on the way to the files now, and to nothing else.
    fn follow(&self) -> Reach {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = Vec::new();
        let followed = self
            .paths
            .iter()
            .try_for_each(|path| self.watcher.subscribe(self.id, path, &mut current));
        let reach = match followed {
            Ok(()) => Reach::Watched,
            Err(error) => {
                self.watcher.report(&error);
                subscriptions.append(&mut current);
                match self.paths.iter().all(|path| file_system::is_local(path)) {
                    true => Reach::Local,
                    false => Reach::Remote,
                }
            }
        };
        current.sort_unstable();
        current.dedup();
        let former = std::mem::replace(&mut *subscriptions, current);
        let ended = former
            .iter()
            .filter(|former| subscriptions.binary_search(former).is_err());
        self.watcher.unsubscribe(self.id, ended);
        reach
    }
}

impl<const FILES: usize> Drop for Subscriber<FILES> {
    fn drop(&mut self) {
        let subscriptions = self.subscriptions.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.watcher.leave(self.id, subscriptions);
    }
}

fn stamps<const FILES: usize>(paths: &[PathBuf; FILES]) -> [Option<FileStamp>; FILES] {
    paths.each_ref().map(|path| FileStamp::of(path).ok())
}

/// Time until the next multiple of `interval` of a clock that all files have in common: a thousand files wake this thread
/// once.
fn until_next(interval: Duration) -> Duration {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = BEGIN.elapsed().as_nanos() % interval.as_nanos().max(1);
    interval.saturating_sub(Duration::from_nanos(u64::try_from(passed).unwrap_or_default()))
}

/// Looks at a file whose changes are reported are rarer by this factor: every 30 s at a token.
const RARER: u32 = 30;

#[cfg(all(test, target_os = "linux"))]
mod tests;
