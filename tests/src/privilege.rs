//! Tests that need root, or namespaces and control groups. A developer's machine may skip them; CI must run them.

use rustix::process::geteuid;

/// Reports whether the test runs as root; `purpose` says what it needs root for.
///
/// # Panics
/// Without root when the environment variable `CI` is set.
#[track_caller]
pub fn require_root(purpose: &str) -> bool {
    require(geteuid().is_root(), &format!("root, for {purpose}"))
}

/// Reports whether this machine has what the test needs, and prints `need` when it does not.
///
/// # Panics
/// When the machine does not have it and the environment variable `CI` is set.
#[track_caller]
pub fn require(is_available: bool, need: &str) -> bool {
    assert!(
        is_available || std::env::var_os("CI").is_none(),
        "CI must run this test, which needs {need}"
    );
    if !is_available {
        eprintln!("test skipped: it needs {need}");
    }
    is_available
}
