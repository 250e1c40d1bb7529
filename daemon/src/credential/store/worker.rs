//! Calls a store on a thread of its own: a keychain may wait for a person for minutes, or never answer.
//!
//! Callers are async and have deadlines. After a call has passed its deadline, later calls fail with
//! [`StoreError::NoAnswer`] at once. This ends when the call returns, or when a fresh thread with a fresh store takes
//! over. No thread is joined, so a shutdown does not wait for a store.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::Secret;
use tokio::sync::oneshot;

use super::{Item, Store, StoreError};

/// A [`Store`] on a thread of its own.
///
/// The outcome of a call that fails with [`StoreError::NoAnswer`] is unknown. A write or delete may have happened, may
/// happen later, and may overtake a later write if a fresh thread has taken over. Read the item before relying on
/// either value.
pub struct StoreThread {
    open: Arc<OpenFn>,
    deadlines: Deadlines,
    /// True if the store has answered once.
    answered: Arc<AtomicBool>,
    worker: Mutex<Option<Worker>>,
    /// Counts threads, the abandoned ones too: each holds a clone.
    thread_count: Arc<()>,
}

type OpenFn = dyn Fn() -> Box<dyn Store> + Send + Sync;

/// Deadlines of calls.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Any call without a passphrase, before the store has answered once. The daemon's start waits this long.
    pub first: Duration,
    /// Any call without a passphrase.
    pub usual: Duration,
    /// Calls with a passphrase, which are slow on purpose, and unlock: a person types one.
    pub unlock: Duration,
    /// Time from a call's deadline until a fresh thread takes over.
    pub takeover: Duration,
}

/// 2 s, 10 s, 120 s and 30 s.
impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            usual: Duration::from_secs(10),
            unlock: Duration::from_secs(120),
            takeover: Duration::from_secs(30),
        }
    }
}

impl StoreThread {
    /// Starts nothing yet. The first call starts the thread, which calls `open`; so do a panic and a takeover.
    pub fn new(open: impl Fn() -> Box<dyn Store> + Send + Sync + 'static, deadlines: Deadlines) -> Self {
        Self {
            open: Arc::new(open),
            deadlines,
            answered: Arc::default(),
            worker: Mutex::default(),
            thread_count: Arc::default(),
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

    /// Replaces an item's secret, or deletes it without a `new` one, if it is one of the `expected`. `false` if the store has
    /// none or another one. No other call comes between the comparison and the write.
    ///
    /// # Errors
    /// As [`StoreThread::write`].
    pub async fn replace(&self, item: &Item, expected: &[Secret], new: Option<&Secret>) -> Result<bool, StoreError> {
        let (item, expected, new) = (item.clone(), expected.to_vec(), new.cloned());
        self.call(self.usual(), move |store| {
            let present = store.read(&item)?;
            if !present.is_some_and(|present| expected.iter().any(|one| one.is_same(&present))) {
                return Ok(false);
            }
            match &new {
                Some(new) => store.write(&item, new),
                None => store.delete(&item),
            }
            .map(|()| true)
        })
        .await
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

    /// [`Store::verify_passphrase`], with the deadline of an unlock: it is slow on purpose.
    ///
    /// # Errors
    /// As [`StoreThread::read`].
    pub async fn verify_passphrase(&self, present: Option<&Secret>) -> Result<(), StoreError> {
        let present = present.cloned();
        let verify = move |store: &mut dyn Store| store.verify_passphrase(present.as_ref());
        self.call(self.deadlines.unlock, verify).await
    }

    /// [`Store::seal`], with the deadline of an unlock: it is slow on purpose.
    ///
    /// # Errors
    /// As [`StoreThread::write`].
    pub async fn seal(&self, present: Option<&Secret>, new: &Secret) -> Result<(), StoreError> {
        let (present, new) = (present.cloned(), new.clone());
        self.call(self.deadlines.unlock, move |store| store.seal(present.as_ref(), &new))
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
            // The caller was told that the call failed, so it must not happen now.
            if reply.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| work(store.get_or_insert_with(|| open()).as_mut())));
            let outcome = outcome.unwrap_or_else(|_| {
                // The store's drop may panic again.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(store.take())));
                Err(StoreError::Failed("it panicked; the log has the place".to_owned()))
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
                Some(overdue) if overdue < self.deadlines.takeover => return Err(StoreError::NoAnswer),
                Some(_) => call,
            },
        };
        if Arc::strong_count(&self.thread_count) > MAX_THREADS {
            return Err(StoreError::NoAnswer);
        }
        let fresh = Worker::start(self.thread_count.clone())?;
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

/// The thread's store: open from the first call until a panic.
type Opened = Option<Box<dyn Store>>;

/// Callers' end of a thread. Its drop abandons the thread, which ends after its current call.
struct Worker {
    calls: SyncSender<Call>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    /// Deadline of the current call.
    until: Option<Instant>,
    abandoned: bool,
}

impl Worker {
    fn start(thread_count: Arc<()>) -> Result<Self, StoreError> {
        let (calls, queue) = sync_channel(MAX_QUEUED);
        let progress = Arc::<Mutex<Progress>>::default();
        let shared = progress.clone();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                serve(&queue, &shared);
                drop(thread_count);
            })
            .map_err(|error| StoreError::Failed(format!("its thread cannot be started: {error}")))?;
        Ok(Self { calls, progress })
    }

    /// Time since the deadline of the current call, if that has passed.
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
    let mut store: Opened = None;
    while let Some(call) = next_call(queue, &mut store) {
        {
            let mut progress = lock(progress);
            // Another store may be in use by now, so queued calls are dropped.
            if progress.abandoned {
                return;
            }
            progress.until = Some(call.until);
        }
        (call.run)(&mut store);
        lock(progress).until = None;
    }
}

/// Waits for the next call; `None` once there can be no more.
fn next_call(queue: &Receiver<Call>, store: &mut Opened) -> Option<Call> {
    match queue.recv_timeout(QUIET) {
        Ok(call) => return Some(call),
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => {}
    }
    if let Some(store) = store {
        store.forget();
    }
    queue.recv().ok()
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time without a call after which the store forgets what it has read.
const QUIET: Duration = Duration::from_secs(1);

/// The current thread and a few that hang.
const MAX_THREADS: usize = 5;

/// More calls than a start with many registries makes at once.
const MAX_QUEUED: usize = 64;

#[cfg(test)]
mod tests;
