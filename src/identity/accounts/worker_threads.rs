//! Threads of low priority for work that takes a core for milliseconds.
//!
//! Not here: what they compute and how much at a time (`passwords`). Invariant: they start with the
//! first job and end when idle, so that a node without sign-ins has none; whatever else runs on the
//! node goes first.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// The nice value of the threads. A thread of the default value that wakes up goes first: at once, or where the kernel
/// preempts lazily at its next tick. When all cores are busy, these threads get about a tenth of a core's time rather
/// than none.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How long an idle thread is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A few threads of their own. Jobs beyond their number wait in a queue, which the caller bounds.
#[derive(Debug)]
pub(super) struct WorkerThreads {
    /// Only its pool of blocking threads is used. `None` when it could not be built.
    runtime: Option<Runtime>,
}

impl WorkerThreads {
    pub(super) fn new(name: &'static str, count: usize) -> Self {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(count)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name(name)
            .on_thread_start(lower_priority)
            .build();
        let say = |error: &std::io::Error| {
            tracing::error!(%error, name, "there are no threads of low priority: such work fails");
        };
        Self {
            runtime: runtime.inspect_err(say).ok(),
        }
    }

    /// Runs a job to its end, also when the future is dropped meanwhile. `None` when it panicked, or there are no
    /// threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.runtime.as_ref()?.spawn_blocking(job).await.ok()
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        // A runtime may not be dropped inside of another one's task, because it would wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the calling thread. On Linux the nice value belongs to a thread; elsewhere
/// to the process, which is left alone.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // Lowering needs no privilege. A process that is below already stays there.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the priority of a worker thread stays as it is");
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_at_low_priority_and_a_panic_ends_only_its_own() {
        let threads = WorkerThreads::new("low", 1);
        let here = rustix::process::getpriority_process(None).unwrap();
        let there = threads.run(|| rustix::process::getpriority_process(None).unwrap());
        assert_eq!(there.await, Some(here.max(NICE)));
        assert_eq!(threads.run(|| panic!("of a test")).await, None::<()>);
        assert_eq!(threads.run(|| 7).await, Some(7));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), here);
    }
}
