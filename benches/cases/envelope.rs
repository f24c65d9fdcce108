//! Envelopes between nodes: one stored message, a full parcel of a topic, the heads of a cluster.
//!
//! Not here: the bus. Invariant: what is decoded is what was encoded.

use std::hint::black_box;

use stompbox::model::{Envelope, Incarnation, Parcel, ParcelBody};

use super::people::{Conversation, node, topic};
use super::{Case, Failure, Made};

/// How many envelopes a parcel has under load.
const BATCH: usize = 64;

/// How many flows the heads of a larger cluster name.
const NODES: usize = 20;

pub(super) const CASES: &[Case] = &[
    Case::new("envelope/encode_message", || encode(message, 1)),
    Case::new("envelope/decode_message", || decode(message, 1)),
    Case::new("envelope/encode_topic_64", || encode(batch, 1)),
    Case::new("envelope/decode_topic_64", || decode(batch, 1)),
    Case::new("envelope/encode_heads_20", || encode(heads, NODES)),
    Case::new("envelope/decode_heads_20", || decode(heads, NODES)),
];

type Body = Result<ParcelBody, Failure>;

fn message() -> Body {
    let message = Conversation::new()?.message(1);
    Ok(ParcelBody::Envelopes(vec![Envelope::Message(message)]))
}

fn batch() -> Body {
    let envelopes = vec![Envelope::Topic(topic()); BATCH];
    Ok(ParcelBody::Envelopes(envelopes))
}

fn heads() -> Body {
    Ok(ParcelBody::Heads)
}

fn parcel(body: fn() -> Body, targets: usize) -> Result<Parcel, Failure> {
    let flows = (1..=targets).map(|number| Ok((node(number)?, 1_000)));
    Ok(Parcel {
        sender: node(0)?,
        incarnation: Incarnation(7),
        flows: flows.collect::<Result<_, Failure>>()?,
        body: body()?,
    })
}

fn encode(body: fn() -> Body, targets: usize) -> Made {
    let parcel = parcel(body, targets)?;
    Ok(Box::new(move || {
        black_box(black_box(&parcel).encode());
    }))
}

fn decode(body: fn() -> Body, targets: usize) -> Made {
    let parcel = parcel(body, targets)?;
    let octets = parcel.encode();
    if Parcel::decode(octets.clone())? != parcel {
        return Err("a parcel changes on its way".into());
    }
    Ok(Box::new(move || {
        black_box(Parcel::decode(black_box(octets.clone()))).ok();
    }))
}
