//! Who someone is: fingerprints, visitors' secrets, the decision which identity a CONNECT gets, and
//! accounts with their tokens.
//!
//! Not here: what he may do (`policy`), where he is (`location`). Three notions are kept apart: the
//! hint (fingerprint) recognises, the proof (secret) opens, the address (`user_id`) receives.
//! Invariant: nobody ever reads what was meant for another.

use std::sync::Arc;

use crate::model::{Principal, Proof, UnixMillis};

pub mod accounts;
pub mod decision;
pub mod fingerprint;
pub mod handshake;
mod keeping;
mod names;
mod opening;
mod presented;
mod problem;
pub mod random;
pub mod recipients;
mod recognition;
pub mod secret;
pub mod settings;
mod ticket;
pub mod visitors;

pub use accounts::Accounts;
pub use fingerprint::{FingerprintKey, client_address};
pub use handshake::{Handshake, Token};
pub use random::RandomUnavailable;
pub use recipients::{RECIPIENT_LIFE, Recipient};
pub use secret::{VisitorCookies, is_visitor_token};
pub use settings::{Recognition, VisitorSettings};
pub use ticket::{TICKET_LIFE, is_ticket};
pub use visitors::Visitors;

/// The wall clock, passed in as a value so that tests own it.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// An identity that was opened for a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who the client speaks for from now on.
    pub principal: Principal,
    /// How it was opened: the header `proof` of CONNECTED.
    pub proof: Proof,
    /// The secret, when the client cannot know it yet: the header `visitor-token` of CONNECTED.
    pub secret_to_tell: Option<String>,
    /// The header `visitor-token-status` of CONNECTED, when there is something to say of a secret
    /// that was presented.
    pub status: Option<&'static str>,
    /// In how many seconds the secret ends unless it is presented: `token-expires-in`.
    pub expires_in_s: u64,
}

impl std::fmt::Debug for Opened {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("user_id", &self.principal.user_id)
            .field("proof", &self.proof)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
