//! regauthd with an allocator that counts. SIGUSR1 makes it say how often it has allocated, and how much, since its start.
#![allow(clippy::unwrap_used, reason = "a benchmark fails loudly")]

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

/// Those of regauthd's arguments that the benchmark uses.
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
            let [number, bytes] = [&NUMBER, &BYTES].map(|counter| counter.load(Ordering::Relaxed));
            eprintln!("allocated {number} {bytes}");
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

/// The allocator that regauthd has, counted.
struct Counting(ZeroAlloc<System>);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one only counts and passes on"
)]
// SAFETY: every call goes to the real allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as our caller promised.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as our caller promised.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as our caller promised.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as our caller promised.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

fn count(size: usize) {
    NUMBER.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(size as u64, Ordering::Relaxed);
}

static NUMBER: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting(ZeroAlloc(System));
