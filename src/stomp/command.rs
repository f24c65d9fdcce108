//! The commands, as a table: who sends them, and what their frames need and may have.
//!
//! Not here: when a command is allowed (the table of `session`).

use std::fmt;

/// Who sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

macro_rules! commands {
    ($($variant:ident $text:literal $side:ident $destination:literal $body:literal $escaped:literal)*) => {
        /// The command of a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Command {$(
            #[doc = $text]
            $variant,
        )*}

        impl Command {
            /// Every command, those of the client first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $text,)*}
            }

            /// Who sends it.
            #[must_use]
            pub fn sender(self) -> Side {
                match self {$(Self::$variant => Side::$side,)*}
            }

            /// Whether a frame without `destination` makes no sense.
            #[must_use]
            pub fn needs_destination(self) -> bool {
                match self {$(Self::$variant => $destination,)*}
            }

            /// Whether the frame may have a body.
            #[must_use]
            pub fn may_have_body(self) -> bool {
                match self {$(Self::$variant => $body,)*}
            }

            /// Whether its headers are escaped in versions that escape.
            #[must_use]
            pub fn is_escaped(self) -> bool {
                match self {$(Self::$variant => $escaped,)*}
            }

            /// The command that is written like this; case counts.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    //                         sender  destination  body  escaped
    Connect     "CONNECT"      Client  false        false false
    Stomp       "STOMP"        Client  false        false false
    Send        "SEND"         Client  true         true  true
    Subscribe   "SUBSCRIBE"    Client  true         false true
    Unsubscribe "UNSUBSCRIBE"  Client  false        false true
    Ack         "ACK"          Client  false        false true
    Nack        "NACK"         Client  false        false true
    Begin       "BEGIN"        Client  false        false true
    Commit      "COMMIT"       Client  false        false true
    Abort       "ABORT"        Client  false        false true
    Disconnect  "DISCONNECT"   Client  false        false true
    Connected   "CONNECTED"    Server  false        false false
    Message     "MESSAGE"      Server  true         true  true
    Receipt     "RECEIPT"      Server  false        false true
    Error       "ERROR"        Server  false        true  true
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_reads_back_and_fits_its_limit() {
        for command in Command::ALL.iter().copied() {
            assert_eq!(Command::parse(command.as_str()), Some(command));
            assert!(command.as_str().len() <= crate::stomp::decode::COMMAND_BYTES_MAX);
        }
        assert_eq!(Command::parse("send"), None);
        assert_eq!(Command::parse(""), None);
    }
}
