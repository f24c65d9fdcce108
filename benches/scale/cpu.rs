//! What processes below this one have used of the processors, and keep in memory (Linux).
//!
//! Invariant: only what this benchmark started is looked at, so that other servers do not count.

use std::collections::BTreeMap;

/// The clock of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

struct Process {
    name: String,
    parent: u32,
    seconds: f64,
}

/// Seconds of all processes of this name that this one has started, however indirectly.
pub(crate) fn seconds_of(name: &str) -> f64 {
    let processes = all();
    let is_ours = |mut pid: u32| {
        while let Some(process) = processes.get(&pid) {
            if pid == std::process::id() {
                return true;
            }
            pid = process.parent;
        }
        false
    };
    let named = processes.iter().filter(|(_, process)| process.name == name);
    named
        .filter(|(pid, _)| is_ours(**pid))
        .map(|(_, process)| process.seconds)
        .sum()
}

/// Seconds of this process.
pub(crate) fn own_seconds() -> f64 {
    read(std::process::id()).map_or(0.0, |process| process.seconds)
}

/// The resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn all() -> BTreeMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // One that has ended meanwhile is not there.
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces.
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Process {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
    })
}
