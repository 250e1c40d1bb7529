//! Resident memory of a process, from the kernel's accounting in `/proc`.

use std::fs;

/// Current resident memory in bytes.
pub(crate) fn resident(pid: u32) -> f64 {
    read(pid, "VmRSS:")
}

/// Peak resident memory in bytes since the last [`reset_peak`].
pub(crate) fn peak(pid: u32) -> f64 {
    read(pid, "VmHWM:")
}

/// Resets the peak (proc_pid_clear_refs(5)).
///
/// For a process that disabled core dumps, as regauthd does, only root may reset it. Otherwise the peak counts from the
/// start of the process.
pub(crate) fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn read(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kibibytes: f64 = value.trim_matches([' ', '\t', 'k', 'B']).parse().unwrap();
    kibibytes * 1024.0
}
