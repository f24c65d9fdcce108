//! An envelope on its way out, with what has to be told or done about it.
//!
//! Not here: where it goes (`router`). Invariant: a parcel is bounded in envelopes and in octets.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::hub::Delivery;
use crate::model::{Control, Envelope, TopicMessage, headers};

/// How many envelopes travel in one parcel: with the largest message well under what the bus takes
/// in one piece, and at the usual sizes near the 16 kB that cost RabbitMQ no more than one message.
const PARCEL_ENVELOPES_MAX: usize = 64;

/// How many octets travel in one parcel, unless a single envelope has more: bodies may be settable
/// to 16 MiB, and RabbitMQ closes a channel over what it finds too large.
const PARCEL_OCTETS_MAX: usize = 1 << 20;

/// An envelope with what has to be told or done about it.
#[derive(Debug)]
pub(super) enum Outbound {
    Message {
        delivery: Arc<Delivery>,
        attempt: u8,
    },
    Topic {
        topic: TopicMessage,
        handed: oneshot::Sender<()>,
    },
    Control(Control),
}

/// How many of these, at least one, make the next parcel.
pub(super) fn parcel_len(outbound: &[Outbound]) -> usize {
    let mut octets = 0;
    let fits = outbound
        .iter()
        .take(PARCEL_ENVELOPES_MAX)
        .take_while(|next| {
            octets += next.octets();
            octets <= PARCEL_OCTETS_MAX
        });
    fits.count().max(1)
}

impl Outbound {
    /// About how long it is in a parcel.
    fn octets(&self) -> usize {
        const AROUND: usize = 256;
        match self {
            Self::Message { delivery, .. } => AROUND + delivery.message.text.len(),
            Self::Topic { topic, .. } => {
                AROUND + topic.body.len() + headers::text_bytes(&topic.headers)
            }
            Self::Control(_) => AROUND,
        }
    }

    pub(super) fn envelope(&self) -> Envelope {
        match self {
            Self::Message { delivery, .. } => Envelope::Message(delivery.message.clone()),
            Self::Topic { topic, .. } => Envelope::Topic(topic.clone()),
            Self::Control(control) => Envelope::Control(control.clone()),
        }
    }

    /// The bus has taken it. Gives back what may have to be routed again.
    pub(super) fn handed(self) -> Option<(Arc<Delivery>, u8)> {
        match self {
            Self::Message { delivery, attempt } => Some((delivery, attempt)),
            Self::Topic { handed, .. } => {
                // Whoever sent it may have gone; then nobody waits for this.
                let _receiver_gone = handed.send(());
                None
            }
            Self::Control(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_parcel_is_bounded_in_envelopes_and_in_octets_and_never_empty() {
        let check = |count: usize, body_bytes: usize, expected: usize| {
            let topic = || Outbound::Topic {
                topic: TopicMessage {
                    destination: "/topic/x".into(),
                    headers: Vec::new(),
                    body: Bytes::from(vec![0; body_bytes]),
                    network: None,
                },
                handed: oneshot::channel().0,
            };
            let outbound: Vec<_> = (0..count).map(|_| topic()).collect();
            assert_eq!(parcel_len(&outbound), expected, "{count} of {body_bytes}");
        };
        check(1, 10, 1);
        check(100, 10, PARCEL_ENVELOPES_MAX);
        check(100, 300 << 10, 3);
        check(3, 16 << 20, 1);
    }
}
