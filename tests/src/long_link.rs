//! Relay to a server that counts round trips, as a long link would show them.
//!
//! The relay passes requests on at once, and holds back all answers until no request has come for a while. Then it delivers
//! them together: one round trip. So the count depends on what a client waits for, and not on the speed of the machine,
//! as long as a client needs less time for an answer than the relay waits.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::http_server::runtime;

/// Running relay.
#[derive(Debug)]
pub struct LongLink {
    port: u16,
    link: Arc<Link>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Link {
    held: Mutex<Vec<HeldAnswer>>,
    last_bytes: Mutex<Instant>,
    round_trips: AtomicUsize,
}

/// Bytes that are held back, and the way to their client.
type HeldAnswer = (mpsc::UnboundedSender<Vec<u8>>, Vec<u8>);

impl LongLink {
    /// Starts a relay on a free port to a server on this port.
    pub fn start(server: u16) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Arc::new(Link {
            held: Mutex::default(),
            last_bytes: Mutex::new(Instant::now()),
            round_trips: AtomicUsize::new(0),
        });
        let accepting = runtime().spawn(accept(listener, server, Arc::clone(&link)));
        let delivering = runtime().spawn(deliver(Arc::clone(&link)));
        Self {
            port,
            link,
            tasks: [accepting.abort_handle(), delivering.abort_handle()],
        }
    }

    /// Port of the relay on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Round trips so far.
    pub fn round_trips(&self) -> usize {
        self.link.round_trips.load(Ordering::SeqCst)
    }
}

impl Drop for LongLink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Link {
    fn note_bytes(&self) {
        *self.last_bytes.lock().unwrap() = Instant::now();
    }
}

async fn accept(listener: TcpListener, server: u16, link: Arc<Link>) {
    // Aborting the task drops the set and aborts its connections.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((client_reader, client_writer), (server_reader, server_writer)) =
            (client.into_split(), server.into_split());
        let (sender, answers) = mpsc::unbounded_channel();
        connections.spawn(pass(client_reader, server_writer, Arc::clone(&link)));
        connections.spawn(hold(server_reader, sender, Arc::clone(&link)));
        connections.spawn(write(answers, client_writer));
    }
}

async fn pass(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, link: Arc<Link>) {
    let mut buffer = vec![0; BUFFER_SIZE];
    while let Ok(length @ 1..) = client.read(&mut buffer).await {
        link.note_bytes();
        if server.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn hold(mut server: OwnedReadHalf, client: mpsc::UnboundedSender<Vec<u8>>, link: Arc<Link>) {
    let mut buffer = vec![0; BUFFER_SIZE];
    while let Ok(length @ 1..) = server.read(&mut buffer).await {
        link.note_bytes();
        let answer = buffer[..length].to_vec();
        link.held.lock().unwrap().push((client.clone(), answer));
    }
}

async fn write(mut answers: mpsc::UnboundedReceiver<Vec<u8>>, mut client: OwnedWriteHalf) {
    while let Some(answer) = answers.recv().await {
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn deliver(link: Arc<Link>) {
    loop {
        tokio::time::sleep(QUIET / 10).await;
        if link.last_bytes.lock().unwrap().elapsed() < QUIET {
            continue;
        }
        let held = std::mem::take(&mut *link.held.lock().unwrap());
        if !held.is_empty() {
            link.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        for (client, answer) in held {
            // The connection may be gone.
            drop(client.send(answer));
        }
    }
}

/// Time without a byte after which answers are delivered.
const QUIET: Duration = Duration::from_millis(150);
const BUFFER_SIZE: usize = 64 * 1024;
