//! Hardening of the process, which holds secrets. `main` calls it first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sets a private umask, disables core dumps and debuggers of the same user, and raises the limit of file descriptors.
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
    // prctl(2), PR_SET_DUMPABLE: no core dump, and ptrace(2) by root only.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Keeps up to 4 MiB of freed heap (mallopt(3), `M_TRIM_THRESHOLD`). With glibc's default of 128 KiB, the kernel takes
/// back and zeroes pages between the parts of a body, which is a tenth of the cost of a large one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe function sets it")]
fn keep_freed_pages() {
    const KEPT: libc::c_int = 4 * 1024 * 1024;
    // SAFETY: mallopt takes two numbers and the allocator's own lock.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT) };
}

/// Returns freed heap to the kernel (malloc_trim(3)), also from between memory that is in use. Takes a few milliseconds, and
/// holds the allocator's locks meanwhile.
pub(crate) fn return_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no safe function does it")]
        // SAFETY: malloc_trim takes a number and the allocator's own locks.
        unsafe {
            libc::malloc_trim(0)
        };
    }
}

/// Calls `end` at the end of standard input: the process at the other end of the pipe closed it or ended.
pub fn at_end_of_input(end: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        end();
    });
}
