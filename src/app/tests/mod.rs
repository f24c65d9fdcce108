//! What clients see of queues, acknowledgement and transactions, on engines in memory.

mod acknowledging;
mod committing;
mod rig;
mod sharing;
mod sharing_network;
mod sharing_refused;
mod storing;

use crate::model::{ClientIdentifier, Kind, Principal, Standing};

/// A visitor with this address.
pub(super) fn somebody(user: &str) -> Principal {
    let client_identifier: ClientIdentifier = "0".repeat(26).parse().unwrap();
    Principal {
        user_id: user.parse().unwrap(),
        kind: Kind::Anonymous,
        standing: Standing::FIRM,
        name: String::new(),
        network: client_identifier.clone(),
        client_identifier,
        sign_in: None,
        made_at: None,
        expires_at: None,
    }
}
