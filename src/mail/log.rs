//! The engine without a server: letters are written to the log of a developer, or nowhere.
//!
//! Invariant: where people are served, no word of a letter is logged: a link in it opens an account.

use async_trait::async_trait;

use super::{Letter, Mail, MailError};

/// Sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMail {
    is_development: bool,
}

impl LogMail {
    /// `is_development` writes letters to the log, secrets and all.
    #[must_use]
    pub fn new(is_development: bool) -> Self {
        Self { is_development }
    }
}

#[async_trait]
impl Mail for LogMail {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        if !self.is_development {
            return Err(MailError::Off);
        }
        tracing::info!(
            "a letter, which SMTP_URL would send: {}\n{}",
            letter.subject,
            letter.text
        );
        Ok(())
    }
}
