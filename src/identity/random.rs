//! The one place of this room where random bits come from: the operating system.
//!
//! Not a generator of its own: nothing is seeded, buffered or repeated.

/// The operating system gave no random bits. Refuse what needed them; the next try may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bits")]
pub struct RandomUnavailable;

/// `N` random octets.
pub(super) fn random<const N: usize>() -> Result<[u8; N], RandomUnavailable> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomUnavailable)?;
    Ok(bytes)
}
