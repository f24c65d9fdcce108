//! SockJS: sessions of messages for clients and networks that know no WebSocket.
//!
//! Not here: frames, quoting and paths (`crate::sockjs`), what the messages mean: an [`Endpoint`]
//! gives each session, as a `Line`, to the one whose handler it is (`stomp`, or a [`Service`]).
//! Invariant: who may not come in is told so at every path; a session is served by one task, and is
//! spoken for only by the one who opened it.
//!
//! ```text
//! endpoint  requests to answers     session   what waits in each direction    stomp    the broker
//! receiver  frames as a body        registry  sessions by name                service  anything else
//! upgrade, framed  over WebSocket   line      the server's end of a session   owner    who may speak
//! handler     what an endpoint asks   rate      how many requests a network may send
//! ```

mod answers;
mod endpoint;
mod framed;
mod handler;
mod line;
mod owner;
mod pages;
mod rate;
mod receiver;
mod registry;
mod sending;
mod service;
mod session;
mod settings;
mod stomp;
#[cfg(test)]
mod tests;
mod upgrade;

pub use service::{Channel, Service, serve};
pub use settings::SockJsSettings;

pub(super) use rate::RequestRate;
pub(super) use stomp::{SockJs, routes};
