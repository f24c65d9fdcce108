//! What is wrong with octets that are no frame, in the words that the client is told.
//!
//! Not here: the ERROR frame and the close (`session`).

use super::command::Command;

/// How a decoder fails. All are final: what follows cannot be understood. The `Display` is the
/// body of the ERROR frame, [`DecodeError::message`] its header `message`,
/// [`DecodeError::close_code`] the WebSocket close after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The command line is longer than any command.
    #[error("A command has at most {max} octets.\n")]
    CommandTooLong {
        /// The limit.
        max: usize,
    },
    /// A header line is too long.
    #[error("A header line has at most {max} octets.\n")]
    HeaderTooLong {
        /// The limit.
        max: usize,
    },
    /// There are too many headers.
    #[error("A frame has at most {max} headers.\n")]
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// Command and headers are too long together.
    #[error("Command and headers have at most {max} octets together.\n")]
    HeadTooLong {
        /// The limit.
        max: usize,
    },
    /// The body is too long, or `content-length` says that it will be.
    #[error("A body has at most {max} octets.\n")]
    BodyTooLong {
        /// The limit.
        max: usize,
    },
    /// There is no such command.
    #[error("Could not interpret command \"{0}\"\n")]
    UnknownCommand(Box<str>),
    /// The head is not UTF-8.
    #[error("Command and headers are UTF-8.\n")]
    NotUtf8,
    /// A header line has no colon.
    #[error("A header line is a name, a colon and a value.\n")]
    NoColon,
    /// A header has an empty name.
    #[error("A header has a name.\n")]
    EmptyName,
    /// A backslash in a header begins no escape of this version.
    #[error("A header has an escape that this version of STOMP does not define.\n")]
    UndefinedEscape,
    /// A carriage return stands in a 1.2 header where no line ends.
    #[error("A carriage return in a header is escaped as \\r.\n")]
    StrayCarriageReturn,
    /// A NUL came before the blank line.
    #[error("A blank line ends the headers.\n")]
    NoBlankLine,
    /// `content-length` is not a number of octets.
    #[error("content-length is a number of octets, in digits.\n")]
    ContentLength,
    /// There is no NUL after a body of `content-length` octets.
    #[error("A NUL follows the content-length octets of the body.\n")]
    MissingNul,
    /// A frame with this command has no body.
    #[error("{0} has no body.\n")]
    BodyNotAllowed(Command),
}

impl DecodeError {
    /// The header `message` of the ERROR frame.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::CommandTooLong { .. } | Self::UnknownCommand(_) => "Bad command",
            Self::HeaderTooLong { .. } => "Header too long",
            Self::TooManyHeaders { .. } => "Too many headers",
            Self::HeadTooLong { .. } => "Head too long",
            Self::BodyTooLong { .. } => "Body too long",
            Self::NotUtf8 => "Invalid UTF-8",
            Self::NoColon | Self::EmptyName => "Bad header",
            Self::UndefinedEscape => "Undefined escape",
            Self::StrayCarriageReturn => "Bad header",
            Self::NoBlankLine => "Missing blank line",
            Self::ContentLength => "Bad content-length",
            Self::MissingNul => "Missing NUL",
            Self::BodyNotAllowed(_) => "Body not allowed",
        }
    }

    /// Whether something was too large, rather than wrong.
    #[must_use]
    pub fn is_size(&self) -> bool {
        matches!(
            self,
            Self::CommandTooLong { .. }
                | Self::HeaderTooLong { .. }
                | Self::TooManyHeaders { .. }
                | Self::HeadTooLong { .. }
                | Self::BodyTooLong { .. }
        )
    }

    /// The WebSocket close code after the ERROR frame: 1009 for size, 1002 for the rest.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        if self.is_size() { 1009 } else { 1002 }
    }
}
