//! The contract of mail: letters to people.
//!
//! Not here: what a letter says (`identity::accounts::letters`), who gets one. Invariant: a letter
//! may hold a secret, so nothing of it stands in a log or a `Debug`, but for the engine of a
//! developer's own machine.

mod log;
mod smtp;

pub use log::LogMail;
pub use smtp::{SmtpMail, SmtpSettings};

use async_trait::async_trait;

/// A letter.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text, with lines ended by `\n`.
    pub text: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letter(..)")
    }
}

/// A letter was not sent, or an engine cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The address cannot be written to.
    #[error("this address cannot be written to")]
    Address,
    /// The setting of the engine is wrong.
    #[error("{0}")]
    Setting(String),
    /// The server did not take it.
    #[error("the mail server did not take the letter: {0}")]
    Refused(String),
    /// Nothing sends letters here.
    #[error("SMTP_URL is not set, so no letter is sent")]
    Off,
}

/// Sends letters.
#[async_trait]
pub trait Mail: Send + Sync + std::fmt::Debug {
    /// Sends one; returns when a server has taken it.
    async fn send(&self, letter: Letter) -> Result<(), MailError>;
}
