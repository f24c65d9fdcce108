//! What the kernel keeps: objects and buffers of sockets, of which no process owns up.
//!
//! Invariant: a figure that the system does not give is `None`, never 0.

use std::fs;

/// A page of TCP's own count.
const PAGE_BYTES: u64 = 4_096;

/// The octets of kernel objects (`Slab` of /proc/meminfo) and of TCP buffers (`mem` in
/// /proc/net/sockstat), of the whole machine.
pub(super) fn memory_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let sockstat = fs::read_to_string("/proc/net/sockstat").ok()?;
    Some(slab_bytes(&meminfo)? + tcp_bytes(&sockstat)?)
}

fn slab_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("Slab:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

fn tcp_bytes(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    let pages: u64 = words.nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// The processor, how many of it, and the kernel.
pub(super) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("an unknown processor", |rest| {
        rest.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} threads, Linux {}", kernel.trim())
}

/// The load averages: what else the machine was doing.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_read() {
        let meminfo = "MemTotal: 24 kB\nSlab:             120 kB\nSReclaimable: 3 kB\n";
        assert_eq!(slab_bytes(meminfo), Some(120 << 10));
        let sockstat =
            "sockets: used 1\nTCP: inuse 5 orphan 0 tw 0 alloc 6 mem 7\nUDP: inuse 2 mem 1\n";
        assert_eq!(tcp_bytes(sockstat), Some(7 * 4_096));
        assert_eq!(tcp_bytes("TCP: inuse 5"), None);
        assert_eq!(slab_bytes(""), None);
    }
}
