//! SockJS: sessions of messages for clients and networks that know no WebSocket.
//!
//! Not here: frames, quoting and paths (`crate::sockjs`), what the messages mean: an [`Endpoint`]
//! gives each session, as a `Line`, to the one whose house it is (`stomp`, or a [`Service`]).
//! Invariant: who may not come in is told so at every path; a session is served by one task, and is
//! spoken for only by the one who opened it.
//!
//! ```text
//! endpoint  requests to answers     session   what waits in each direction    stomp    the broker
//! receiver  frames as a body        registry  sessions by name                service  anything else
//! upgrade, framed  over WebSocket   line      the server's end of a session   owner    who may speak
//! ```

mod answers;
mod endpoint;
mod framed;
mod line;
mod owner;
mod pages;
mod receiver;
mod registry;
mod sending;
mod service;
mod session;
mod settings;
mod stomp;
mod upgrade;

pub use service::{Channel, Service, serve};
pub use settings::SockJsSettings;

pub(super) use stomp::{SockJs, routes};
