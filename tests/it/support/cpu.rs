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
