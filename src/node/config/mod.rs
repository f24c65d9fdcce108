//! The configuration, in two steps: what was written, then what is valid.
//!
//! Defaults, then `stompbox.toml`, then the environment, then flags; later ones win. The table in
//! `settings` is the only place where a setting is named. Not here: the command line (`cli`).
//! Invariant: the environment is read once, by the caller, and comes in as a value; a mistake stops
//! the start with one line.

pub mod accounts;
pub mod clients;
pub mod kinds;
pub mod layers;
pub mod mistake;
pub mod paths;
pub mod reference;
pub mod script_url;
mod secret;
pub mod settings;
pub mod units;
pub mod valid;
pub mod words;

pub use accounts::{IssuerList, MailFrom, PublicUrl, Word};
pub use clients::{HeartBeat, Networks, Origins};
pub use layers::Sources;
pub use mistake::{Mistake, Source};
pub use paths::{Paths, RelayTable, RuleTable};
pub use secret::{Endpoint, Secret};
pub use settings::{Row, Settings, TABLE};
pub use units::Size;
pub use valid::{Config, Database, Mode};
pub use words::{
    AppEnv, LogFilter, LogFormat, LogIp, ProxyProtocol, QueueMode, Recognition, WsFrame,
};

#[cfg(test)]
mod tests;
