//! What a process that holds secrets does before anything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for us alone, no core dumps, no attaching debugger of the same user, as many descriptors as we may have.
pub fn harden() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        },
    );
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_freed_pages();
    // prctl(2), PR_SET_DUMPABLE: neither core nor ptrace(2) by others than root.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The allocator gives the end of its heap back to the kernel when so much of it is free, and has it brought and wiped
/// page by page when the next part of a body comes: with 128 KiB, its usual measure, that is a tenth of what a large body
/// costs (mallopt(3), `M_TRIM_THRESHOLD`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe call sets it")]
fn keep_freed_pages() {
    const KEPT: libc::c_int = 4 * 1024 * 1024;
    // SAFETY: it takes two numbers, and the allocator's own lock.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT) };
}

/// Does this when standard input ends: whoever holds the other end of the pipe has closed it, or died of whatever.
pub fn at_end_of_input(end: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        end();
    });
}
