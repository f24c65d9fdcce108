//! What one node sends to another: envelopes, and the parcels in which the bus carries them.
//!
//! Not here: AMQP (`bus/rabbitmq.rs`), flow accounting (`broker`). The format is our own compact
//! binary one, all integers big-endian:
//!
//! ```text
//! parcel   = version(1 octet, 1) name(sender) incarnation(8) kind(1) body
//! name     = length(1) octets
//! kind 1   : flows envelopes         kind 2: flows        (heads, once a second)
//! flows    = count(2) *( name(target node) number(8) )
//! envelopes= count(4) *( tag(1) length(4) octets )
//! ```
//!
//! Invariant: a parcel of a later version with the same leading octet still reads; an envelope with
//! an unknown tag is counted and left out, never a failure of its neighbours.

mod fields;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::MessageHeaders;
use super::ids::{Incarnation, MessageId, NodeId, RoomId, SessionId, UserId};
use super::message::StoredMessage;
use super::network::Network;
use super::time::UnixMillis;
use fields::{
    get, get_long, get_name, get_network, get_short, get_text, get_u32, get_u64, length, put_long,
    put_short,
};

const VERSION: u8 = 1;
const KIND_ENVELOPES: u8 = 1;
const KIND_HEADS: u8 = 2;
const TAG_MESSAGE: u8 = 1;
const TAG_TOPIC: u8 = 2;
const TAG_CONTROL: u8 = 3;
const COMMAND_REPLACE: u8 = 1;
const COMMAND_SIGN_OUT: u8 = 2;
const COMMAND_REVIEW: u8 = 3;
const COMMAND_REVIEW_BANS: u8 = 4;
const COMMAND_TRACE_ASK: u8 = 5;
const COMMAND_TRACE_ANSWER: u8 = 6;

/// A message addressed for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// A committed message of a conversation, for the sessions of its members on the target node.
    Message(StoredMessage),
    /// A SEND to `/topic/**`, for the subscribers on the target node.
    Topic(TopicMessage),
    /// A command to the target node itself.
    Control(Control),
}

/// A SEND to an open destination: the body passes through untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    /// The whole destination, such as `/topic/news`.
    pub destination: Box<str>,
    /// The headers that travel with it (not those of the protocol), in the order of the SEND.
    pub headers: MessageHeaders,
    /// The body, any octets.
    pub body: Bytes,
    /// The network of its sender, which its deliveries count to. None of what a node says itself, or an older node
    /// has sent.
    pub network: Option<Network>,
}

/// A command from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Close this session with 4409: a newer one of the same user took its place.
    Replace(SessionId),
    /// Close this session with 4410: its user has signed out for good.
    SignOut(SessionId),
    /// Something about this user has changed in the store (his kind, a ban, the end of a sign-in, his
    /// name): look at him, and at his sessions here, again.
    Review(UserId),
    /// The bans and mutes have changed: read them, and hold every session here against them.
    ReviewBans,
    /// Say what became of this message here.
    TraceAsk(TraceAsk),
    /// What became of a message at the node that answers: JSON.
    TraceAnswer {
        /// The number of the question.
        question: u64,
        /// The node that answers.
        node: NodeId,
        /// What it knows, as JSON.
        body: Bytes,
    },
}

/// A question to another node: what became of a message there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceAsk {
    /// Distinguishes the questions of the node that asks.
    pub question: u64,
    /// The node that asks.
    pub asker: NodeId,
    /// The message.
    pub message: MessageId,
}

/// What the bus carries at once from one node to one or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The node that sends.
    pub sender: NodeId,
    /// The life of that node in which it sends.
    pub incarnation: Incarnation,
    /// For each target node the number in the flow from the sender to it: of this parcel, or, in a
    /// parcel of heads, of the last one that was sent.
    pub flows: Vec<(NodeId, u64)>,
    /// What it is.
    pub body: ParcelBody,
}

/// The content of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParcelBody {
    /// Envelopes; the parcel takes one number in each of its flows.
    Envelopes(Vec<Envelope>),
    /// Only the heads of the flows; it takes no number.
    Heads,
}

/// Octets from the bus that are no parcel. Count it, drop it, let repair fill what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// A later, incompatible version wrote it.
    #[error("unknown parcel version {0}")]
    Version(u8),
    /// It ends early, or a field has a value that it cannot have.
    #[error("malformed parcel")]
    Malformed,
}

impl Parcel {
    /// The parcel as octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        out.put_u8(VERSION);
        put_short(&mut out, self.sender.as_str());
        out.put_u64(self.incarnation.0);
        out.put_u8(match self.body {
            ParcelBody::Envelopes(_) => KIND_ENVELOPES,
            ParcelBody::Heads => KIND_HEADS,
        });
        out.put_u16(u16::try_from(self.flows.len()).unwrap_or(u16::MAX));
        for (node, number) in self.flows.iter().take(usize::from(u16::MAX)) {
            put_short(&mut out, node.as_str());
            out.put_u64(*number);
        }
        if let ParcelBody::Envelopes(envelopes) = &self.body {
            out.put_u32(length(envelopes.len()));
            for envelope in envelopes {
                put_envelope(&mut out, envelope);
            }
        }
        out.freeze()
    }

    /// Reads a parcel.
    ///
    /// # Errors
    /// [`ParcelError`]; nothing of a broken parcel is used.
    pub fn decode(mut octets: Bytes) -> Result<Self, ParcelError> {
        let octets = &mut octets;
        let version = get(octets, 1)?[0];
        if version != VERSION {
            return Err(ParcelError::Version(version));
        }
        let sender = get_name(octets)?;
        let incarnation = Incarnation(get_u64(octets)?);
        let kind = get(octets, 1)?[0];
        let flows = (0..get(octets, 2)?.get_u16())
            .map(|_| Ok((get_name(octets)?, get_u64(octets)?)))
            .collect::<Result<_, ParcelError>>()?;
        let body = match kind {
            KIND_HEADS => ParcelBody::Heads,
            KIND_ENVELOPES => {
                let count = get_u32(octets)?;
                let mut envelopes = Vec::new();
                for _ in 0..count {
                    let tag = get(octets, 1)?[0];
                    let length = get_u32(octets)?;
                    envelopes.extend(get_envelope(tag, get(octets, length)?)?);
                }
                ParcelBody::Envelopes(envelopes)
            }
            _ => return Err(ParcelError::Malformed),
        };
        Ok(Self {
            sender,
            incarnation,
            flows,
            body,
        })
    }
}

fn put_envelope(out: &mut BytesMut, envelope: &Envelope) {
    let start = out.len();
    out.put_u8(0);
    out.put_u32(0);
    let tag = match envelope {
        Envelope::Message(message) => {
            put_message(out, message);
            TAG_MESSAGE
        }
        Envelope::Topic(topic) => {
            put_long(out, topic.destination.as_bytes());
            out.put_u16(u16::try_from(topic.headers.len()).unwrap_or(u16::MAX));
            for (name, value) in topic.headers.iter().take(usize::from(u16::MAX)) {
                put_long(out, name.as_bytes());
                put_long(out, value.as_bytes());
            }
            put_long(out, &topic.body);
            if let Some(network) = topic.network {
                out.put_slice(&network.prefix().octets());
            }
            TAG_TOPIC
        }
        Envelope::Control(control) => {
            put_control(out, control);
            TAG_CONTROL
        }
    };
    let size = length(out.len() - start - 5);
    out[start] = tag;
    out[start + 1..start + 5].copy_from_slice(&size.to_be_bytes());
}

fn put_control(out: &mut BytesMut, control: &Control) {
    match control {
        Control::Replace(session) => {
            out.put_u8(COMMAND_REPLACE);
            out.put_u128(session.0);
        }
        Control::SignOut(session) => {
            out.put_u8(COMMAND_SIGN_OUT);
            out.put_u128(session.0);
        }
        Control::Review(user) => {
            out.put_u8(COMMAND_REVIEW);
            put_short(out, user.as_str());
        }
        Control::ReviewBans => out.put_u8(COMMAND_REVIEW_BANS),
        Control::TraceAsk(ask) => {
            out.put_u8(COMMAND_TRACE_ASK);
            out.put_u64(ask.question);
            put_short(out, ask.asker.as_str());
            out.put_u128(ask.message.0);
        }
        Control::TraceAnswer {
            question,
            node,
            body,
        } => {
            out.put_u8(COMMAND_TRACE_ANSWER);
            out.put_u64(*question);
            put_short(out, node.as_str());
            put_long(out, body);
        }
    }
}

fn put_message(out: &mut BytesMut, message: &StoredMessage) {
    out.put_u128(message.room.0);
    out.put_u64(message.seq);
    out.put_u32(message.epoch);
    out.put_u128(message.id.0);
    out.put_u64(message.timestamp.0);
    put_short(out, message.from.as_str());
    put_short(out, message.to.as_str());
    put_short(out, message.client_id.as_ref().map_or("", |id| id.as_str()));
    put_long(out, message.from_name.as_bytes());
    put_long(out, message.text.as_bytes());
}

/// `None` for a tag of a later version.
fn get_envelope(tag: u8, mut octets: Bytes) -> Result<Option<Envelope>, ParcelError> {
    let octets = &mut octets;
    let envelope = match tag {
        TAG_MESSAGE => Envelope::Message(get_message(octets)?),
        TAG_TOPIC => {
            let destination = get_text(octets)?.into();
            let headers = (0..get(octets, 2)?.get_u16())
                .map(|_| Ok((get_text(octets)?.into(), get_text(octets)?.into())))
                .collect::<Result<_, ParcelError>>()?;
            Envelope::Topic(TopicMessage {
                destination,
                headers,
                body: get_long(octets)?,
                network: get_network(octets)?,
            })
        }
        TAG_CONTROL => {
            return Ok(get_control(octets)?.map(Envelope::Control));
        }
        _ => return Ok(None),
    };
    Ok(Some(envelope))
}

/// `None` for a command of a later version.
fn get_control(octets: &mut Bytes) -> Result<Option<Control>, ParcelError> {
    let command = get(octets, 1)?[0];
    let session = |octets: &mut Bytes| Ok(SessionId(get(octets, 16)?.get_u128()));
    let control = match command {
        COMMAND_REPLACE => Control::Replace(session(octets)?),
        COMMAND_SIGN_OUT => Control::SignOut(session(octets)?),
        COMMAND_REVIEW => Control::Review(get_name(octets)?),
        COMMAND_REVIEW_BANS => Control::ReviewBans,
        COMMAND_TRACE_ASK => Control::TraceAsk(TraceAsk {
            question: get_u64(octets)?,
            asker: get_name(octets)?,
            message: MessageId(get(octets, 16)?.get_u128()),
        }),
        COMMAND_TRACE_ANSWER => Control::TraceAnswer {
            question: get_u64(octets)?,
            node: get_name(octets)?,
            body: get_long(octets)?,
        },
        _ => return Ok(None),
    };
    Ok(Some(control))
}

fn get_message(octets: &mut Bytes) -> Result<StoredMessage, ParcelError> {
    let room = RoomId(get(octets, 16)?.get_u128());
    let seq = get_u64(octets)?;
    let epoch = get_u32(octets)?;
    let id = MessageId(get(octets, 16)?.get_u128());
    let timestamp = UnixMillis(get_u64(octets)?);
    let from: UserId = get_name(octets)?;
    let to: UserId = get_name(octets)?;
    let client_id = get_short(octets)?;
    let client_id = match client_id.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| ParcelError::Malformed)?),
    };
    let from_name = get_text(octets)?;
    let text = get_text(octets)?;
    Ok(StoredMessage {
        room,
        seq,
        epoch,
        id,
        from,
        from_name,
        to,
        client_id,
        text,
        timestamp,
    })
}

#[cfg(test)]
mod tests;
