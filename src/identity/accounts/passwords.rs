//! Passwords: which are good enough, how they are hashed, and how many at a time.
//!
//! Not here: how often somebody may be wrong (`failures`). Invariant: at most one hash per two cores
//! is computed at a time, so that memory and the rest of the node stay bounded however many ask; and
//! an e-mail that nobody has costs the same work as one that somebody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::{Code, Problem};

/// Memory of one hash, in KiB; passes; lanes: what OWASP recommends for Argon2id.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The length of a password, in characters.
const CHARS_MIN: usize = 10;
const CHARS_MAX: usize = 128;

/// A character has at most four octets; what is longer is not looked at.
const BYTES_MAX: usize = CHARS_MAX * 4;

/// How much of a password is judged: the time that it takes grows with the length.
const JUDGED_CHARS: usize = 100;

/// How many may wait for a permit, and for how long.
const WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A hash of nothing that anybody knows, with the same costs: for e-mails that nobody has.
pub(super) const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3RvbXBib3gtZHVtbXktMQ$\
                                YW4gb3V0cHV0IG9mIG5vIHBhc3N3b3JkIGF0IGFsbC4";

/// Hashes and verifies. One value per node.
#[derive(Debug)]
pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Who has a place in the queue; it is free again when this goes.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The hash of a password that was judged good enough, as a PHC string.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Problem> {
        let permit = self.permit().await?;
        let password = password.to_owned();
        work(permit, move || {
            let hashed = hasher()?.hash_password(password.as_bytes()).ok()?;
            Some(hashed.to_string())
        })
        .await
    }

    /// Whether this is the password of that hash. `may_go_on` is asked once more when it is this
    /// one's turn: meanwhile others may have been wrong too often.
    pub(super) async fn verify(
        &self,
        password: &str,
        hash: &str,
        may_go_on: impl Fn() -> Result<(), Problem>,
    ) -> Result<bool, Problem> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        let permit = self.permit().await?;
        may_go_on()?;
        let (password, hash) = (password.to_owned(), hash.to_owned());
        work(permit, move || {
            let verified = hasher()?.verify_password(password.as_bytes(), hash.as_str());
            Some(verified.is_ok())
        })
        .await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _place = Place(&self.waiting);
        if waiting >= WAITING_MAX {
            return Err(overloaded());
        }
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(WAIT_MAX, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }
}

/// On a thread that may compute, and to its end: the permit goes back when the memory does, also
/// when whoever asked has left.
async fn work<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    compute: impl FnOnce() -> Option<T> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || {
        let result = compute();
        drop(permit);
        result
    });
    let failed = || Problem::new(Code::Internal, "The password could not be looked at.");
    done.await.ok().flatten().ok_or_else(failed)
}

fn hasher() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn overloaded() -> Problem {
    Problem::new(
        Code::Overloaded,
        "Too many sign in at once; try again in a moment.",
    )
    .retry_after_ms(2_000)
}

/// Judges a new password.
///
/// # Errors
/// `validation_failed` in the field `password`, with what to do.
pub(super) fn judge(password: &str, email: &str, name: &str) -> Result<(), Problem> {
    let refuse =
        |words: &'static str| Err(Problem::new(Code::ValidationFailed, words).in_field("password"));
    let chars = match password.len() {
        0..=BYTES_MAX => password.chars().count(),
        _ => usize::MAX,
    };
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return refuse("A password has 10 to 128 characters.");
    }
    let folded = password.to_lowercase();
    if folded == email || email.split('@').next().is_some_and(|local| local == folded) {
        return refuse("The password must not be the e-mail address.");
    }
    let judged: String = password.chars().take(JUDGED_CHARS).collect();
    let score = zxcvbn::zxcvbn(&judged, &[email, name]).score();
    if score < zxcvbn::Score::Two {
        return refuse("This password is easily guessed; use several words or a password manager.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passwords_that_are_not_easily_guessed_are_taken() {
        let check = |password: &str, taken: bool| {
            let verdict = judge(password, "kim.minsu@example.com", "Kim Minsu");
            assert_eq!(
                verdict.is_ok(),
                taken,
                "{}",
                &password[..password.len().min(40)]
            );
        };
        check("correct horse battery", true);
        check("우리집강아지는복슬강아지", true);
        check("Tr0ub4dor&3x", true);
        check("short", false);
        check("kim.minsu@example.com", false);
        check("KIM.MINSU@example.com", false);
        check("passwordpassword", false);
        check("1234567890", false);
        check("aaaaaaaaaaaa", false);
        check("Xq7 vv2-".repeat(16).as_str(), true);
        check("Xq7 vv2-x".repeat(16).as_str(), false);
        check("x".repeat(10_000_000).as_str(), false);
    }

    #[tokio::test]
    async fn a_password_is_that_of_its_hash_only() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = async |password: &str, hash: &str| {
            passwords.verify(password, hash, || Ok(())).await.unwrap()
        };
        assert!(verify("correct horse battery", &hash).await);
        assert!(!verify("correct horse batterx", &hash).await);
        assert!(!verify("", &hash).await);
        assert!(!verify(&"x".repeat(10_000_000), &hash).await);
        assert!(!verify("correct horse battery", "no hash").await);
        assert_ne!(hash, passwords.hash("correct horse battery").await.unwrap());
    }

    #[tokio::test]
    async fn nobodys_hash_costs_what_everybodys_costs() {
        let parsed = argon2::PasswordHash::new(DUMMY).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(costs, (MEMORY_KIB, PASSES, LANES));
        assert_eq!(parsed.hash.unwrap().len(), 32);
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_comes_at_once() {
        let passwords = Arc::new(Passwords::new());
        let held = Arc::clone(&passwords.permits)
            .acquire_many_owned(u32::try_from(passwords.permits.available_permits()).unwrap());
        let held = held.await.unwrap();
        let asking: Vec<_> = (0..500)
            .map(|_| passwords.verify("x", DUMMY, || Ok(())))
            .collect();
        let mut asking = futures_util::future::join_all(asking);
        // Polled once: all but those who wait have their answer, and wait for the rest.
        let pending = futures_util::poll!(&mut asking);
        assert!(pending.is_pending());
        assert_eq!(passwords.waiting.load(Ordering::Acquire), WAITING_MAX);
        drop(held);
        let answers = asking.await;
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        assert!(refused >= 500 - WAITING_MAX, "{refused}");
        let problem = answers.into_iter().find_map(Result::err).unwrap();
        assert_eq!(problem.code, Code::Overloaded);
        assert!(problem.retry_after_ms.is_some());
    }
}
