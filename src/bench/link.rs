//! One connection: how far it has come, and what of it is half done.
//!
//! Not here: the poll that moves it (`fleet`). Small, because there are tens of thousands. Invariant:
//! a link without a socket is closed, and keeps neither octets nor a place in the poll.

use super::socket::Socket;

/// Whom a connection belongs to, where it goes and what it hears.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Which of the servers.
    pub(super) target: u16,
    /// Whose connection it is.
    pub(super) user: u32,
    /// What it subscribes to, if to anything.
    pub(super) subscribe: Option<Box<str>>,
    /// Whether it never reads once it has subscribed.
    pub(super) is_slow: bool,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    #[default]
    Closed,
    /// TCP is being connected.
    Dialling,
    /// The WebSocket was asked for.
    Upgrading,
    /// CONNECT was sent, or is awaited.
    Greeting,
    /// SUBSCRIBE was sent.
    Subscribing,
    /// Everything is in force.
    Ready,
    /// It reads no more.
    Deaf,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// TCP did not come about.
    NoServer(String),
    /// The server said no.
    Refused(String),
    /// The server closed it, or the line broke.
    Closed(String),
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) socket: Option<Socket>,
    pub(super) phase: Phase,
    /// Octets of a WebSocket frame that is not whole.
    pub(super) carry: Vec<u8>,
    /// Octets of a STOMP frame that is not whole.
    pub(super) part: Vec<u8>,
    /// What the socket did not take yet.
    pub(super) unsent: Vec<u8>,
    /// When it was dialled, in nanoseconds of the run.
    pub(super) dialled_ns: u64,
    /// Counts its lives, so that a beat of an earlier one is not sent.
    pub(super) life: u32,
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// Everything is in force, so long after it was dialled.
    Ready {
        /// In nanoseconds.
        took_ns: u64,
    },
    /// A message came.
    Message {
        /// All of it.
        text: &'a [u8],
        /// When, in nanoseconds of the run.
        at_ns: u64,
    },
    /// A message was receipted.
    Receipt {
        /// Which of this connection's.
        number: u64,
        /// When.
        at_ns: u64,
    },
    /// The connection is gone.
    Ended(&'a Why),
}

/// Who listens to what happens.
pub(super) trait Ear {
    /// Takes note. What is to be sent because of it is sent after the turn.
    fn hear(&mut self, link: usize, heard: &Heard<'_>);
}

/// An ear that takes no note of anything: for the end of a run.
#[derive(Debug)]
pub(super) struct Deaf;

impl Ear for Deaf {
    fn hear(&mut self, _link: usize, _heard: &Heard<'_>) {}
}
