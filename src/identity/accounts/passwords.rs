//! Passwords: on which threads they are scored and hashed, and how many at a time.
//!
//! Not here: what makes a password good enough (`strength`), the hash itself (`hashes`), how often a client may be
//! wrong (`failures`). Invariants: scoring and hashing run on threads of low priority, under permits: one
//! for two cores, fewer where memory is small, and on a single core one that rests as long as it has worked. So memory
//! and the rest of the node stay bounded however many clients ask. A network that asks for much pushes out its own who
//! wait, so that the next client of another one finds a place in the queue. An e-mail that nobody has costs the same
//! work as one that has an account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::hashes;
use super::strength::{BYTES_MAX, NewPassword};
use super::worker_threads::WorkerThreads;
use crate::budget::{Parts, PushOut};
use crate::model::{ClientIdentifier, Code, NamedNetworks, Problem};

/// How many may wait for a permit, and for how long.
const WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(2);

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
    permits: Arc<Semaphore>,
    permits_max: u32,
    /// Those who wait for a permit. A std mutex: held for some look-ups.
    waiting: Mutex<PushOut<ClientIdentifier, oneshot::Sender<()>>>,
    /// On a single core: until when the only permit rests. A std mutex: it guards one value and is
    /// never held across an await.
    rest: Option<Arc<Mutex<Instant>>>,
}

/// A client who waits for a permit; gone from the queue when this is dropped.
struct Waiter<'a> {
    passwords: &'a Passwords,
    number: u64,
    /// Ends when others of the network have pushed the client out.
    pushed_out: oneshot::Receiver<()>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.passwords.waiting().remove(self.number);
    }
}

impl Passwords {
    pub(super) fn new(limit: HashLimit) -> Self {
        let permits = limit.permits as usize;
        Self {
            threads: WorkerThreads::new("passwords", permits),
            permits: Arc::new(Semaphore::new(permits)),
            permits_max: limit.permits,
            waiting: Mutex::new(PushOut::new(WAITING_MAX, Parts::DEFAULT)),
            rest: (limit.cores < 2).then(|| Arc::new(Mutex::new(Instant::now()))),
        }
    }

    /// Scores a new password and hashes it. Returns the hash as a PHC string.
    ///
    /// # Errors
    /// `validation_failed` in the field `password` when it is easily guessed; `overloaded`.
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

    /// How many permits a hash takes: as many as have its bytes, as far as there are that many.
    fn permits_for(&self, bytes: u64) -> u32 {
        let permits = u32::try_from(bytes.div_ceil(hashes::HASH_BYTES)).unwrap_or(u32::MAX);
        permits.min(self.permits_max)
    }

    async fn permit(
        &self,
        from: &NamedNetworks,
        number: u32,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let mut waiter = self.waiter(from);
        let permit = async {
            let permit = Arc::clone(&self.permits).acquire_many_owned(number);
            let permit = permit.await.ok()?;
            if let Some(rest) = &self.rest {
                let until = *rest.lock().unwrap_or_else(PoisonError::into_inner);
                tokio::time::sleep_until(until).await;
            }
            Some(permit)
        };
        let permit = tokio::select! {
            biased;
            permit = tokio::time::timeout(WAIT_MAX, permit) => permit.ok().flatten(),
            _told = &mut waiter.pushed_out => None,
        };
        permit.ok_or_else(overloaded)
    }

    fn waiter(&self, from: &NamedNetworks) -> Waiter<'_> {
        let (told, pushed_out) = oneshot::channel();
        let (number, _pushed_out) = self
            .waiting()
            .insert(from.levels.clone(), from.multiple, told);
        Waiter {
            passwords: self,
            number,
            pushed_out,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, PushOut<ClientIdentifier, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes on a worker thread, always to the end: the permit is given back with the memory, also
    /// when the client has left.
    async fn work<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
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

fn overloaded() -> Problem {
    Problem::new(
        Code::Overloaded,
        "Too many sign in at once; try again in a moment.",
    )
    .retry_after_ms(2_000)
}

#[cfg(test)]
mod tests {
    use super::super::hashes::DUMMY;
    use super::*;
    use crate::model::Width;

    const MIB: u64 = 1 << 20;

    fn from(name: u8) -> NamedNetworks {
        NamedNetworks {
            levels: [(ClientIdentifier::from_mac(&[name; 32]), Width::Address)]
                .into_iter()
                .collect(),
            multiple: 1,
        }
    }

    #[test]
    fn hashes_take_a_sixteenth_of_the_memory_and_half_of_the_cores_at_most() {
        for (cores, memory, permits) in [
            (64, u64::MAX, 32),
            (64, 16_384 * MIB, 32),
            (64, 1_024 * MIB, 3),
            (64, 512 * MIB, 1),
            (64, 64 * MIB, 1),
            (4, 1_024 * MIB, 2),
            (1, 1_024 * MIB, 1),
        ] {
            let limit = HashLimit::for_cores(cores, memory);
            assert_eq!(
                limit.permits,
                permits,
                "{cores} cores, {} MiB",
                memory / MIB
            );
            assert!(limit.bytes() <= (memory / 16).max(hashes::HASH_BYTES));
            let passwords = Passwords::new(limit);
            assert_eq!(passwords.permits.available_permits(), permits as usize);
        }
    }

    /// Otherwise as many of them as there are permits would take three times the memory that is counted for hashes.
    #[tokio::test]
    async fn a_hash_that_needs_more_memory_takes_more_permits() {
        let passwords = Passwords::new(HashLimit::for_cores(64, 1_024 * MIB));
        assert_eq!(passwords.permits_for(hashes::HASH_BYTES), 1);
        assert_eq!(passwords.permits_for(hashes::HASH_BYTES + 1), 2);
        assert_eq!(passwords.permits_for(64 * MIB), 3);
        let held = passwords.permit(&from(1), 1).await.unwrap();
        // 32 MiB, and no hash of any password.
        let large = "$argon2id$v=19$m=32768,t=1,p=1$c3RvbXBib3gtZHVtbXktMQ$\
                     YW4gb3V0cHV0IG9mIG5vIHBhc3N3b3JkIGF0IGFsbC4";
        let more = passwords.permit(&from(1), 1).await.unwrap();
        let one = from(1);
        let mut verifying = Box::pin(passwords.verify(&one, ("imported", large), || Ok(())));
        assert!(futures_util::poll!(&mut verifying).is_pending());
        assert_eq!(passwords.waiting().len(), 1);
        drop(more);
        assert!(!verifying.await.unwrap());
        drop(held);
    }

    #[tokio::test]
    async fn a_password_is_that_of_its_hash_only() {
        let passwords = Passwords::new(HashLimit::of(u64::MAX));
        let new = NewPassword {
            password: "correct horse battery",
            email: "",
            name: "",
        };
        let hash = passwords.hash(&from(1), new).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = async |password: &str, hash: &str| {
            passwords
                .verify(&from(1), (password, hash), || Ok(()))
                .await
                .unwrap()
        };
        assert!(verify("correct horse battery", &hash).await);
        assert!(!verify("correct horse batterx", &hash).await);
        assert!(!verify("", &hash).await);
        assert!(!verify(&"x".repeat(10_000_000), &hash).await);
        assert!(!verify("correct horse battery", "no hash").await);
        assert_ne!(hash, passwords.hash(&from(1), new).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_its_part_of_the_queue_a_network_pushes_out_its_own() {
        let passwords = Passwords::new(HashLimit::of(u64::MAX));
        let held = Arc::clone(&passwords.permits)
            .acquire_many_owned(u32::try_from(passwords.permits.available_permits()).unwrap());
        let held = held.await.unwrap();
        let (flooding, other) = (from(1), from(2));
        let first: Vec<_> = (0..500)
            .map(|_| passwords.verify(&flooding, ("x", DUMMY), || Ok(())))
            .collect();
        let mut first = futures_util::future::join_all(first);
        // Polled once: all but those who wait have their answer, and wait for the rest.
        assert!(futures_util::poll!(&mut first).is_pending());
        assert_eq!(passwords.waiting().len(), WAITING_MAX / 2);
        let mut honest = Box::pin(passwords.verify(&other, ("x", DUMMY), || Ok(())));
        assert!(
            futures_util::poll!(&mut honest).is_pending(),
            "a place in the queue"
        );
        let more: Vec<_> = (0..500)
            .map(|_| passwords.verify(&flooding, ("x", DUMMY), || Ok(())))
            .collect();
        let mut more = futures_util::future::join_all(more);
        assert!(futures_util::poll!(&mut more).is_pending());
        drop(held);
        let (first, more, honest) = tokio::join!(first, more, honest);
        assert!(!honest.unwrap(), "looked at, and wrong");
        let refused: Vec<_> = first
            .into_iter()
            .chain(more)
            .filter_map(Result::err)
            .collect();
        assert!(refused.len() >= 1_000 - WAITING_MAX, "{}", refused.len());
        assert!(
            refused
                .iter()
                .all(|it| it.code == Code::Overloaded && it.retry_after_ms.is_some())
        );
        assert_eq!(passwords.waiting().len(), 0);
    }

    #[tokio::test]
    async fn a_weak_password_is_scored_under_a_permit_and_not_hashed() {
        let passwords = Passwords::new(HashLimit::of(u64::MAX));
        let weak = NewPassword {
            password: "passwordpassword",
            email: "",
            name: "",
        };
        let problem = passwords.hash(&from(1), weak).await.unwrap_err();
        assert_eq!(problem.code, Code::ValidationFailed);
        assert_eq!(problem.field.as_deref(), Some("password"));
        let number = u32::try_from(passwords.permits.available_permits()).unwrap();
        let held = Arc::clone(&passwords.permits)
            .acquire_many_owned(number)
            .await
            .unwrap();
        let one = from(1);
        let mut scoring = Box::pin(passwords.hash(&one, weak));
        assert!(futures_util::poll!(&mut scoring).is_pending());
        drop(held);
        assert!(scoring.await.is_err());
    }

    #[tokio::test]
    async fn a_single_core_rests_as_long_as_it_has_worked() {
        let passwords = Passwords::new(HashLimit::for_cores(1, u64::MAX));
        let permit = passwords.permit(&from(1), 1).await.unwrap();
        let work = Duration::from_millis(40);
        let busy = move || {
            let began = std::time::Instant::now();
            while began.elapsed() < work {
                std::hint::spin_loop();
            }
            Some(())
        };
        passwords.work(permit, busy).await.unwrap();
        let began = Instant::now();
        let _next = passwords.permit(&from(1), 1).await.unwrap();
        assert!(began.elapsed() >= work / 2, "{:?}", began.elapsed());
        assert!(
            Passwords::new(HashLimit::for_cores(2, u64::MAX))
                .rest
                .is_none()
        );
    }
}
