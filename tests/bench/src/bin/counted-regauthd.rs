//! regauthd with an allocator that counts. SIGUSR1 makes it print the number and bytes of all allocations so far.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::Parser;
use regauthd::credential::store::StoreKind;
use regauthd::inherited_sockets::InheritedSockets;
use regauthd::logs::Logs;
use regauthd::{Daemon, Options};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use zeroizing_alloc::ZeroAlloc;

/// Arguments of regauthd that the benchmark uses.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    listen: std::net::SocketAddr,
    #[arg(long)]
    store: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let level = std::env::var("REGAUTH_LOG").unwrap_or_else(|_| "info".to_owned());
    let logs = Logs::start(&level, None)?;
    let mut signals = Signals::new([SIGUSR1])?;
    thread::spawn(move || {
        for _ in &mut signals {
            let [count, bytes] = [&COUNT, &BYTES].map(|counter| counter.load(Ordering::Relaxed));
            eprintln!("allocated {count} {bytes}");
        }
    });
    let options = Options {
        home: Some(arguments.home),
        listen: Some(arguments.listen),
        store: arguments.store.map(|_| StoreKind::Vault),
        logs,
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { anyhow::Ok(Daemon::start(options, InheritedSockets::default()).await?.run().await?) })
}

/// regauthd's allocator with counters.
struct CountingAllocator(ZeroAlloc<System>);

#[expect(
    unsafe_code,
    reason = "implementing an allocator is unsafe; this one counts and forwards"
)]
// SAFETY: every call is forwarded unchanged to an allocator that upholds the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller upholds the contract of the same method.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of the same method.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller upholds the contract of the same method.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller upholds the contract of the same method.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

fn count(size: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(size as u64, Ordering::Relaxed);
}

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(ZeroAlloc(System));
