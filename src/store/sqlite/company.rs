//! Jobs that wait for a moment to be committed with another one.
//!
//! Not here: the order of jobs, which stays that of the queue (`writer`). Invariant: nothing waits
//! behind a job that may not, and no job waits longer than [`COMPANY`].

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::writer::Job;

/// How long a job that may wait does so for another one to share its sync. Messages come more often than
/// that where syncs matter, so a sign-in adds none that a message would have to wait for.
const COMPANY: Duration = Duration::from_millis(20);

/// Waits as long as everything in the batch may wait.
pub(super) fn wait_for_company(
    jobs: &Receiver<Box<dyn Job>>,
    batch: &mut Vec<Box<dyn Job>>,
    batch_max: usize,
) {
    let began = Instant::now();
    while batch.len() < batch_max && batch.iter().all(|job| job.may_wait()) {
        let Some(left) = COMPANY.checked_sub(began.elapsed()) else {
            return;
        };
        match jobs.recv_timeout(left) {
            Ok(job) => batch.push(job),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::sync::oneshot;

    use super::*;
    use crate::store::sqlite::writer::{Call, Unit};

    fn job(may_wait: bool) -> Box<dyn Job> {
        let (reply, _) = oneshot::channel();
        let call = Call::new(|_: &Unit<'_>| Ok(()), reply);
        Box::new(if may_wait { call.patient() } else { call })
    }

    #[test]
    fn jobs_that_may_wait_are_committed_with_the_first_that_may_not() {
        let (sender, jobs) = sync_channel(8);
        for may_wait in [true, false, true] {
            sender.send(job(may_wait)).unwrap();
        }
        let mut batch = vec![job(true)];
        wait_for_company(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 3, "it goes on with the one that may not wait");
        wait_for_company(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 3, "nothing waits behind one that may not");

        let (began, mut batch) = (Instant::now(), vec![job(true)]);
        wait_for_company(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 2);
        assert!(began.elapsed() >= COMPANY, "{:?}", began.elapsed());

        drop(sender);
        let began = Instant::now();
        wait_for_company(&jobs, &mut vec![job(true)], 8);
        assert!(began.elapsed() < COMPANY, "nothing comes any more");
    }
}
