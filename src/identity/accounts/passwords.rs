//! Passwords: on which threads they are scored and hashed, and how many at a time.
//!
//! Not here: what makes a password good enough (`strength`), the hash itself (`hashes`), how often a client may be
//! wrong (`failures`). Invariants: scoring and hashing run on threads of low priority, under permits: one
//! for two cores, fewer where memory is small, and on a single core one that rests as long as it has worked. So memory
//! and the rest of the node stay bounded however many clients ask. A network that asks for much pushes out its own who
//! wait, so that the next client of another one finds a place in the queue. An e-mail that nobody has costs the same
//! work as one that has an account.

mod permits;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use self::permits::{Permit, Permits, Refusal};
use super::hashes;
use super::strength::{BYTES_MAX, NewPassword};
use super::worker_threads::WorkerThreads;
use crate::model::{Code, NamedNetworks, Problem};

/// The part of the memory of clients that hashes may take, unless one hash takes more.
const MEMORY_PART: u64 = 16;

/// How many passwords are hashed at a time, and how many bytes that takes, where clients may occupy so many bytes in
/// all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimit {
    cores: usize,
    permits: u32,
}

impl HashLimit {
    /// That of this machine.
    #[must_use]
    pub fn of(memory_bytes: u64) -> Self {
        let cores = std::thread::available_parallelism();
        Self::for_cores(cores.map_or(1, usize::from), memory_bytes)
    }

    /// One for two cores, and a sixteenth of the memory at most; at least one.
    #[must_use]
    pub fn for_cores(cores: usize, memory_bytes: u64) -> Self {
        let by_cores = u32::try_from(cores / 2).unwrap_or(u32::MAX);
        let by_memory = memory_bytes / MEMORY_PART / hashes::HASH_BYTES;
        let by_memory = u32::try_from(by_memory).unwrap_or(u32::MAX);
        Self {
            cores,
            permits: by_cores.min(by_memory).max(1),
        }
    }

    /// How many jobs the threads have at a time: one more than they work on, so that a thread that ends one has the next. A
    /// thread that sleeps between two is placed on the core of the worker that wakes it, and what runs there waits up to
    /// 4 ms. On a single core the thread rests anyway.
    fn jobs(self) -> u32 {
        self.permits + u32::from(self.cores > 1)
    }

    /// How many bytes the hashes that are computed at a time take.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.permits) * hashes::HASH_BYTES
    }
}

/// Scores, hashes and verifies. One value per node.
#[derive(Debug)]
pub(super) struct Passwords {
    threads: WorkerThreads,
    permits: Permits,
    /// How many permits there are.
    jobs: u32,
    /// On a single core: until when the only permit rests. A std mutex: it guards one value and is
    /// never held across an await.
    rest: Option<Arc<Mutex<Instant>>>,
}

impl Passwords {
    pub(super) fn new(limit: HashLimit) -> Self {
        Self {
            threads: WorkerThreads::new("passwords", limit.permits as usize),
            permits: Permits::new(limit.jobs()),
            jobs: limit.jobs(),
            rest: (limit.cores < 2).then(|| Arc::new(Mutex::new(Instant::now()))),
        }
    }

    /// Scores a new password and hashes it. Returns the hash as a PHC string.
    ///
    /// # Errors
    /// `validation_failed` in the field `password` when it is easily guessed; `try_later`, `overloaded`.
    pub(super) async fn hash(
        &self,
        from: &NamedNetworks,
        new: NewPassword<'_>,
    ) -> Result<String, Problem> {
        new.check()?;
        let permit = self.permit(from, 1).await?;
        let new = new.to_scored();
        self.work(permit, move || {
            if let Err(problem) = new.score() {
                return Some(Err(problem));
            }
            hashes::hash(new.password().as_bytes()).map(Ok)
        })
        .await?
    }

    /// Whether this is the password of that hash. `may_go_on` is called again when the permit is
    /// there: meanwhile others may have been wrong too often.
    pub(super) async fn verify(
        &self,
        from: &NamedNetworks,
        (password, hash): (&str, &str),
        may_go_on: impl Fn() -> Result<(), Problem>,
    ) -> Result<bool, Problem> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        let number = self.permits_for(hashes::bytes(hash));
        let permit = self.permit(from, number).await?;
        may_go_on()?;
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let verify = move || Some(hashes::is_of(password.as_bytes(), &hash));
        self.work(permit, verify).await
    }

    /// How many permits a hash takes: one, or if it needs more memory as many as have its bytes and the one of the job that
    /// is ahead, as far as there are that many. So no more bytes are in use than the hashes of all threads have.
    fn permits_for(&self, bytes: u64) -> u32 {
        match u32::try_from(bytes.div_ceil(hashes::HASH_BYTES)) {
            Ok(permits @ 0..=1) => permits,
            Ok(permits) => permits.saturating_add(1).min(self.jobs),
            Err(_) => self.jobs,
        }
    }

    async fn permit(&self, from: &NamedNetworks, number: u32) -> Result<Permit, Problem> {
        let permit = self.permits.take(from, number).await.map_err(refused)?;
        if let Some(rest) = &self.rest {
            let until = *rest.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::time::sleep_until(until).await;
        }
        Ok(permit)
    }

    /// Computes on a worker thread, always to the end: the permit is given back with the memory, also
    /// when the client has left.
    async fn work<T: Send + 'static>(
        &self,
        permit: Permit,
        compute: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let rest = self.rest.clone();
        let done = self.threads.run(move || {
            let began = Instant::now();
            let result = compute();
            if let Some(rest) = rest {
                let until = Instant::now() + began.elapsed();
                *rest.lock().unwrap_or_else(PoisonError::into_inner) = until;
            }
            drop(permit);
            result
        });
        let failed = || Problem::new(Code::Internal, "The password could not be processed.");
        done.await.flatten().ok_or_else(failed)
    }
}

/// 429 for what is the fault of the client's own network: behind a proxy, 503 would be a failure of the node.
fn refused(why: Refusal) -> Problem {
    let (code, detail) = match why {
        Refusal::Network => (
            Code::TryLater,
            "Too many sign in from your network at once; try again in a moment.",
        ),
        Refusal::Node => (
            Code::Overloaded,
            "Too many sign in at once; try again in a moment.",
        ),
    };
    Problem::new(code, detail).retry_after_ms(2_000)
}

#[cfg(test)]
mod tests;
