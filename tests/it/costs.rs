//! What a client can make a node compute: each step and each request with the dearest input that is
//! let through, in CPU time.
//!
//! Goal: no input costs more than its bound, which is about four times what was measured in the
//! profile of the tests (a release build takes less), on a quiet machine: each is measured beside work of
//! a known cost, and a slow machine has bounds as much wider. `docs/security.md` lists the figures. Not here:
//! the score of a password (`identity::accounts::strength`), sign-ins (`login_flood`), the handshake
//! of TLS (`edge_tls`).

mod acks;
mod deliveries;
mod requests;
mod steps;

use std::time::Duration;

use crate::support::cpu;

/// How much slower the steps are in a build that is not optimised at all.
const UNOPTIMISED: f64 = 12.0;

/// Notes a figure, and holds it to its bound in milliseconds.
pub(crate) fn hold(name: &str, cost: Duration, bound_ms: f64) -> Result<(), String> {
    let bound_ms = match option_env!("CARGO_PROFILE_DEV_OPT_LEVEL") {
        Some("0") => bound_ms * UNOPTIMISED,
        Some(_) | None => bound_ms,
    };
    let ms = cost.as_secs_f64() * 1e3;
    let slowness = cpu::slowness();
    eprintln!(
        "{name:45} {ms:8.3} ms of {bound_ms:6.2} ms on a machine {slowness:.2} times as slow"
    );
    match ms <= bound_ms * slowness {
        true => Ok(()),
        false => Err(format!(
            "{name}: {ms:.3} ms, at most {bound_ms} ms, on a machine {slowness:.2} times as slow"
        )),
    }
}

/// Fails with all that were too dear.
pub(crate) fn all_hold(results: impl IntoIterator<Item = Result<(), String>>) {
    let dear: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(dear.is_empty(), "{dear:#?}");
}
