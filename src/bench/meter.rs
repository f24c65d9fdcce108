//! What processes have used: processor time and memory, over each one's whole tree.
//!
//! Not here: what they were asked to do. Linux only: /proc is read. Invariant: what a process has
//! started counts as its own, also what began after the first look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use super::{BenchError, Outcome};

/// The clock of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// What /proc/PID/statm counts in.
const PAGE_BYTES: u64 = 4_096;

/// The processes of the server.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    roots: Vec<(u32, String)>,
}

/// One look at one root and all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Of each process, in ticks.
    ticks: BTreeMap<u32, u64>,
    /// Of each thread, in nanoseconds.
    threads: BTreeMap<(u32, u32), u64>,
    /// Resident memory of all of them.
    pub(super) rss_bytes: u64,
}

impl Meter {
    /// Watches these processes.
    pub(super) fn of(pids: &[u32]) -> Outcome<Self> {
        let named = |&pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            let name = name.map_err(|_| BenchError::Order(format!("there is no process {pid}")))?;
            Ok((pid, name.trim().to_owned()))
        };
        Ok(Self {
            roots: pids.iter().map(named).collect::<Outcome<_>>()?,
        })
    }

    /// Whether there is nothing to watch.
    pub(super) fn is_blind(&self) -> bool {
        self.roots.is_empty()
    }

    /// The ids and names.
    pub(super) fn roots(&self) -> &[(u32, String)] {
        &self.roots
    }

    /// Looks at all of them.
    pub(super) fn look(&self) -> Vec<Look> {
        if self.is_blind() {
            return Vec::new();
        }
        let children = children();
        let look = |(root, _): &(u32, String)| {
            let mut look = Look::default();
            let (mut waiting, mut seen) = (vec![*root], BTreeSet::new());
            while let Some(pid) = waiting.pop() {
                if seen.insert(pid) {
                    look.add(pid);
                    waiting.extend(children.get(&pid).into_iter().flatten());
                }
            }
            look
        };
        self.roots.iter().map(look).collect()
    }

    /// The resident memory of all of them, in octets.
    pub(super) fn rss_bytes(&self) -> u64 {
        self.look().iter().map(|look| look.rss_bytes).sum()
    }
}

impl Look {
    fn add(&mut self, pid: u32) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        if let Some((_, ticks)) = read("stat").ok().as_deref().and_then(parent_and_ticks) {
            self.ticks.insert(pid, ticks);
        }
        let resident = read("statm").ok();
        let pages = resident.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        self.rss_bytes += pages.unwrap_or(0) * PAGE_BYTES;
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        for thread in threads.flatten() {
            let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
            let ran = fs::read_to_string(thread.path().join("schedstat")).ok();
            let ran = ran.and_then(|text| text.split(' ').next()?.parse().ok());
            if let (Some(id), Some(ran)) = (id, ran) {
                self.threads.insert((pid, id), ran);
            }
        }
    }

    /// The processor time since an earlier look, the kernel's on its behalf included. Nanoseconds
    /// of the threads if all that were there are there still, else the ticks of the processes, in
    /// which what has ended is counted too.
    pub(super) fn cpu_since(&self, before: &Self) -> Duration {
        let stayed = before
            .threads
            .keys()
            .all(|key| self.threads.contains_key(key));
        if stayed && !self.threads.is_empty() {
            let grown = self.threads.iter().map(|(key, now)| {
                now.saturating_sub(before.threads.get(key).copied().unwrap_or(0))
            });
            return Duration::from_nanos(grown.sum());
        }
        let grown = self
            .ticks
            .iter()
            .map(|(pid, now)| now.saturating_sub(before.ticks.get(pid).copied().unwrap_or(0)));
        TICK * u32::try_from(grown.sum::<u64>()).unwrap_or(u32::MAX)
    }
}

/// The children of every process.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).ok();
        if let Some((parent, _)) = stat.as_deref().and_then(parent_and_ticks) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// Of /proc/PID/stat. The name in parentheses may hold spaces; the parent is field 4 of all, utime and
/// stime are 14 and 15.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((parent, user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name_is() {
        let stat = "12 (a) b (c)) S 7 12 12 0 -1 4194560 100 0 0 0 31 11 5 5 20 0 1 0 1 1";
        assert_eq!(parent_and_ticks(stat), Some((7, 42)));
        assert_eq!(parent_and_ticks("12 (a"), None);
    }

    #[test]
    fn work_and_memory_of_this_process_are_seen() {
        let meter = Meter::of(&[std::process::id()]).unwrap();
        let before = meter.look();
        let began = std::time::Instant::now();
        let mut sum = 0_u64;
        while began.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let after = meter.look();
        assert!(after[0].cpu_since(&before[0]) > Duration::from_millis(5));
        assert!(meter.rss_bytes() > 1 << 20);
        assert!(Meter::of(&[u32::MAX]).is_err());
    }

    #[test]
    fn when_a_thread_has_ended_the_ticks_count() {
        let look = |ticks, threads: &[(u32, u64)]| Look {
            ticks: BTreeMap::from([(1, ticks)]),
            threads: threads.iter().map(|&(id, ran)| ((1, id), ran)).collect(),
            rss_bytes: 0,
        };
        let before = look(10, &[(1, 1_000), (2, 5_000)]);
        let both = look(13, &[(1, 2_500), (2, 5_000), (3, 7)]);
        assert_eq!(both.cpu_since(&before), Duration::from_nanos(1_507));
        let one = look(13, &[(1, 2_500)]);
        assert_eq!(one.cpu_since(&before), TICK * 3);
    }
}
