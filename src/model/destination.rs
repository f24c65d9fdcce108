//! Destinations of SEND and SUBSCRIBE, parsed.
//!
//! Not here: who may use them (`policy`), what happens there (`app`, `broker`).
//! Invariant: two texts that parse to the same value are the same text.

use std::fmt;
use std::sync::Arc;

/// The longest destination that is looked at, in octets. RabbitMQ's limit for a name is the same.
pub const DESTINATION_BYTES_MAX: usize = 255;

/// The queues of the user himself that a session may subscribe to, as `/user/queue/<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserQueue {
    /// Direct messages and echoes.
    Messages,
    /// Problems with what this session sent; this session only.
    Errors,
    /// Answers to what this session sent with a `correlation-id`; this session only.
    Replies,
}

impl UserQueue {
    /// Every queue there is, for tables and documentation.
    pub const ALL: [Self; 3] = [Self::Messages, Self::Errors, Self::Replies];

    /// The whole destination, as the client writes it and finds it in MESSAGE.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "/user/queue/messages",
            Self::Errors => "/user/queue/errors",
            Self::Replies => "/user/queue/replies",
        }
    }
}

/// A destination as a client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// `/app/<name>`: a feature of the service, SEND only. The name without the prefix.
    App(Arc<str>),
    /// `/user/queue/<name>`: a queue of the user himself, SUBSCRIBE only.
    UserQueue(UserQueue),
    /// `/user/queue/<something unknown>` or `/user/<name>/...`: somebody's, or nobody's.
    User(Arc<str>),
    /// `/topic/<name>`: fan-out. The whole text.
    Topic(Arc<str>),
    /// `/queue/<name>`: competing consumers. The whole text.
    Queue(Arc<str>),
    /// `/temp-queue/<name>`: a session's own place for answers, which exists by the `reply-to` of its
    /// SENDs only. The name.
    TempQueue(Arc<str>),
    /// `/reply-queue/<token>`: what a receiver sees in `reply-to`, SEND only. The whole text.
    ReplyQueue(Arc<str>),
}

/// The prefixes under which clients name destinations. The first of each list is the canonical one,
/// in which a [`Destination`] is kept whatever the client wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of `/app/**`.
    pub app: Vec<Box<str>>,
    /// Of `/topic/**`.
    pub topic: Vec<Box<str>>,
    /// Of `/queue/**`.
    pub queue: Vec<Box<str>>,
    /// Of `/user/**`.
    pub user: Vec<Box<str>>,
    /// Whether `/queue/**` goes to every subscriber, as with Spring's simple broker.
    pub queue_fans_out: bool,
}

impl Default for Prefixes {
    /// The defaults of the settings.
    fn default() -> Self {
        let list = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
        Self {
            app: list(&["/app", "/pub"]),
            topic: list(&["/topic", "/sub"]),
            queue: list(&["/queue"]),
            user: list(&["/user"]),
            queue_fans_out: false,
        }
    }
}

/// A text is no destination; what to write instead is in the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid destination: {reason}")]
pub struct InvalidDestination {
    /// What was written, cut to a length that can be shown.
    pub text: String,
    /// Why it is refused and what is allowed.
    pub reason: &'static str,
}

impl Destination {
    /// Parses a destination.
    ///
    /// # Errors
    /// When it is too long, has a control character, an empty or dotted segment, an encoded slash
    /// in a reserved prefix, or an unknown prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidDestination> {
        let refuse = |reason| {
            Err(InvalidDestination {
                text: shown(text),
                reason,
            })
        };
        if text.len() > DESTINATION_BYTES_MAX {
            return refuse("at most 255 octets");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return refuse("no control characters and no backslash");
        }
        let Some(path) = text.strip_prefix('/') else {
            return refuse("it begins with /app, /topic, /queue or /user");
        };
        let Some((prefix, rest)) = path.split_once('/') else {
            return refuse("a prefix and a name, such as /topic/news");
        };
        if rest
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return refuse("no empty segment and none of only dots");
        }
        match prefix {
            "app" => Ok(Self::App(rest.into())),
            "topic" => Ok(Self::Topic(text.into())),
            "queue" => Ok(Self::Queue(text.into())),
            "user" => Ok(UserQueue::ALL
                .into_iter()
                .find(|queue| queue.as_str() == text)
                .map_or_else(|| Self::User(rest.into()), Self::UserQueue)),
            _ => refuse("it begins with /app, /topic, /queue or /user"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) => write!(f, "/app/{name}"),
            Self::UserQueue(queue) => f.write_str(queue.as_str()),
            Self::User(rest) => write!(f, "/user/{rest}"),
            Self::Topic(text) | Self::Queue(text) | Self::ReplyQueue(text) => f.write_str(text),
            Self::TempQueue(name) => write!(f, "/temp-queue/{name}"),
        }
    }
}

impl Prefixes {
    /// Parses a destination as a client wrote it.
    ///
    /// # Errors
    /// As [`Destination::parse`], which takes the canonical prefixes only.
    pub fn parse(&self, text: &str) -> Result<Destination, InvalidDestination> {
        Destination::parse(text)
    }
}

/// What of a refused text is repeated to its writer.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_reads_back_as_it_was_written() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(Destination::parse(text), Ok(expected), "{text}");
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        };
        check("/app/chat.send", Destination::App("chat.send".into()));
        check("/topic/a/b.c", Destination::Topic("/topic/a/b.c".into()));
        check("/queue/jobs", Destination::Queue("/queue/jobs".into()));
        check(
            "/user/queue/messages",
            Destination::UserQueue(UserQueue::Messages),
        );
        check(
            "/user/queue/errors",
            Destination::UserQueue(UserQueue::Errors),
        );
        check(
            "/user/queue/replies",
            Destination::UserQueue(UserQueue::Replies),
        );
        check(
            "/user/bob/queue/messages",
            Destination::User("bob/queue/messages".into()),
        );
        check("/user/queue/other", Destination::User("queue/other".into()));
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        let long = format!("/topic/{}", "x".repeat(DESTINATION_BYTES_MAX));
        for text in [
            "",
            "/",
            "topic/x",
            "/topic",
            "/topic/",
            "/topic//x",
            "/topic/../x",
            "/topic/./x",
            "/exchange/x",
            "/TOPIC/x",
            "/topic/a\nb",
            "/topic/a\0b",
            "/topic/a\\b",
            &long,
        ] {
            assert!(Destination::parse(text).is_err(), "{text:?}");
        }
    }
}
