//! Description of the machine and the programs, without which the numbers mean nothing.

use std::fs;
use std::process::Command;
use std::thread;

/// One sentence with the processor, the kernel and the versions of the programs.
pub(crate) fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rust = version_line("rustc", "--version");
    let nginx = version_line("nginx", "-v");
    // curl's line also lists its libraries.
    let curl = version_line("curl", "--version");
    let curl: Vec<&str> = curl.split(' ').take(2).collect();
    format!(
        "Measured on {model}, {cores} cores, Linux {}; {rust}; {nginx}; {}; oha {}.",
        kernel.trim(),
        curl.join(" "),
        crate::tools::OHA_VERSION
    )
}

/// First line that a program prints about its version. nginx prints it on stderr.
fn version_line(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or(program).to_owned()
}
