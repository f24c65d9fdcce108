//! The nouns that several rooms exchange: ids, destinations, messages, envelopes, principals.
//!
//! Not here: frames (those are `stomp`'s), decisions (those are `routing`'s and `policy`'s).
//! Invariant: everything is a plain value; nothing reads a clock, a random source or the network.

pub mod acknowledgement;
pub mod destination;
pub mod envelope;
pub mod every_minute;
pub mod headers;
pub mod ids;
pub mod message;
pub mod network;
pub mod pattern;
pub mod prefixes;
pub mod principal;
pub mod problem;
pub mod queue;
pub mod time;
pub mod visitor;

pub use acknowledgement::{AckMode, Verdict};
pub use destination::{Destination, InvalidDestination, UserQueue};
pub use envelope::{Control, Envelope, Parcel, ParcelBody, ParcelError, TopicMessage, TraceAsk};
pub use every_minute::EveryMinute;
pub use headers::MessageHeaders;
pub use ids::{
    ClientId, ClientIdentifier, Incarnation, InvalidId, MessageId, NodeId, RoomId, SessionId,
    SignInId, UserId,
};
pub use message::StoredMessage;
pub use network::{NamedNetworks, Network, Width};
pub use pattern::{InvalidPattern, Pattern, is_pattern};
pub use prefixes::{Overlap, Prefixes, Spelling};
pub use principal::{Holder, Kind, Principal, Proof, Standing};
pub use problem::{CloseReason, Code, Problem};
pub use queue::QueueArguments;
pub use time::UnixMillis;
pub use visitor::Unkept;
