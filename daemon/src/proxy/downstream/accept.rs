//! The listener, and the worker threads that serve its connections.
//!
//! The main thread accepts connections, and also runs the control side. Each worker is a thread with a single-threaded
//! runtime. An accepted connection stays on one worker to its end, and so do the upstream connections of its requests: no
//! request crosses threads.
//!
//! A worker serves a connection with [`connect::serve`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::proxy::descriptors;
use crate::proxy::downstream::connect;
use crate::proxy::downstream::entrance::Entrance;
use crate::proxy::state::{ProxyState, Worker};

/// Accepts connections until `drain` is cancelled.
///
/// An accept error costs a pause and never ends the loop. At the limit of open connections, clients wait in the kernel's
/// queue.
pub(crate) async fn accept(listeners: Listeners, workers: Workers, drain: CancellationToken) {
    let slots = Arc::new(Semaphore::new(max_connections()));
    let tls = async {
        match &listeners.tls {
            Some(listener) => accept_at(listener, Entrance::Tls, &workers, &slots, &drain).await,
            None => drain.cancelled().await,
        }
    };
    tokio::join!(
        accept_at(&listeners.plain, Entrance::Plain, &workers, &slots, &drain),
        tls
    );
}

/// Listeners of the proxy.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// `listen`.
    pub(crate) plain: TcpListener,
    /// `listen-tls`.
    pub(crate) tls: Option<TcpListener>,
}

async fn accept_at(
    listener: &TcpListener,
    entrance: Entrance,
    workers: &Workers,
    slots: &Arc<Semaphore>,
    drain: &CancellationToken,
) {
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok((stream, slot))
        };
        let accepted = tokio::select! {
            // In this order: a client that connects after the drain has begun belongs to the next daemon.
            biased;
            () = drain.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                set_options(&stream);
                workers.dispatch(stream, entrance, slot);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors: accepting again at once would spin until one is free.
                if !descriptors::warn_if_exhausted(&error) {
                    tracing::warn!(%error, "accept failed, pausing");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection takes two descriptors: the client's and the registry's.
fn max_connections() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// Sets socket options. Without them a connection works less well, so errors are ignored.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE_TIME));
    // A client that acknowledges nothing for so long is gone (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// The running workers.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<WorkerHandle>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct WorkerHandle {
    messages: mpsc::UnboundedSender<WorkerMessage>,
    open_connections: Arc<AtomicU64>,
}

#[derive(Debug)]
enum WorkerMessage {
    /// Serve a connection. The permit is its slot under the limit; the token makes the drain wait for it.
    Serve(std::net::TcpStream, Entrance, OwnedSemaphorePermit, TaskTrackerToken),
    /// Reply at once, to prove that the runtime is alive.
    Ping(oneshot::Sender<()>),
}

impl Workers {
    /// Default number of workers: half of the cores. Clients and local registries use the other half.
    pub(crate) fn usual_number() -> usize {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        (cores / 2).clamp(1, MAX_WORKERS)
    }

    /// Starts `number` workers.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be created.
    pub(crate) fn start(number: usize, state: &Arc<ProxyState>) -> io::Result<Self> {
        let start = |index| {
            start_worker(Worker {
                index,
                state: Arc::clone(state),
            })
        };
        Ok(Self {
            workers: (0..number).map(start).collect::<Result<_, _>>()?,
            tasks: state.tasks.clone(),
        })
    }

    /// Sends a connection to the worker with the fewest open ones. Of equals the first is taken, so that a lone client
    /// finds the upstream connections of its predecessor.
    fn dispatch(&self, stream: TcpStream, entrance: Entrance, slot: OwnedSemaphorePermit) {
        let least_busy = self
            .workers
            .iter()
            .min_by_key(|worker| worker.open_connections.load(Ordering::Relaxed));
        if let (Some(worker), Ok(stream)) = (least_busy, stream.into_std()) {
            worker.open_connections.fetch_add(1, Ordering::Relaxed);
            // A worker ends only with the process.
            let _ = worker
                .messages
                .send(WorkerMessage::Serve(stream, entrance, slot, self.tasks.token()));
        }
    }

    /// Liveness check for the watchdog.
    pub(crate) fn liveness(&self) -> Liveness {
        Liveness(self.workers.iter().map(|worker| worker.messages.downgrade()).collect())
    }
}

/// Liveness check of all workers.
#[derive(Debug)]
pub struct Liveness(Vec<mpsc::WeakUnboundedSender<WorkerMessage>>);

impl Liveness {
    /// Waits until every worker's runtime has replied; forever if one does not. Skips workers that take no more
    /// connections.
    pub async fn check(&self) {
        for messages in self.0.iter().filter_map(mpsc::WeakUnboundedSender::upgrade) {
            let (reply, replied) = oneshot::channel();
            let sent = messages.send(WorkerMessage::Ping(reply)).is_ok();
            if !sent || replied.await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

fn start_worker(worker: Worker) -> io::Result<WorkerHandle> {
    let (messages, inbox) = mpsc::unbounded_channel();
    let open_connections = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counter = Arc::clone(&open_connections);
    thread::Builder::new()
        .name(format!("worker-{}", worker.index))
        .spawn(move || runtime.block_on(run_worker(worker, inbox, counter)))?;
    Ok(WorkerHandle {
        messages,
        open_connections,
    })
}

async fn run_worker(
    worker: Worker,
    mut inbox: mpsc::UnboundedReceiver<WorkerMessage>,
    open_connections: Arc<AtomicU64>,
) {
    while let Some(message) = inbox.recv().await {
        let (stream, entrance, slot, drain_token) = match message {
            WorkerMessage::Serve(stream, entrance, slot, drain_token) => (stream, entrance, slot, drain_token),
            WorkerMessage::Ping(reply) => {
                // The watchdog may have stopped waiting.
                let _ = reply.send(());
                continue;
            }
        };
        let Ok(stream) = TcpStream::from_std(stream) else {
            continue;
        };
        let (worker, open_connections) = (worker.clone(), Arc::clone(&open_connections));
        let counted = worker.state.count_connection();
        let tasks = worker.state.tasks.clone();
        tasks.spawn(async move {
            connect::serve(worker, stream, entrance).await;
            open_connections.fetch_sub(1, Ordering::Relaxed);
            drop((counted, slot, drain_token));
        });
    }
    // The listener is gone. Its last connections live on this thread until they end.
    worker.state.tasks.wait().await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(120);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(600);
/// Descriptors for listeners, runtimes, files and the control side.
const RESERVED_DESCRIPTORS: usize = 40;
const MIN_CONNECTIONS: usize = 8;
const MAX_CONNECTIONS: usize = 32 * 1024;
/// One worker serves some 40,000 requests a second; more than a few only spread the pools thin.
const MAX_WORKERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    type TestWorker = (
        mpsc::UnboundedSender<WorkerMessage>,
        Option<mpsc::UnboundedReceiver<WorkerMessage>>,
    );

    fn responsive() -> TestWorker {
        let (messages, mut inbox) = mpsc::unbounded_channel();
        thread::spawn(move || {
            while let Some(WorkerMessage::Ping(reply)) = inbox.blocking_recv() {
                reply.send(()).unwrap();
            }
        });
        (messages, None)
    }

    fn hung() -> TestWorker {
        let (messages, inbox) = mpsc::unbounded_channel();
        (messages, Some(inbox))
    }

    async fn are_alive(workers: &[&TestWorker]) -> bool {
        let liveness = Liveness(workers.iter().map(|(messages, _)| messages.downgrade()).collect());
        tokio::time::timeout(Duration::from_millis(300), liveness.check())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn workers_are_alive_only_while_every_one_replies() {
        let (one, two) = (responsive(), responsive());
        assert!(are_alive(&[&one, &two]).await);
        assert!(!are_alive(&[&one, &hung(), &two]).await);
        let (messages, inbox) = hung();
        drop(inbox);
        assert!(!are_alive(&[&one, &(messages, None)]).await, "its thread has died");
    }

    #[tokio::test]
    async fn workers_that_take_no_more_connections_are_skipped() {
        let (messages, _inbox) = hung();
        let liveness = Liveness(vec![messages.downgrade()]);
        drop(messages);
        liveness.check().await;
    }
}
