//! Jobs that wait for a moment to be committed with another one.
//!
//! Not here: the order of jobs, which stays that of the queue (`writer`). Invariant: nothing waits
//! behind a job that may not, no job waits longer than [`COMPANY`], and none waits while no messages come.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::writer::Job;

/// How long a job that may wait does so for another one to share its sync. While messages come more often than
/// that, a sign-in adds no sync that a message would have to wait for.
const COMPANY: Duration = Duration::from_millis(100);

/// When jobs that may not wait came last, which says whether more of them are likely.
#[derive(Debug, Default)]
pub(super) struct Company {
    hurried_at: Option<Instant>,
}

impl Company {
    /// Waits as long as everything in the batch may wait and others are likely to come.
    pub(super) fn wait(
        &mut self,
        jobs: &Receiver<Box<dyn Job>>,
        batch: &mut Vec<Box<dyn Job>>,
        batch_max: usize,
    ) {
        let began = Instant::now();
        let is_likely = (self.hurried_at).is_some_and(|at| began.duration_since(at) < COMPANY);
        while batch.len() < batch_max && batch.iter().all(|job| job.may_wait()) {
            let left = COMPANY.saturating_sub(began.elapsed());
            if !is_likely || left.is_zero() {
                return;
            }
            match jobs.recv_timeout(left) {
                Ok(job) => batch.push(job),
                Err(_) => return,
            }
        }
        if !batch.iter().all(|job| job.may_wait()) {
            self.hurried_at = Some(Instant::now());
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
        let (mut company, mut batch) = (Company::default(), vec![job(false)]);
        company.wait(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 1, "nothing waits behind one that may not");
        let mut batch = vec![job(true)];
        company.wait(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 3, "it goes on with the one that may not wait");

        let (began, mut batch) = (Instant::now(), vec![job(true)]);
        company.wait(&jobs, &mut batch, 8);
        assert_eq!(batch.len(), 2);
        assert!(began.elapsed() >= COMPANY, "{:?}", began.elapsed());

        drop(sender);
        let began = Instant::now();
        company.wait(&jobs, &mut vec![job(true)], 8);
        assert!(began.elapsed() < COMPANY, "nothing comes any more");
    }

    #[test]
    fn a_job_that_may_wait_does_not_while_no_messages_come() {
        let (sender, jobs) = sync_channel(8);
        let mut company = Company::default();
        let began = Instant::now();
        company.wait(&jobs, &mut vec![job(true)], 8);
        company.hurried_at = began.checked_sub(COMPANY);
        company.wait(&jobs, &mut vec![job(true)], 8);
        assert!(began.elapsed() < COMPANY, "{:?}", began.elapsed());
        drop(sender);
    }
}
