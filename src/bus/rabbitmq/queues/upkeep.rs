//! What is done about queues without being asked for: unused ones are removed, those that are needed are kept,
//! and those that were sent to are counted.
//!
//! Not here: what is due (`known`). Invariants: a queue is removed only while it is empty and nobody on any
//! node consumes from it, which RabbitMQ checks; nothing here delays or refuses a client.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Core;
use super::declare::{self, Refusal};
use super::known::Task;

/// How often it is looked at what is due.
const EVERY: Duration = Duration::from_secs(1);

/// How much is done each time: every task takes a channel of its own.
const TASKS_MAX: usize = 16;

impl Core {
    /// Looks after the queues until told to stop.
    pub(super) async fn upkeep(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            for (queue, task) in self.known.tasks(TASKS_MAX) {
                let done = stop.run_until_cancelled(self.tend(&queue, task)).await;
                if let Some(Err(refusal)) = done {
                    tracing::debug!(?refusal, "a queue is looked after later");
                }
            }
        }
    }

    async fn tend(&self, queue: &str, task: Task) -> Result<(), Refusal> {
        let Ok(line) = self.line() else {
            return Ok(());
        };
        let since = Instant::now();
        match task {
            Task::Remove => {
                let removing = declare::remove_unused(&*line, queue);
                if line.declaring(line.within(removing)).await? {
                    self.known.removed(queue, since);
                }
            }
            Task::Keep(declared) => {
                let lasting = declared.for_accounts(&self.settings);
                let replacing = declare::replace(&*line, queue, &lasting);
                match line.declaring(line.within(replacing)).await? {
                    true => self.known.note(queue, Some(lasting)),
                    false => {
                        let asking = declare::count(&*line, queue, &declared);
                        line.declaring(line.within(asking)).await?;
                    }
                }
            }
            Task::Count(declared) => {
                let counting = declare::count(&*line, queue, &declared);
                match line.declaring(line.within(counting)).await {
                    Ok(waiting) => self.known.counted(queue, waiting),
                    Err(Refusal::Missing) => {
                        self.known.counted(queue, 0);
                        self.known.doubt(queue);
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(())
    }
}
