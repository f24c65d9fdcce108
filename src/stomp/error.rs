//! What is wrong with octets that are no frame, in the words that the client is told.
//!
//! Not here: the ERROR frame and the close (`session`).

use super::command::Command;
use super::limits::Limits;

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

    /// One of every kind, with these limits: for documentation.
    #[must_use]
    pub fn every(limits: &Limits) -> Vec<Self> {
        vec![
            Self::CommandTooLong {
                max: super::decode::COMMAND_BYTES_MAX,
            },
            Self::HeaderTooLong {
                max: limits.header_bytes_max(),
            },
            Self::TooManyHeaders {
                max: limits.headers_max(),
            },
            Self::HeadTooLong {
                max: limits.head_bytes_max(),
            },
            Self::BodyTooLong {
                max: limits.body_bytes_max(),
            },
            Self::UnknownCommand("HELO".into()),
            Self::NotUtf8,
            Self::NoColon,
            Self::EmptyName,
            Self::UndefinedEscape,
            Self::StrayCarriageReturn,
            Self::NoBlankLine,
            Self::ContentLength,
            Self::MissingNul,
            Self::BodyNotAllowed(Command::Subscribe),
        ]
    }

    /// When it comes, for documentation.
    #[must_use]
    pub fn when(&self) -> &'static str {
        match self {
            Self::CommandTooLong { .. } => "the first line is longer than any command",
            Self::HeaderTooLong { .. } => "a header line is longer than MAX_HEADER_BYTES",
            Self::TooManyHeaders { .. } => "a frame has more headers than MAX_HEADERS",
            Self::HeadTooLong { .. } => {
                "command and headers are longer than MAX_HEAD_BYTES, or before CONNECTED than \
                 MAX_HEAD_BYTES_UNAUTHENTICATED"
            }
            Self::BodyTooLong { .. } => "a body, or its content-length, is beyond MAX_FRAME_BYTES",
            Self::UnknownCommand(_) => "the command is none of STOMP; case counts",
            Self::NotUtf8 => "command or headers are not UTF-8",
            Self::NoColon => "a header line has no colon",
            Self::EmptyName => "a header has an empty name",
            Self::UndefinedEscape => "a backslash begins no escape of the version",
            Self::StrayCarriageReturn => "a carriage return stands inside a 1.2 header line",
            Self::NoBlankLine => "a NUL comes before the blank line",
            Self::ContentLength => "content-length is not digits, or does not fit",
            Self::MissingNul => "no NUL follows content-length octets of body",
            Self::BodyNotAllowed(_) => "a frame other than SEND has a body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_says_when_it_comes() {
        let every = DecodeError::every(&Limits::default());
        // A kind that is added here must be listed above: the match of `when` asks for it.
        let mut said: Vec<_> = every.iter().map(DecodeError::when).collect();
        said.sort_unstable();
        said.dedup();
        assert_eq!((every.len(), said.len()), (15, 15));
        for error in every {
            assert!(error.to_string().ends_with('\n'), "{error:?}");
        }
    }
}
