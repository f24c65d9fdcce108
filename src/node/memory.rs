//! How much memory clients may occupy, and what the process occupies.
//!
//! Not here: who gets how much of it (`budget`). Invariant: the account and what hashes of passwords may take
//! together never have more than [`LIMIT_PERCENT`] of what the system gives the process, whatever `MEMORY_LIMIT` says,
//! so that the account refuses before the system kills.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use crate::budget::Memory;
use crate::identity::accounts::HashLimit;

/// The part of the system's limit that clients may occupy; the rest is for the process itself.
const LIMIT_PERCENT: u64 = 80;

/// How large the account is, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// In bytes.
    pub(super) bytes: u64,
    /// How many passwords are hashed at a time, in memory beside the account.
    pub(super) hashes: HashLimit,
    /// The limit of the system that made it smaller than `MEMORY_LIMIT`, in bytes.
    pub(super) system: Option<u64>,
}

impl Limit {
    /// What `MEMORY_LIMIT` comes to on this system.
    pub(super) fn of(wanted: u64) -> Self {
        Self::within(wanted, system_limit(Path::new("/")), HashLimit::of)
    }

    fn within(wanted: u64, system: Option<u64>, hashes: impl Fn(u64) -> HashLimit) -> Self {
        let part = system.map_or(u64::MAX, |bytes| bytes / 100 * LIMIT_PERCENT);
        let hashes = hashes(wanted.min(part));
        // Half of it at least: a system that has no room for a hash besides is too small for this process.
        let beside_hashes = part.saturating_sub(hashes.bytes()).max(part / 2);
        Self {
            bytes: wanted.min(beside_hashes),
            hashes,
            system: system.filter(|_| beside_hashes < wanted),
        }
    }
}

/// The smallest limit that the system sets for this process: its cgroups, or the memory of the machine.
fn system_limit(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(limit_files);
    let limits = groups.flat_map(|(mount, path, file)| {
        let mount = root.join(mount);
        let path = path.to_owned();
        // In a container the path is often the host's, and the group itself is mounted at the top.
        let paths: Vec<PathBuf> = Path::new(&path)
            .ancestors()
            .map(Path::to_path_buf)
            .collect();
        paths.into_iter().filter_map(move |path| {
            let path = path.strip_prefix("/").ok()?;
            let text = read_to_string(mount.join(path).join(file)).ok()?;
            text.trim().parse::<u64>().ok()
        })
    });
    limits.chain(machine(root)).min()
}

/// For a line of `/proc/self/cgroup`: where its hierarchy is mounted, the group, and the file of its limit.
fn limit_files(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_memory = controllers.split(',').any(|name| name == "memory");
    match (controllers.is_empty(), is_memory) {
        // cgroup v2 has one hierarchy; "max" there is no number.
        (true, _) => Some(("sys/fs/cgroup", path, "memory.max")),
        // v1 writes "no limit" as a number near 2^63.
        (false, true) => Some(("sys/fs/cgroup/memory", path, "memory.limit_in_bytes")),
        (false, false) => None,
    }
}

/// The memory of the machine.
fn machine(root: &Path) -> Option<u64> {
    kibibytes(
        &read_to_string(root.join("proc/meminfo")).ok()?,
        "MemTotal:",
    )
}

/// Sets the gauges of the account, and of what the process occupies (`VmRSS`), which nothing obeys: an
/// allocator keeps pages that nobody uses.
pub(super) fn publish(memory: &Memory) {
    memory.publish();
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = kibibytes(&status, "VmRSS:") {
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
}

/// A line such as `VmRSS:   1234 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        system_limit(root(files).path())
    }

    #[test]
    fn the_limit_of_cgroup_v2_is_the_smallest_on_the_way_up() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let b = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        let a = ("sys/fs/cgroup/a/memory.max", "268435456\n");
        let top = ("sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(limit(&[group, b, a, top]), Some(256 * MIB));
        assert_eq!(limit(&[group, b, top]), Some(512 * MIB));
        assert_eq!(limit(&[group, b]), None);
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn the_limit_of_cgroup_v1_is_that_of_the_memory_controller() {
        let groups = "5:cpu,cpuacct:/c\n4:memory:/docker/x\n1:name=systemd:/s\n";
        let group = ("proc/self/cgroup", groups);
        let cpu = ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1\n");
        let own = (
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
            "134217728\n",
        );
        assert_eq!(limit(&[group, cpu, own]), Some(128 * MIB));
        // In a container its own group is mounted at the top.
        let top = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
        assert_eq!(limit(&[group, cpu, top]), Some(64 * MIB));
        let unlimited = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        let machine = ("proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\n");
        assert_eq!(limit(&[group, unlimited, machine]), Some(MIB));
    }

    #[test]
    fn the_account_and_the_hashes_are_at_most_four_fifths_of_what_the_system_gives() {
        let check = |wanted: u64, system: Option<u64>, bytes: u64, is_less: bool| {
            let hashes = |bytes| HashLimit::for_cores(64, bytes);
            let limit = Limit::within(wanted * MIB, system.map(|system| system * MIB), hashes);
            assert_eq!(limit.bytes / MIB, bytes, "{limit:?}");
            assert_eq!(limit.system.is_some(), is_less, "{limit:?}");
            if let Some(system) = system.filter(|system| *system >= 64) {
                let together = limit.bytes + limit.hashes.bytes();
                assert!(together <= system * MIB / 100 * LIMIT_PERCENT, "{limit:?}");
            }
        };
        check(1_024, None, 1_024, false);
        check(1_024, Some(2_000), 1_024, false);
        // 400 MiB in all, of which one hash takes 19.
        check(1_024, Some(500), 381, true);
        // Three hashes beside the account.
        check(1_024, Some(1_300), 983, true);
        // 32 hashes on 64 cores.
        check(16_384, Some(16_384), 12_499, true);
        check(64, Some(64), 32, true);
        check(64, Some(11), 4, true);
    }

    #[test]
    fn the_resident_memory_of_this_process_is_read() {
        let status = read_to_string("/proc/self/status").unwrap();
        assert!(kibibytes(&status, "VmRSS:").unwrap() > MIB);
        assert_eq!(kibibytes("VmRSS: 12 pages", "VmRSS:"), None);
    }
}
