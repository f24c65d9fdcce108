//! Destinations of SEND and SUBSCRIBE, parsed.
//!
//! Not here: under which prefixes clients write them (`prefixes`), who may use them (`policy`), what
//! happens there (`app`, `broker`). Invariant: destinations are kept under `/app`, `/topic`,
//! `/queue` and `/user` whatever a client wrote, so that a name means the same in rules, on other
//! nodes and in Redis; what is shown of a value parses to the same value.

use std::fmt;
use std::sync::Arc;

use super::prefixes::Family;

/// The longest destination that is looked at, in octets. RabbitMQ's limit for a name is the same.
pub const DESTINATION_BYTES_MAX: usize = 255;

/// How much of a refused text is repeated to its writer, in characters.
const SHOWN_MAX: usize = 64;

/// The digits of the token of a reply queue: 128 random bits in hexadecimal.
const TOKEN_DIGITS: usize = 32;

/// The queues of the user himself that a session may subscribe to, as `/user/queue/<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserQueue {
    /// Direct messages and echoes.
    Messages,
    /// Problems with what this session sent; this session only.
    Errors,
    /// Answers to what this session sent with a `correlation-id`; this session only.
    Replies,
    /// What the service has to say of the session itself: a token that ends, an upgrade, a
    /// subscription that was taken away; this session only.
    Notifications,
}

impl UserQueue {
    /// Every queue there is, for tables and documentation.
    pub const ALL: [Self; 4] = [
        Self::Messages,
        Self::Errors,
        Self::Replies,
        Self::Notifications,
    ];

    /// The whole destination, as the client writes it and finds it in MESSAGE.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "/user/queue/messages",
            Self::Errors => "/user/queue/errors",
            Self::Replies => "/user/queue/replies",
            Self::Notifications => "/user/queue/notifications",
        }
    }
}

/// A destination as a client wrote it. Its `Debug` does not show the token of a reply queue, which
/// is all that keeps others from it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// `/app/<name>`: a feature of the service, SEND only. The name without the prefix.
    App(Arc<str>),
    /// `/user/queue/<name>`: a queue of the service for the user himself, SUBSCRIBE only.
    UserQueue(UserQueue),
    /// `/user/<rest>`: on SUBSCRIBE one's own, on SEND `<name>/<rest>` of the user with this name.
    /// Without the prefix.
    User(Arc<str>),
    /// `/topic/<name>`: fan-out, and `/queue/<name>` where queues fan out. The whole text.
    Topic(Arc<str>),
    /// `/queue/<name>`: competing consumers. The whole text.
    Queue(Arc<str>),
    /// `/temp-queue/<name>`: a session's own place for answers, which exists by the `reply-to` of its
    /// SENDs only. The name.
    TempQueue(Arc<str>),
    /// `/reply-queue/<token>`: what a receiver sees in `reply-to`, SEND only. The whole text.
    ReplyQueue(Arc<str>),
}

/// A text is no destination; what to write instead is in the words, which are those of RabbitMQ as
/// far as it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDestination {
    /// What was written, cut to a length that can be shown.
    pub text: String,
    /// The type of destination that it would be, such as `queue`; none for a prefix that is unknown.
    pub family: Option<&'static str>,
    /// Why it is refused and what is allowed.
    pub reason: &'static str,
}

impl fmt::Display for InvalidDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, reason) = (&self.text, self.reason);
        match self.family {
            Some(family) => write!(f, "'{text}' is not a valid {family} destination\n{reason}"),
            None => write!(f, "'{text}' is not a valid destination\n{reason}"),
        }
    }
}

impl std::error::Error for InvalidDestination {}

impl Destination {
    /// Parses a destination as it is kept: under `/app`, `/topic`, `/queue`, `/user`, `/temp-queue`
    /// or `/reply-queue`.
    ///
    /// # Errors
    /// When it is too long, has a control character, a backslash, an empty or dotted segment, or an
    /// unknown prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidDestination> {
        Self::under(text, Family::canonical(text), false)
    }

    /// Reads a text whose prefix was found: the family and what follows the prefix.
    pub(super) fn under(
        text: &str,
        found: Option<(Family, &str)>,
        queue_fans_out: bool,
    ) -> Result<Self, InvalidDestination> {
        let refuse = |reason| {
            Err(InvalidDestination {
                text: shown(text),
                family: found.map(|(family, _)| family.word()),
                reason,
            })
        };
        if text.len() > DESTINATION_BYTES_MAX {
            return refuse("A destination has at most 255 octets.");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return refuse("A destination has no control characters and no backslash.");
        }
        let Some((family, rest)) = found else {
            return refuse(
                "Valid destination types are: /app, /topic, /queue, /user, or /temp-queue in reply-to.",
            );
        };
        if let Some(words) = family.refusal() {
            return refuse(words);
        }
        let Some(rest) = rest.strip_prefix('/') else {
            return refuse("A name follows, as in /topic/news.");
        };
        if rest.split('/').any(|one| matches!(one, "" | "." | "..")) {
            return refuse("No segment is empty, and none is only dots.");
        }
        let root = family.root();
        if root.len() + 1 + rest.len() > DESTINATION_BYTES_MAX {
            return refuse("A destination has at most 255 octets.");
        }
        let whole = || -> Arc<str> {
            match text.strip_prefix(root) {
                Some(same) if same.strip_prefix('/') == Some(rest) => upper(text),
                _ => upper(&format!("{root}/{rest}")),
            }
        };
        Ok(match family {
            Family::App => Self::App(rest.into()),
            Family::Queue if !queue_fans_out => Self::Queue(whole()),
            Family::Topic | Family::Queue => Self::Topic(whole()),
            Family::User => Self::of_user(rest),
            Family::TempQueue => Self::TempQueue(rest.into()),
            Family::ReplyQueue if is_token(rest) => Self::ReplyQueue(whole()),
            Family::ReplyQueue | Family::Exchange | Family::AmqQueue => {
                return refuse("It is copied from the header reply-to of a MESSAGE.");
            }
        })
    }

    fn of_user(rest: &str) -> Self {
        let is_it = |queue: &UserQueue| queue.as_str().strip_prefix("/user/") == Some(rest);
        match UserQueue::ALL.into_iter().find(is_it) {
            Some(queue) => Self::UserQueue(queue),
            None => Self::User(upper(rest)),
        }
    }
}

impl Destination {
    /// How many bytes of text are kept for it.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::UserQueue(_) => 0,
            Self::App(text)
            | Self::User(text)
            | Self::Topic(text)
            | Self::Queue(text)
            | Self::TempQueue(text)
            | Self::ReplyQueue(text) => text.len(),
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

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self {
            Self::App(_) => "App",
            Self::UserQueue(_) => "UserQueue",
            Self::User(_) => "User",
            Self::Topic(_) => "Topic",
            Self::Queue(_) => "Queue",
            Self::TempQueue(_) => "TempQueue",
            Self::ReplyQueue(_) => "ReplyQueue",
        };
        // Location keeps interest in a reply queue as that in a topic.
        let text = self.to_string();
        match Family::canonical(&text) {
            Some((Family::ReplyQueue, _)) => write!(f, "{family}(hidden)"),
            _ => write!(f, "{family}({text:?})"),
        }
    }
}

/// Whether a text is the token of a reply queue.
fn is_token(text: &str) -> bool {
    let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    text.len() == TOKEN_DIGITS && text.bytes().all(is_digit)
}

/// The text with every `%2f` written as `%2F`: a slash in a segment, as RabbitMQ has it.
fn upper(text: &str) -> Arc<str> {
    match text.contains("%2f") {
        true => text.replace("%2f", "%2F").into(),
        false => text.into(),
    }
}

/// What of a refused text is repeated to its writer.
fn shown(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "/reply-queue/0123456789abcdef0123456789abcdef";

    #[test]
    fn a_destination_reads_back_as_it_was_written() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(Destination::parse(text), Ok(expected), "{text}");
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        };
        check("/app/chat.send", Destination::App("chat.send".into()));
        check("/topic/a/b.c", Destination::Topic("/topic/a/b.c".into()));
        check("/topic/a%2Fb", Destination::Topic("/topic/a%2Fb".into()));
        check("/queue/jobs", Destination::Queue("/queue/jobs".into()));
        for queue in UserQueue::ALL {
            check(queue.as_str(), Destination::UserQueue(queue));
        }
        check(
            "/user/bob/queue/messages",
            Destination::User("bob/queue/messages".into()),
        );
        check("/user/queue/other", Destination::User("queue/other".into()));
        check(
            "/user/queue%2Fmessages",
            Destination::User("queue%2Fmessages".into()),
        );
        check("/temp-queue/a", Destination::TempQueue("a".into()));
        check(TOKEN, Destination::ReplyQueue(TOKEN.into()));
    }

    #[test]
    fn an_encoded_slash_is_written_in_one_way() {
        for (text, shown) in [
            ("/topic/a%2fb", "/topic/a%2Fb"),
            ("/queue/%2f%2F", "/queue/%2F%2F"),
            ("/user/bob/queue/a%2fb", "/user/bob/queue/a%2Fb"),
            ("/topic/a%252fb", "/topic/a%252fb"),
        ] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_in_the_words_of_rabbitmq() {
        let check = |text: &str, family: Option<&str>| {
            let error = Destination::parse(text).unwrap_err();
            assert_eq!(error.family, family, "{text:?}");
            let words = error.to_string();
            let expected = match family {
                Some(family) => format!("' is not a valid {family} destination\n"),
                None => "' is not a valid destination\n".to_owned(),
            };
            assert!(words.contains(&expected), "{text:?}: {words}");
        };
        let long = format!("/topic/{}", "x".repeat(DESTINATION_BYTES_MAX));
        for text in [
            "",
            "/",
            "//",
            "topic/x",
            "/TOPIC/x",
            "/topics/x",
            "/amq/x",
            "/*/x",
        ] {
            check(text, None);
        }
        for text in [
            "/topic",
            "/topic/",
            "/topic//x",
            "/topic/x/",
            "/topic/../x",
            "/topic/./x",
            "/topic/a\nb",
            "/topic/a\0b",
            "/topic/a\\b",
            &long,
        ] {
            check(text, Some("topic"));
        }
        check("/queue/", Some("queue"));
        check("/exchange/amq.topic/a", Some("exchange"));
        check("/exchange", Some("exchange"));
        check("/amq/queue/a", Some("queue"));
        check("/temp-queue", Some("temp-queue"));
        for token in ["", "/x", "/0123", &TOKEN[12..44].to_uppercase()] {
            check(&format!("/reply-queue{token}"), Some("reply-queue"));
        }
    }

    #[test]
    fn the_token_of_a_reply_queue_stays_out_of_logs() {
        let reply = Destination::parse(TOKEN).unwrap();
        let wanted = Destination::Topic(TOKEN.into());
        assert!(!format!("{reply:?} {wanted:?}").contains("0123"));
        let topic = Destination::parse("/topic/a").unwrap();
        assert_eq!(format!("{topic:?}"), "Topic(\"/topic/a\")");
    }
}
