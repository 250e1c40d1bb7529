//! Processor time by the kernel's accounting.

use std::fs;
use std::time::Duration;

/// What a process group has spent so far, in user mode and in the kernel, by its live processes and by all their threads
/// that ever were.
pub(crate) fn spent(leader: u32) -> Duration {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let ticks: u64 = stats.filter_map(|stat| ticks(&stat, leader)).sum();
    Duration::from_millis(ticks * MILLISECONDS_A_TICK)
}

/// proc_pid_stat(5): after the name, which ends with `)`, the group is the 5th field, and utime and stime are the 14th and
/// 15th. Their sum is exact to a tick.
fn ticks(stat: &str, leader: u32) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    if fields.next()?.parse() != Ok(leader) {
        return None;
    }
    let mut times = fields.skip(8).map_while(|field| field.parse::<u64>().ok());
    Some(times.next()? + times.next()?)
}

/// USER_HZ is 100 on every architecture that Linux is built for today.
const MILLISECONDS_A_TICK: u64 = 10;
