//! The threads that carry connections.
//!
//! A connection lives on one worker from accept to end, and so do the upstream connections of its requests: nobody is
//! woken on another thread. Each worker is a single-threaded runtime; the control side has one of its own, so a slow
//! verb is never felt by a build.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::grant::Grants;
use crate::proxy::downstream::connect;
use crate::proxy::downstream::limits::ConnectionLimits;
use crate::proxy::downstream::peer::Peers;
use crate::proxy::routes::Routes;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::dial::Dialer;

/// What all workers share.
#[derive(Debug)]
pub struct ProxyState {
    /// The present routes.
    pub routes: ArcSwap<Routes>,
    /// The way to hosts nobody configured.
    pub dialer: Dialer,
    /// The same for plain HTTP requests.
    pub strangers: Upstream,
    /// Who may connect.
    pub clients: crate::config::Clients,
    /// What tells whose a connection is.
    pub peers: Peers,
    /// Those who may connect besides the owner.
    pub grants: ArcSwap<Grants>,
    /// What each client has open.
    pub limits: ConnectionLimits,
    /// The way to hosts nobody configured for the bearers of grants: public ones.
    pub public_only_dialer: Dialer,
    /// The same for plain HTTP requests.
    pub public_only_passthrough: Upstream,
    /// Where we listen: a request for that is a loop.
    pub listen: std::net::SocketAddr,
    /// Cancelled when the daemon drains.
    pub drain: CancellationToken,
    /// Every connection's task.
    pub tasks: TaskTracker,
    /// What is counted.
    pub counters: Counters,
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Counters {
    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests to configured hosts so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request to a configured host.
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// One worker, as its connections know it.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Which pool of upstream connections is its own.
    pub index: usize,
    /// What all workers share.
    pub plane: Arc<ProxyState>,
}

/// An open connection, for as long as it is counted.
pub(crate) struct ConnectionGuard(Arc<ProxyState>);

impl ConnectionGuard {
    fn new(plane: &Arc<ProxyState>) -> Self {
        plane.counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(plane))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The running workers, as the listener knows them.
#[derive(Debug)]
pub(crate) struct Workers {
    inboxes: Vec<Inbox>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Inbox {
    errands: mpsc::UnboundedSender<WorkerMessage>,
    open: Arc<AtomicU64>,
}

/// What a worker is asked to do.
#[derive(Debug)]
enum WorkerMessage {
    /// With a connection's place among those that there may be at all, and the drain's word to wait for it.
    Carry(std::net::TcpStream, OwnedSemaphorePermit, TaskTrackerToken),
    /// To show that it can.
    Answer(oneshot::Sender<()>),
}

impl Workers {
    /// How many workers suit this machine: half its cores, so that clients and registries on it have the other half.
    pub(crate) fn usual_number() -> usize {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        (cores / 2).clamp(1, MOST_WORKERS)
    }

    /// Starts `number` workers.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start(number: usize, plane: &Arc<ProxyState>) -> std::io::Result<Self> {
        let start = |index| {
            start(Worker {
                index,
                plane: Arc::clone(plane),
            })
        };
        Ok(Self {
            inboxes: (0..number).map(start).collect::<Result<_, _>>()?,
            tasks: plane.tasks.clone(),
        })
    }

    /// Hands a connection to the worker with the fewest open ones; the first among equals, so that a lone client finds
    /// the upstream connections of the one before it.
    pub(crate) fn hand_over(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let least = self
            .inboxes
            .iter()
            .min_by_key(|inbox| inbox.open.load(Ordering::Relaxed));
        if let (Some(inbox), Ok(stream)) = (least, stream.into_std()) {
            inbox.open.fetch_add(1, Ordering::Relaxed);
            // A worker ends only with the process.
            let _ = inbox
                .errands
                .send(WorkerMessage::Carry(stream, permit, self.tasks.token()));
        }
    }

    /// What tells whether they are alive, for as long as they take connections.
    pub(crate) fn pulse(&self) -> Liveness {
        Liveness(self.inboxes.iter().map(|inbox| inbox.errands.downgrade()).collect())
    }
}

/// Whether the workers are alive.
#[derive(Debug)]
pub struct Liveness(Vec<mpsc::WeakUnboundedSender<WorkerMessage>>);

impl Liveness {
    /// Waits until every worker's runtime has answered; for ever when one does not. Workers that take no more connections
    /// are not asked.
    pub async fn beat(&self) {
        for errands in self.0.iter().filter_map(mpsc::WeakUnboundedSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            let asked = errands.send(WorkerMessage::Answer(answer)).is_ok();
            if !asked || answered.await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

fn start(worker: Worker) -> std::io::Result<Inbox> {
    let (errands, inbox) = mpsc::unbounded_channel();
    let open = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = Arc::clone(&open);
    thread::Builder::new()
        .name(format!("worker-{}", worker.index))
        .spawn(move || runtime.block_on(carry(worker, inbox, counted)))?;
    Ok(Inbox { errands, open })
}

async fn carry(worker: Worker, mut inbox: mpsc::UnboundedReceiver<WorkerMessage>, open: Arc<AtomicU64>) {
    while let Some(errand) = inbox.recv().await {
        let (stream, permit, awaited) = match errand {
            WorkerMessage::Carry(stream, permit, awaited) => (stream, permit, awaited),
            WorkerMessage::Answer(asked) => {
                // Who no longer waits has given us up.
                let _ = asked.send(());
                continue;
            }
        };
        let Ok(stream) = TcpStream::from_std(stream) else {
            continue;
        };
        let (worker, open) = (worker.clone(), Arc::clone(&open));
        let counted = ConnectionGuard::new(&worker.plane);
        let tasks = worker.plane.tasks.clone();
        tasks.spawn(async move {
            connect::serve(worker, stream).await;
            open.fetch_sub(1, Ordering::Relaxed);
            drop((counted, permit, awaited));
        });
    }
    // The listener is gone and nothing more comes in; what it has handed over lives on this thread until it is done.
    worker.plane.tasks.wait().await;
}

/// One worker carries some 40,000 requests a second; more than a few only spread the pools thin.
const MOST_WORKERS: usize = 8;

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    /// The only worker of a daemon that has no registry.
    pub(in crate::proxy) fn worker() -> Worker {
        let config = Config::read("").unwrap();
        let plane = crate::daemon::proxy_state(&config, Grants::default(), ([127, 0, 0, 1], 1).into(), &[], 1);
        Worker {
            index: 0,
            plane: Arc::new(plane.unwrap()),
        }
    }

    type Asked = (
        mpsc::UnboundedSender<WorkerMessage>,
        Option<mpsc::UnboundedReceiver<WorkerMessage>>,
    );

    /// A worker that answers.
    fn alive() -> Asked {
        let (errands, mut inbox) = mpsc::unbounded_channel();
        thread::spawn(move || {
            while let Some(WorkerMessage::Answer(asked)) = inbox.blocking_recv() {
                asked.send(()).unwrap();
            }
        });
        (errands, None)
    }

    /// One that looks at nothing any more.
    fn hung() -> Asked {
        let (errands, inbox) = mpsc::unbounded_channel();
        (errands, Some(inbox))
    }

    async fn is_felt(workers: &[&Asked]) -> bool {
        let pulse = Liveness(workers.iter().map(|(errands, _)| errands.downgrade()).collect());
        tokio::time::timeout(Duration::from_millis(300), pulse.beat())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_pulse_is_felt_while_every_worker_answers() {
        let (one, two) = (alive(), alive());
        assert!(is_felt(&[&one, &two]).await);
        assert!(!is_felt(&[&one, &hung(), &two]).await);
        let (errands, inbox) = hung();
        drop(inbox);
        assert!(!is_felt(&[&one, &(errands, None)]).await, "one whose thread has died");
    }

    #[tokio::test]
    async fn workers_that_take_no_more_connections_are_not_asked() {
        let (errands, _inbox) = hung();
        let pulse = Liveness(vec![errands.downgrade()]);
        drop(errands);
        pulse.beat().await;
    }
}
