//! CPU time of a process group, from the kernel's accounting in `/proc`.

use std::fs;
use std::time::Duration;

/// CPU time of a process group so far, user and system, of its live processes and all their threads, ended ones included.
pub(crate) fn of_process_group(leader: u32) -> Duration {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let ticks: u64 = stats.filter_map(|stat| ticks(&stat, leader)).sum();
    Duration::from_millis(ticks * MILLISECONDS_PER_TICK)
}

/// Parses a line of proc_pid_stat(5). After the name, which ends with `)`, the group is the 5th field, and utime and stime
/// are the 14th and 15th. Their sum is exact to a tick.
fn ticks(stat: &str, leader: u32) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    if fields.next()?.parse() != Ok(leader) {
        return None;
    }
    let mut times = fields.skip(8).map_while(|field| field.parse::<u64>().ok());
    Some(times.next()? + times.next()?)
}

/// Length of a tick: USER_HZ is 100 on every architecture of Linux.
const MILLISECONDS_PER_TICK: u64 = 10;
