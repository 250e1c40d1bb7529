//! The one thread that may wait for a store: a keychain can look at a person for minutes, or never answer at all.
//!
//! Callers are async and have deadlines. A store that hangs costs its callers their deadline once; from then on they
//! hear [`StoreError::NoAnswer`] at once, until the call ends after all or a fresh thread with a fresh store takes
//! over. Threads are never joined, so neither shutdown nor anything else waits for a store.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::Secret;
use tokio::sync::oneshot;

use super::{Item, Store, StoreError};

/// A [`Store`] behind a thread of its own.
///
/// A call that ends with [`StoreError::NoAnswer`] has an unknown outcome: a write or delete may have happened, may
/// happen later, and may even overtake a later write if a fresh thread has taken over by then. Read the item before
/// relying on either value.
pub struct StoreThread {
    open: Arc<Open>,
    deadlines: Deadlines,
    answered: Arc<AtomicBool>,
    worker: Mutex<Option<Worker>>,
    /// Every thread holds a clone while it lives, the abandoned ones too.
    living: Arc<()>,
}

type Open = dyn Fn() -> Box<dyn Store> + Send + Sync;

/// How long callers wait.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For any call but an unlock or seal, as long as the store has not answered once: the daemon's start waits this long.
    pub first: Duration,
    /// For any call but an unlock or seal.
    pub usual: Duration,
    /// For an unlock: a person types a passphrase.
    pub unlock: Duration,
    /// How long past its deadline a call may hold the thread before a fresh one takes over.
    pub patience: Duration,
}

/// 2 s, 10 s, 120 s and 30 s.
impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            usual: Duration::from_secs(10),
            unlock: Duration::from_secs(120),
            patience: Duration::from_secs(30),
        }
    }
}

impl StoreThread {
    /// Prepares a store that `open` makes, on its thread, when it is first called, and again after a panic or when a
    /// fresh thread takes over.
    pub fn new(open: impl Fn() -> Box<dyn Store> + Send + Sync + 'static, deadlines: Deadlines) -> Self {
        Self {
            open: Arc::new(open),
            deadlines,
            answered: Arc::default(),
            worker: Mutex::default(),
            living: Arc::default(),
        }
    }

    /// [`Store::read`].
    ///
    /// # Errors
    /// Those of the store; [`StoreError::NoAnswer`] past the deadline.
    pub async fn read(&self, item: &Item) -> Result<Option<Secret>, StoreError> {
        let item = item.clone();
        self.call(self.usual(), move |store| store.read(&item)).await
    }

    /// [`Store::write`].
    ///
    /// # Errors
    /// As [`StoreThread::read`]; [`StoreError::NoAnswer`] leaves the outcome unknown.
    pub async fn write(&self, item: &Item, secret: &Secret) -> Result<(), StoreError> {
        let (item, secret) = (item.clone(), secret.clone());
        self.call(self.usual(), move |store| store.write(&item, &secret)).await
    }

    /// [`Store::delete`].
    ///
    /// # Errors
    /// As [`StoreThread::write`].
    pub async fn delete(&self, item: &Item) -> Result<(), StoreError> {
        let item = item.clone();
        self.call(self.usual(), move |store| store.delete(&item)).await
    }

    /// [`Store::unlock`].
    ///
    /// # Errors
    /// As [`StoreThread::read`].
    pub async fn unlock(&self, passphrase: Option<&Secret>) -> Result<(), StoreError> {
        let passphrase = passphrase.cloned();
        self.call(self.deadlines.unlock, move |store| store.unlock(passphrase.as_ref()))
            .await
    }

    /// [`Store::seal`], which takes as long as a person would: it is slow on purpose.
    ///
    /// # Errors
    /// As [`StoreThread::write`].
    pub async fn seal(&self, passphrase: &Secret) -> Result<(), StoreError> {
        let passphrase = passphrase.clone();
        self.call(self.deadlines.unlock, move |store| store.seal(&passphrase))
            .await
    }

    /// [`Store::check`].
    ///
    /// # Errors
    /// As [`StoreThread::read`].
    pub async fn check(&self) -> Result<(), StoreError> {
        self.call(self.usual(), |store| store.check()).await
    }

    fn usual(&self) -> Duration {
        match self.answered.load(Ordering::Relaxed) {
            true => self.deadlines.usual,
            false => self.deadlines.first,
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let (open, answered) = (self.open.clone(), self.answered.clone());
        let run = move |store: &mut Opened| {
            // Whoever asked has gone: don't do behind their back what they were told has failed.
            if reply.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| work(store.get_or_insert_with(|| open()).as_mut())));
            let outcome = outcome.unwrap_or_else(|_| {
                // What a panic has left half done may panic again when dropped.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(store.take())));
                Err(StoreError::Failed("it panicked; the log says where".to_owned()))
            });
            answered.store(true, Ordering::Relaxed);
            let _ = reply.send(outcome);
        };
        let until = Instant::now() + deadline;
        self.submit(Call {
            until,
            run: Box::new(run),
        })?;
        match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(StoreError::NoAnswer),
        }
    }

    fn submit(&self, call: Call) -> Result<(), StoreError> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let call = match worker.as_ref() {
            None => call,
            Some(present) => match present.overdue() {
                None => match present.calls.try_send(call) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(_)) => return Err(StoreError::NoAnswer),
                    Err(TrySendError::Disconnected(call)) => call,
                },
                Some(overdue) if overdue < self.deadlines.patience => return Err(StoreError::NoAnswer),
                Some(_) => call,
            },
        };
        if Arc::strong_count(&self.living) > MAX_THREADS {
            return Err(StoreError::NoAnswer);
        }
        let fresh = Worker::start(self.living.clone())?;
        fresh.calls.try_send(call).map_err(|_| StoreError::NoAnswer)?;
        *worker = Some(fresh);
        Ok(())
    }
}

impl fmt::Debug for StoreThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreThread").finish_non_exhaustive()
    }
}

struct Call {
    until: Instant,
    run: Box<dyn FnOnce(&mut Opened) + Send>,
}

/// The thread's store, from its first call on and until it panics.
type Opened = Option<Box<dyn Store>>;

/// A thread as its callers see it. Dropping it abandons the thread, which ends when its present call does.
struct Worker {
    calls: SyncSender<Call>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    /// When the caller of the present call stops waiting.
    until: Option<Instant>,
    abandoned: bool,
}

impl Worker {
    fn start(living: Arc<()>) -> Result<Self, StoreError> {
        let (calls, queue) = sync_channel(MAX_QUEUED);
        let progress = Arc::<Mutex<Progress>>::default();
        let shared = progress.clone();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                serve(&queue, &shared);
                drop(living);
            })
            .map_err(|error| StoreError::Failed(format!("there is no thread for it: {error}")))?;
        Ok(Self { calls, progress })
    }

    /// How long the present call has held the thread past its deadline.
    fn overdue(&self) -> Option<Duration> {
        let until = lock(&self.progress).until?;
        Instant::now().checked_duration_since(until)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.progress).abandoned = true;
    }
}

fn serve(queue: &Receiver<Call>, progress: &Mutex<Progress>) {
    let mut store = None;
    while let Ok(call) = queue.recv() {
        {
            let mut progress = lock(progress);
            // What waits in the queue of an abandoned thread goes unanswered rather than to a second store.
            if progress.abandoned {
                return;
            }
            progress.until = Some(call.until);
        }
        (call.run)(&mut store);
        lock(progress).until = None;
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one that serves and a few that never came back.
const MAX_THREADS: usize = 5;

/// More than a start with many registries asks at once.
const MAX_QUEUED: usize = 64;

#[cfg(test)]
mod tests;
