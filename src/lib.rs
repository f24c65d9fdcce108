//! Stompbox: a STOMP broker over WebSocket, SockJS and TCP with server-aware routing, and the chat
//! service on it.
//!
//! The crate is a house of storeys. A room (module) imports only rooms on lower storeys, and rooms
//! of one storey do not import each other; `docs/architecture.md` has the table and `tests/tidy.rs`
//! holds it. The list below is in storey order.

// 0: ground. Pure: no async, no clock, no randomness.
pub mod model;
pub mod sockjs;
pub mod stomp;
pub mod websocket;

// 1: rules. Pure, but for `budget`, which keeps the counts of this process; time is an argument.
pub mod budget;
pub mod policy;
pub mod routing;
pub mod session;

// 2: engines. The contract in `mod.rs`, the engines beside it, the embedded one first.
pub mod bus;
pub mod location;
pub mod mail;
pub mod quota;
pub mod store;

// 3: this process.
pub mod hub;
pub mod identity;
pub mod turns;

// 4: puts a plan to work on hub, location, bus and store.
pub mod broker;

// 5: the `/app/**` features.
pub mod app;

// 6: sockets and HTTP, from the server's side and from that of a client who measures it.
pub mod bench;
pub mod edge;

// 7: configuration, composition, run, drain.
pub mod node;
