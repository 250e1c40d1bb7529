//! Loopback proxy that adds a grant to each request, for clients that cannot show one, such as Java.
//!
//! In reading order: [`GrantSource`] reads the grant, `owner` refuses processes of other users, `connection` serves one
//! connection, `head` adds the header. What follows a request's head passes unread.

mod connection;
mod grant_source;
mod head;
mod owner;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use regauth_shared::ErrorBody;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) use self::grant_source::{GrantSource, GrantedProxy};
use crate::error;

/// Running forwarder. It serves on a thread of its own until the process ends.
pub(crate) struct Forwarder {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Forwarder {
    /// Starts a forwarder on a port of 127.0.0.1; 0 chooses a free one.
    ///
    /// # Errors
    /// There is no valid grant, the kernel does not name the owner of a connection, or the port is taken.
    pub(crate) fn start(grant: GrantSource, port: u16) -> Result<Self, ErrorBody> {
        grant.read()?;
        owner::self_test()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(error::io(format!("cannot listen on 127.0.0.1:{port}")))?;
        let cannot_start = || error::io("cannot start the forwarder");
        let address = listener.local_addr().map_err(cannot_start())?;
        listener.set_nonblocking(true).map_err(cannot_start())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot_start())?;
        let context = Context {
            grant,
            has_reported_refusal: AtomicBool::new(false),
        };
        let thread = std::thread::spawn(move || runtime.block_on(accept(listener, Arc::new(context))));
        Ok(Self { address, thread })
    }

    /// URL of this proxy. It contains no grant.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until the process ends.
    pub(crate) fn wait(self) {
        let _ = self.thread.join();
    }
}

/// State that all connections share.
struct Context {
    grant: GrantSource,
    /// True once the user knows that the proxy refuses the grant.
    has_reported_refusal: AtomicBool,
}

async fn accept(listener: TcpListener, context: Arc<Context>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let context = Arc::clone(&context);
                connections.spawn(async move {
                    connection::serve(client, &context).await;
                    drop(permit);
                });
            }
            // Usually too many open files: the next attempt would fail at once too.
            Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

const MAX_CONNECTIONS: usize = 512;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
