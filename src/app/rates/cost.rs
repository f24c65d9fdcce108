//! What messages cost in tokens, by their bytes.
//!
//! Not here: from which buckets (`rates`). Invariant: no message is free, and a large one costs as much as the small ones that
//! have its bytes.

use crate::model::headers;
use crate::session::Send;

/// A message takes one token of its network for each started block of this many bytes. With one token a message, one
/// address could store 16 MB a second and delay the commits of everybody else, and send as much to each reader of a topic.
const NETWORK_BYTES_PER_TOKEN: usize = 1 << 10;

/// The same for the sender's own bucket. The burst of one sender (`RATE_BURST`, 100) has 400 KiB, which is less than what
/// waits for one reader (`OUTBOX_BYTES`, 512 KiB): one sender cannot have a reader cut.
const OWN_BYTES_PER_TOKEN: usize = 4 << 10;

/// What messages cost in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) own: u32,
    pub(super) network: u32,
}

/// How large a message is for its recipients: headers and body.
pub(in crate::app) fn bytes_of(send: &Send) -> usize {
    headers::text_bytes(&send.headers).saturating_add(send.body.len())
}

impl Cost {
    pub(super) fn of(bytes: impl Iterator<Item = usize>) -> Self {
        let tokens = |bytes: usize, block: usize| {
            let blocks = bytes.div_ceil(block).max(1);
            u32::try_from(blocks).unwrap_or(u32::MAX)
        };
        bytes.fold(Self { own: 0, network: 0 }, |sum, bytes| Self {
            own: (sum.own).saturating_add(tokens(bytes, OWN_BYTES_PER_TOKEN)),
            network: (sum.network).saturating_add(tokens(bytes, NETWORK_BYTES_PER_TOKEN)),
        })
    }
}
