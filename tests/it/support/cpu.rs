//! CPU time: of this thread, and of a node with all its threads.
//!
//! Not wall-clock time, which other programs on the machine lengthen. Invariant: what is measured is
//! the least of several rounds, so that only a real cost is in all of them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::node::Node;

/// What the calling thread has used so far.
fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// What one run of a step takes of this thread: the least of several.
pub(crate) fn of<T>(mut step: impl FnMut() -> T) -> Duration {
    let runs = (0..9).map(|_| {
        let began = of_this_thread();
        std::hint::black_box(step());
        of_this_thread() - began
    });
    runs.min().unwrap()
}

/// What `reference` takes on the machine on which the bounds were measured, when it is quiet.
const REFERENCE: Duration = Duration::from_micros(750);

/// Work that has nothing to do with the project: strings, a map and memory, as requests need them.
fn reference() -> usize {
    let words = (0..4_096_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).to_string());
    let counts: std::collections::BTreeMap<String, usize> =
        words.map(|word| (word.clone(), word.len())).collect();
    counts.into_values().sum()
}

/// How many times slower this machine is now than the quiet one on which the bounds were measured; at least 1. Others on
/// the host lengthen CPU time too: they share its caches and its cores.
pub(crate) fn slowness() -> f64 {
    (of(reference).as_secs_f64() / REFERENCE.as_secs_f64()).max(1.0)
}

/// What the threads of a node have used so far. A thread that ended meanwhile is missing.
pub(crate) fn of_node(node: &Node) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let spent = tasks.flatten().filter_map(|task| {
        // The first number is the time on a core, in nanoseconds.
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum::<u64>())
}
