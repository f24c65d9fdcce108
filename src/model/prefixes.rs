//! The prefixes under which clients name destinations, and how what they wrote relates to what is
//! kept.
//!
//! Front ends bring their habits (`/pub` and `/sub` of the Spring tutorials), so each family of
//! destinations has several names. Not here: the parts after the prefix (`destination`). Invariant:
//! of two prefixes that fit, the longer one counts.

use super::destination::{Destination, InvalidDestination};
use super::pattern::is_pattern;

/// What a destination is, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    App,
    Topic,
    Queue,
    User,
    TempQueue,
    ReplyQueue,
    /// RabbitMQ's, which there is no more than a word about.
    Exchange,
    /// RabbitMQ's too.
    AmqQueue,
}

impl Family {
    const ALL: [Self; 8] = [
        Self::App,
        Self::Topic,
        Self::Queue,
        Self::User,
        Self::TempQueue,
        Self::ReplyQueue,
        Self::Exchange,
        Self::AmqQueue,
    ];

    /// Those whose prefix is no setting.
    const FIXED: [Self; 4] = [
        Self::TempQueue,
        Self::ReplyQueue,
        Self::Exchange,
        Self::AmqQueue,
    ];

    /// The prefix under which it is kept.
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::App => "/app",
            Self::Topic => "/topic",
            Self::Queue => "/queue",
            Self::User => "/user",
            Self::TempQueue => "/temp-queue",
            Self::ReplyQueue => "/reply-queue",
            Self::Exchange => "/exchange",
            Self::AmqQueue => "/amq/queue",
        }
    }

    /// Its name in an ERROR frame.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AmqQueue => "queue",
            Self::App
            | Self::Topic
            | Self::Queue
            | Self::User
            | Self::TempQueue
            | Self::ReplyQueue
            | Self::Exchange => &self.root()[1..],
        }
    }

    /// What is said of a family that is not served.
    pub(super) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Exchange => Some(
                "There are no exchanges: /topic/<name> goes to every subscriber, /queue/<name> to \
                 one of them.",
            ),
            Self::AmqQueue => {
                Some("Queues have one name here: write /queue/<name>, which needs no declaration.")
            }
            Self::App
            | Self::Topic
            | Self::Queue
            | Self::User
            | Self::TempQueue
            | Self::ReplyQueue => None,
        }
    }

    /// The family of a text that is written as it is kept, and what follows the prefix.
    pub(super) fn canonical(text: &str) -> Option<(Self, &str)> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|family| Some((family, after(text, family.root())?)))
    }
}

/// The prefixes under which clients name destinations. A [`Destination`] is kept under `/app`,
/// `/topic`, `/queue` and `/user`, whatever stands here.
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

/// How what a client wrote relates to the destination that it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling<'a> {
    /// It is what is kept.
    Canonical,
    /// It is another spelling of one destination.
    Other,
    /// It is a pattern under another prefix, this one, so that a message has to be shown with this
    /// prefix in the place of its first segment.
    Under(&'a str),
}

/// Two prefixes that cannot both be told apart from each other's names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{one} and {other} cannot be told apart: no prefix may begin with another one")]
pub struct Overlap {
    /// The family of the first: `app`, `topic`, `queue` or `user`.
    pub family: &'static str,
    /// A prefix.
    pub one: Box<str>,
    /// Another one, or one that has a meaning of its own.
    pub other: Box<str>,
}

impl Prefixes {
    /// Parses a destination as a client wrote it.
    ///
    /// # Errors
    /// As [`Destination::parse`], which takes the prefixes under which destinations are kept.
    pub fn parse(&self, text: &str) -> Result<Destination, InvalidDestination> {
        Destination::under(text, self.find(text), self.queue_fans_out)
    }

    /// Parses a destination that is written as it is kept, as in the settings and in what the
    /// service says itself.
    ///
    /// # Errors
    /// As [`Destination::parse`].
    pub fn parse_kept(&self, text: &str) -> Result<Destination, InvalidDestination> {
        Destination::under(text, Family::canonical(text), self.queue_fans_out)
    }

    /// How `written`, which was parsed to this destination, relates to it.
    #[must_use]
    pub fn spelling<'a>(&self, written: &'a str, destination: &Destination) -> Spelling<'a> {
        let is_same = match destination {
            Destination::Topic(text) | Destination::Queue(text) | Destination::ReplyQueue(text) => {
                **text == *written
            }
            Destination::UserQueue(queue) => queue.as_str() == written,
            Destination::App(_) | Destination::User(_) | Destination::TempQueue(_) => {
                destination.to_string() == written
            }
        };
        match (is_same, destination, self.find(written)) {
            (true, ..) => Spelling::Canonical,
            (false, Destination::Topic(text), Some((family, rest))) if is_pattern(text) => {
                let prefix = &written[..written.len() - rest.len()];
                match prefix == family.root() {
                    true => Spelling::Canonical,
                    false => Spelling::Under(prefix),
                }
            }
            (false, ..) => Spelling::Other,
        }
    }

    /// The first prefix that is hidden by another one, hides one, or says what another family is
    /// called.
    ///
    /// # Errors
    /// Those two.
    pub fn check(&self) -> Result<(), Overlap> {
        let all: Vec<_> = self.configured().collect();
        for (place, (family, one)) in all.iter().enumerate() {
            let refuse = |other: &str| {
                Err(Overlap {
                    family: family.word(),
                    one: (*one).into(),
                    other: other.into(),
                })
            };
            let mut others = all[..place].iter().map(|(_, other)| *other);
            if let Some(other) = others.find(|other| overlap(one, other)) {
                return refuse(other);
            }
            // Nobody should have to know that `/queue` means a topic here.
            let mut words = Family::ALL.into_iter().filter(|word| {
                word != family && !matches!(word, Family::Exchange | Family::AmqQueue)
            });
            if let Some(word) = words.find(|word| overlap(one, word.root())) {
                return refuse(word.root());
            }
        }
        Ok(())
    }

    /// The family of a text by the longest prefix that fits, and what follows the prefix.
    fn find<'a>(&self, text: &'a str) -> Option<(Family, &'a str)> {
        let fixed = Family::FIXED.into_iter().map(|one| (one, one.root()));
        let all = self.configured().chain(fixed);
        let fitting = all.filter_map(|(family, prefix)| Some((family, after(text, prefix)?)));
        fitting.min_by_key(|(_, rest)| rest.len())
    }

    fn configured(&self) -> impl Iterator<Item = (Family, &str)> {
        [
            (Family::App, &self.app),
            (Family::Topic, &self.topic),
            (Family::Queue, &self.queue),
            (Family::User, &self.user),
        ]
        .into_iter()
        .flat_map(|(family, list)| list.iter().map(move |prefix| (family, &**prefix)))
    }
}

/// What follows a prefix: nothing, or a slash and more.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn overlap(one: &str, other: &str) -> bool {
    after(one, other).is_some() || after(other, one).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::destination::UserQueue;
    use super::*;
    use proptest::prelude::*;

    fn prefixes(topic: &[&str], queue: &[&str]) -> Prefixes {
        let list = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
        Prefixes {
            topic: list(topic),
            queue: list(queue),
            ..Prefixes::default()
        }
    }

    #[test]
    fn every_prefix_of_a_family_names_the_same_destinations() {
        let check = |prefixes: &Prefixes, text: &str, expected: Option<&str>| {
            let found = prefixes.parse(text).ok().map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        let usual = Prefixes::default();
        check(&usual, "/sub/chat/room/1", Some("/topic/chat/room/1"));
        check(&usual, "/topic/chat/room/1", Some("/topic/chat/room/1"));
        check(&usual, "/pub/chat.send", Some("/app/chat.send"));
        check(&usual, "/sub/a%2fb", Some("/topic/a%2Fb"));
        check(&usual, "/subs/a", None);
        check(&usual, "/sub", None);
        check(&usual, "/sub//a", None);
        check(&usual, &format!("/sub/{}", "x".repeat(250)), None);
        let deep = prefixes(&["/a/b", "/a"], &["/amq/queue", "/a/b/c"]);
        check(&deep, "/a/x", Some("/topic/x"));
        check(&deep, "/a/b/x", Some("/topic/x"));
        check(&deep, "/a/b/c/x", Some("/queue/x"));
        check(&deep, "/a/b/cx", Some("/topic/cx"));
        check(&deep, "/amq/queue/x", Some("/queue/x"));
        // What is no prefix any more is unknown.
        check(&deep, "/topic/x", None);
        check(&deep, "/queue/x", None);
    }

    #[test]
    fn a_queue_that_fans_out_is_a_topic_under_its_own_name() {
        let fan_out = Prefixes {
            queue_fans_out: true,
            ..Prefixes::default()
        };
        let found = fan_out.parse("/queue/x");
        assert_eq!(found, Ok(Destination::Topic("/queue/x".into())));
        assert_eq!(fan_out.parse_kept("/queue/x"), found);
        assert!(fan_out.parse_kept("/sub/x").is_err());
    }

    #[test]
    fn what_was_written_is_told_apart_from_what_is_kept() {
        let prefixes = Prefixes::default();
        let check = |written: &str, expected: Spelling<'_>| {
            let destination = prefixes.parse(written).unwrap();
            let found = prefixes.spelling(written, &destination);
            assert_eq!(found, expected, "{written}");
        };
        check("/topic/a", Spelling::Canonical);
        check("/sub/a", Spelling::Other);
        check("/topic/a%2fb", Spelling::Other);
        check("/topic/a.*", Spelling::Canonical);
        check("/topic/a%2fb/*", Spelling::Canonical);
        check("/sub/a.*", Spelling::Under("/sub"));
        check("/sub/**", Spelling::Under("/sub"));
        check("/queue/a", Spelling::Canonical);
        check(UserQueue::Messages.as_str(), Spelling::Canonical);
        check("/user/queue/x", Spelling::Canonical);
        check("/temp-queue/x", Spelling::Canonical);
    }

    #[test]
    fn prefixes_that_cannot_be_told_apart_are_found() {
        let check = |topic: &[&str], queue: &[&str], expected: Option<(&str, &str, &str)>| {
            let found = prefixes(topic, queue).check().err();
            let found = found
                .as_ref()
                .map(|no| (no.family, no.one.as_ref(), no.other.as_ref()));
            assert_eq!(found, expected, "{topic:?} {queue:?}");
        };
        check(&["/topic", "/sub"], &["/queue"], None);
        check(&["/a/b", "/a/c"], &["/ab"], None);
        check(&["/exchange/amq.topic"], &["/amq/queue"], None);
        check(&["/a", "/a/b"], &["/queue"], Some(("topic", "/a/b", "/a")));
        check(&["/a", "/a"], &["/queue"], Some(("topic", "/a", "/a")));
        check(&["/x"], &["/x"], Some(("queue", "/x", "/x")));
        check(&["/app/t"], &["/queue"], Some(("topic", "/app/t", "/app")));
        check(&["/queue"], &["/jobs"], Some(("topic", "/queue", "/queue")));
        let reply = "/reply-queue";
        check(&[reply], &["/queue"], Some(("topic", reply, reply)));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_what_is_kept_parses_to_itself(
            text in prop_oneof![
                any::<String>(),
                "(/(app|pub|topic|sub|queue|user|temp-queue|amq|exchange|a|b|[*#.]|%2[fF]|%2e|é|>)){0,6}/?",
            ],
            queue_fans_out: bool,
        ) {
            let prefixes = Prefixes { queue_fans_out, ..Prefixes::default() };
            if let Ok(destination) = prefixes.parse(&text) {
                let shown = destination.to_string();
                prop_assert_eq!(prefixes.parse(&shown), Ok(destination.clone()));
                let _never_panics = prefixes.spelling(&text, &destination);
                prop_assert!(shown.len() <= super::super::destination::DESTINATION_BYTES_MAX);
            }
        }
    }
}
