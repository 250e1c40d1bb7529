//! Resident memory, by the kernel's accounting.

use std::fs;

/// What a process has resident now, in bytes.
pub(crate) fn resident(pid: u32) -> f64 {
    read(pid, "VmRSS:")
}

/// The most it had resident since [`forget_peak`], in bytes.
pub(crate) fn peak(pid: u32) -> f64 {
    read(pid, "VmHWM:")
}

/// From now on the peak is counted anew (proc_pid_clear_refs(5)). Where only root may ask a hardened process for that, it
/// is the peak since the start.
pub(crate) fn forget_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn read(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kibibytes: f64 = value.trim_matches([' ', '\t', 'k', 'B']).parse().unwrap();
    kibibytes * 1024.0
}
