//! Audit record on disk: the events that `audit` in config.toml chooses, each line chained to the one before.
//!
//! [`Coverage`](coverage) chooses the events. A thread of its own ([`writer`]) appends them in batches, so nothing on the
//! data path waits for the disk. The exception is `audit-required = true`: a request that the record covers gets its
//! answer after its line was written ([`Audit::confirm`]). [`file`] rotates, repairs and deletes files. The format of the
//! lines is [`regauth_shared::audit`].

mod coverage;
mod file;
mod folder;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use regauth_shared::audit::Link;
use regauth_shared::event::{Event, EventKind};
use regauth_shared::response::{AuditView, Problem};
use regauth_shared::{ErrorBody, ErrorKind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::oneshot;

use self::coverage::Coverage;
use self::file::{FILES, Limits, RecordFile};
pub use self::folder::AuditFolderError;
use self::writer::{Message, Writer};
use crate::config::{AuditMode, AuditSettings};
use crate::events::{Published, unix_milliseconds};
use crate::proxy::state::ProxyState;

/// The audit record of a running daemon.
#[derive(Debug)]
pub(crate) struct Audit {
    settings: AuditSettings,
    folder: PathBuf,
    coverage: Mutex<Coverage>,
    shared: Arc<Shared>,
    /// Empty if nothing is recorded.
    queue: Option<SyncSender<Message>>,
}

/// Reports of the writing thread.
#[derive(Debug, Default)]
struct Shared {
    /// True while the record cannot be written.
    failed: AtomicBool,
    /// Events in the queue, other than those that a request waits for.
    queued: AtomicUsize,
    /// Events that did not fit into the queue.
    lost: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Link,
    error: Option<String>,
    /// Events that wait or are lost.
    unwritten: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            link: Link::START,
            error: None,
            unwritten: 0,
        }
    }
}

impl Audit {
    /// A record that keeps nothing.
    pub(crate) fn off() -> Self {
        let settings = AuditSettings {
            mode: AuditMode::Off,
            ..AuditSettings::default()
        };
        Self::idle(Path::new(""), &settings)
    }

    /// Checks the folder and starts the thread. A full or read-only disk is no error: the thread goes on trying.
    ///
    /// # Errors
    /// [`AuditFolderError`] for a folder or file of another owner or mode.
    pub(crate) fn start(folder: &Path, settings: &AuditSettings) -> Result<Self, AuditFolderError> {
        let mut audit = Self::idle(folder, settings);
        if settings.mode == AuditMode::Off {
            return Ok(audit);
        }
        folder::check(folder)?;
        let (sender, queue) = sync_channel(QUEUE_LENGTH);
        let limits = Limits {
            file: settings.max_size / u64::from(FILES),
            total: settings.max_size,
            age: settings.keep,
        };
        let writer = Writer::new(RecordFile::new(folder, limits), Arc::clone(&audit.shared));
        let thread = std::thread::Builder::new().name("audit".to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&queue)) {
            audit.shared.report(Link::START, Some(&error), 0);
        }
        audit.queue = Some(sender);
        Ok(audit)
    }

    fn idle(folder: &Path, settings: &AuditSettings) -> Self {
        Self {
            settings: settings.clone(),
            folder: folder.to_owned(),
            coverage: Mutex::new(Coverage::new(settings.mode)),
            shared: Arc::default(),
            queue: None,
        }
    }

    /// Must a request be recorded before it is answered?
    pub(crate) fn is_required(&self) -> bool {
        self.settings.required && self.settings.mode != AuditMode::Off
    }

    /// Adds what a subscription received to the batch, if the record covers it. Never waits.
    ///
    /// With `audit-required`, [`Audit::confirm`] has recorded most requests. Those whose clients left before the answer come
    /// here.
    fn take(&self, received: Result<Arc<Published>, u64>, batch: &mut Vec<Arc<Published>>) {
        match received {
            Err(lost) => self.note_lost(lost),
            Ok(published) if self.queue.is_none() || published.is_recorded() => {}
            Ok(published) => {
                // Without a look at the event: its value is made for those who look.
                if self.settings.mode == AuditMode::All || self.lock_coverage().take(&published.event().kind) {
                    batch.push(published);
                }
            }
        }
    }

    /// Records what a subscription has received and what else is there: one message to the thread for many events.
    fn record_round(&self, first: Result<Arc<Published>, u64>, feed: &mut Receiver<Arc<Published>>) {
        let mut batch = Vec::new();
        self.take(first, &mut batch);
        let most = self.events_in_a_message();
        while batch.len() < most {
            let received = match feed.try_recv() {
                Ok(published) => Ok(published),
                Err(TryRecvError::Lagged(events)) => Err(events),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            self.take(received, &mut batch);
        }
        self.record(batch);
    }

    /// Events that one message to the thread may have: fewer than fit into a file, as a message is not divided.
    fn events_in_a_message(&self) -> usize {
        let file = self.settings.max_size / u64::from(FILES);
        usize::try_from(file / LONG_LINE).map_or(MAX_BATCH, |lines| lines.clamp(1, MAX_BATCH))
    }

    /// Hands a batch to the thread. Never waits.
    fn record(&self, batch: Vec<Arc<Published>>) {
        let events = batch.len();
        if events == 0 {
            return;
        }
        let queued = self.shared.queued.fetch_add(events, Ordering::Relaxed);
        if queued + events > QUEUE_LENGTH || self.send(Message::Events(batch)).is_err() {
            self.shared.queued.fetch_sub(events, Ordering::Relaxed);
            self.note_lost(events as u64);
        }
    }

    fn note_lost(&self, events: u64) {
        self.shared.lost.fetch_add(events, Ordering::Relaxed);
    }

    /// Records a request or refusal before its answer, if the record covers it.
    ///
    /// # Errors
    /// [`Unrecorded`]: the client must not get the answer.
    pub(crate) async fn confirm(&self, kind: EventKind) -> Result<(), Unrecorded> {
        if !self.lock_coverage().take(&kind) {
            return Ok(());
        }
        let event = Event {
            time: unix_milliseconds(SystemTime::now()),
            // The collector numbers events, at the end of the request.
            sequence: 0,
            kind,
        };
        let written = self.write_now(&event).await;
        if written.is_err() {
            self.lock_coverage().forget(&event.kind);
        }
        written
    }

    /// Fails while requests must be refused: the record is required and cannot be written.
    ///
    /// # Errors
    /// [`Unrecorded`].
    pub(crate) fn check_writable(&self) -> Result<(), Unrecorded> {
        if self.is_required() && self.shared.has_failed() {
            return Err(Unrecorded);
        }
        Ok(())
    }

    async fn write_now(&self, event: &Event) -> Result<(), Unrecorded> {
        // An event has texts and numbers only, so serialization cannot fail.
        let json = serde_json::to_string(event).unwrap_or_default();
        let (sender, written) = oneshot::channel();
        self.send(Message::Confirmed(json, sender))
            .map_err(|NotQueued| Unrecorded)?;
        match tokio::time::timeout(CONFIRM_TIMEOUT, written).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Unrecorded),
        }
    }

    /// Waits until every event so far was written, or could not be.
    async fn flush(&self) {
        let (sender, written) = oneshot::channel();
        if self.send(Message::Flush(sender)).is_ok() {
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, written).await;
        }
    }

    /// The record, for `status`, with all events so far.
    pub(crate) async fn view(&self) -> AuditView {
        self.flush().await;
        let state = self.shared.lock();
        AuditView {
            mode: self.settings.mode.as_str().to_owned(),
            required: self.settings.required,
            folder: self.folder.display().to_string(),
            last: state.link,
        }
    }

    /// Fault of the record that a person should fix.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let state = self.shared.lock();
        let error = state.error.as_ref()?;
        let consequence = if self.settings.required {
            "requests are refused until it can be"
        } else {
            "requests go on without it"
        };
        Some(Problem {
            message: format!(
                "the audit record in {} cannot be written: {error}; {consequence}",
                self.folder.display()
            ),
            hint: "make space or fix the folder's permissions; regauthd tries again every second".to_owned(),
        })
    }

    /// Opens the record's files for reading, with all events so far. Names and files, the oldest first.
    ///
    /// # Errors
    /// `not-found` if nothing is recorded, `failed` for an error of the file system.
    pub(crate) async fn open_files(&self) -> Result<Vec<(String, File)>, ErrorBody> {
        if self.queue.is_none() {
            let error = ErrorBody::new(ErrorKind::NotFound, "this regauthd keeps no audit record");
            return Err(error.hint("`audit = \"changes\"` in config.toml keeps one, from the next start on"));
        }
        self.flush().await;
        let folder = self.folder.clone();
        let opened = tokio::task::spawn_blocking(move || file::open_all(&folder)).await;
        opened.map_err(io::Error::from).flatten().map_err(|error| {
            let message = format!("cannot read the audit record in {}: {error}", self.folder.display());
            ErrorBody::new(ErrorKind::Failed, message)
        })
    }

    fn send(&self, message: Message) -> Result<(), NotQueued> {
        let queue = self.queue.as_ref().ok_or(NotQueued)?;
        queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => NotQueued,
        })
    }

    fn lock_coverage(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the events of the stream to its end. Subscribes before the first event.
pub(crate) fn follow(proxy: &Arc<ProxyState>) -> impl Future<Output = ()> + Send + use<> {
    let proxy = Arc::clone(proxy);
    let mut feed = match proxy.audit.settings.mode {
        AuditMode::All => proxy.events.subscribe(),
        AuditMode::Changes | AuditMode::Off => proxy.events.subscribe_to_news(),
    };
    async move {
        let ended = proxy.events.ended();
        tokio::pin!(ended);
        loop {
            let received = tokio::select! {
                biased;
                received = feed.recv() => received,
                // The queue of the subscription is empty by now.
                () = &mut ended => return proxy.audit.flush().await,
            };
            let first = match received {
                Ok(published) => Ok(published),
                Err(RecvError::Lagged(events)) => Err(events),
                Err(RecvError::Closed) => return proxy.audit.flush().await,
            };
            proxy.audit.record_round(first, &mut feed);
        }
    }
}

impl Shared {
    fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Takes the result of a write. Logs when the record fails, and when it works again.
    fn report(&self, link: Link, error: Option<&io::Error>, unwritten: u64) {
        let mut state = self.lock();
        let error = error.map(ToString::to_string);
        match (&state.error, &error) {
            (None, Some(error)) => tracing::error!(error, "cannot write the audit record"),
            (Some(_), None) => tracing::info!(events = state.unwritten, "wrote the audit record again"),
            _ => {}
        }
        self.failed.store(error.is_some(), Ordering::Relaxed);
        *state = State { link, error, unwritten };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Error of a request that the record should hold and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unrecorded;

/// Error of a message for which the queue has no place.
struct NotQueued;

/// Messages, and events in them, between the collector and the thread.
const QUEUE_LENGTH: usize = 8192;
/// Events of a message to the thread, which wakes up for each.
const MAX_BATCH: usize = 256;
/// Bytes of a long line.
const LONG_LINE: u64 = 2048;
/// Time that `status` waits for a disk that hangs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a line to be written before its request is refused.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
