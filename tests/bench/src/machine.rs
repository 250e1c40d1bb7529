//! What it was measured on: numbers without that say nothing.

use std::fs;
use std::process::Command;
use std::thread;

/// The machine and the programs, in a sentence.
pub(crate) fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rust = said("rustc", "--version");
    // nginx says it on stderr, curl in many words.
    let nginx = said("nginx", "-v");
    let curl = said("curl", "--version");
    let curl: Vec<&str> = curl.split(' ').take(2).collect();
    format!(
        "Measured on {model}, {cores} cores, Linux {}; {rust}; {nginx}; {}; oha {}.",
        kernel.trim(),
        curl.join(" "),
        crate::tools::OHA
    )
}

/// The first line that a program says of its version.
fn said(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or(program).to_owned()
}
