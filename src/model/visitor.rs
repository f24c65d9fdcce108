//! A visitor of whom nothing is stored: what the nodes tell each other of them.
//!
//! Not here: the secret by which they exist (`identity`). Invariant: with their address this is all that a
//! store needs to write their row.

use super::ids::ClientIdentifier;
use super::principal::Standing;
use super::time::UnixMillis;

/// A visitor without a row, or with one on which nothing depends yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    /// When the secret was made by which they exist; with the address it names the secret.
    pub made_at: UnixMillis,
    /// Whether a fingerprint may open the identity.
    pub standing: Standing,
    /// The name shown beside messages.
    pub name: Box<str>,
    /// The fingerprint under which they were created.
    pub client_identifier: ClientIdentifier,
    /// When they connected or disconnected last.
    pub last_seen: UnixMillis,
}
