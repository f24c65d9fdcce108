//! Who may SEND and SUBSCRIBE where.
//!
//! Not here: what happens there (`app`, `broker`). Invariant: whatever belongs to somebody, or to
//! the service, is refused unless a rule of this file opens it; a refusal says what to do instead.
//!
//! | destination | SEND | SUBSCRIBE |
//! |---|---|---|
//! | `/app/**` | yes | no |
//! | `/user/queue/{messages,errors,replies}` | no | yes, one's own |
//! | `/user/**` otherwise | no | no |
//! | `/topic/{room.,stream.,announce,presence.,registry}*` | no | no |
//! | `/topic/**` otherwise | yes | yes, without wildcards |
//! | `/queue/**` | yes | yes |

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::permission::{Action, permit};
use crate::model::{Code, Destination, Kind, Problem};

/// Names under `/topic/` that the service itself speaks on: what they begin with. A name without
/// the dot (`announce`) is reserved with everything below it.
const RESERVED_TOPICS: [&str; 5] = ["room.", "stream.", "presence.", "announce", "registry"];

/// Segments that stand for others in one broker or another.
const WILDCARDS: [&str; 4] = ["*", "**", "#", ">"];

/// Whether this kind of user may SEND there.
///
/// # Errors
/// The refusal, with words for its sender.
pub fn may_send(kind: Kind, destination: &Destination) -> Result<(), Problem> {
    match destination {
        // Whether the feature exists, and what it asks for, `app` knows.
        Destination::App(_) => Ok(()),
        Destination::UserQueue(_) => refuse(
            Code::Forbidden,
            "Nobody sends to /user/queue; write to a user with /app/chat.send.",
        ),
        Destination::User(_) => refuse(
            Code::Forbidden,
            "Nobody sends to /user; write to a user with /app/chat.send.",
        ),
        Destination::Topic(text) => {
            open_topic(text)?;
            permit(kind, Action::SendTopic)
        }
        Destination::Queue(_) => permit(kind, Action::SendTopic),
        Destination::TempQueue(_) | Destination::ReplyQueue(_) => {
            refuse(Code::UnknownDestination, NO_QUEUES)
        }
    }
}

/// Whether this kind of user may SUBSCRIBE there.
///
/// # Errors
/// The refusal, with words for its subscriber.
pub fn may_subscribe(kind: Kind, destination: &Destination) -> Result<(), Problem> {
    match destination {
        Destination::App(_) => refuse(
            Code::UnknownDestination,
            "/app takes SEND only; subscribe to /user/queue/messages for what comes back.",
        ),
        Destination::UserQueue(_) => permit(kind, Action::SubscribeOwnQueue),
        Destination::User(rest) if is_own_queue(rest) => refuse(
            Code::UnknownDestination,
            "Your queues are /user/queue/messages, /user/queue/errors and /user/queue/replies.",
        ),
        Destination::User(_) => refuse(
            Code::Forbidden,
            "You may subscribe to your own queues only, as /user/queue/messages.",
        ),
        Destination::Topic(text) => {
            open_topic(text)?;
            if has_wildcard(text) {
                return refuse(
                    Code::ValidationFailed,
                    "Wildcards are not supported; subscribe to each destination by its name.",
                );
            }
            permit(kind, Action::SubscribeTopic)
        }
        Destination::Queue(_) => permit(kind, Action::SubscribeTopic),
        Destination::TempQueue(_) | Destination::ReplyQueue(_) => {
            refuse(Code::UnknownDestination, NO_QUEUES)
        }
    }
}

const NO_QUEUES: &str = "/temp-queue is named in reply-to of a SEND only.";

/// Refuses names that the service keeps for itself, and spellings that could pass for others.
fn open_topic(text: &str) -> Result<(), Problem> {
    if has_encoded_separator(text) {
        return refuse(
            Code::ValidationFailed,
            "No percent-encoded slashes, dots, backslashes, percent signs or control characters.",
        );
    }
    let name = text.strip_prefix("/topic/").unwrap_or(text);
    // Full-width letters and capitals look like the real names, so they are taken for them.
    let folded: Cow<'_, str> = if name.is_ascii() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.nfkc().flat_map(char::to_lowercase).collect())
    };
    let is_reserved = |reserved: &str| {
        let head = folded.as_bytes().get(..reserved.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(reserved.as_bytes()))
    };
    if RESERVED_TOPICS.iter().any(|reserved| is_reserved(reserved)) {
        return refuse(
            Code::Forbidden,
            "This name is reserved for the service; choose another one under /topic.",
        );
    }
    Ok(())
}

/// Whether a `%xx` in the text means a character that separates or ends something elsewhere.
fn has_encoded_separator(text: &str) -> bool {
    let hex = |b: u8| char::from(b).to_digit(16);
    text.as_bytes().windows(3).any(|window| {
        let [b'%', high, low] = *window else {
            return false;
        };
        let (Some(high), Some(low)) = (hex(high), hex(low)) else {
            return false;
        };
        let code = high * 16 + low;
        code < 0x20 || matches!(code, 0x25 | 0x2e | 0x2f | 0x5c | 0x7f)
    })
}

fn has_wildcard(text: &str) -> bool {
    text.split(['/', '.']).any(|part| WILDCARDS.contains(&part))
}

/// `queue/<name>`: of the session itself, but not one that there is.
fn is_own_queue(rest: &str) -> bool {
    rest.strip_prefix("queue/")
        .is_some_and(|name| !name.contains('/'))
}

fn refuse(code: Code, detail: &'static str) -> Result<(), Problem> {
    Err(Problem::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Option<Code> = None;
    const FORBIDDEN: Option<Code> = Some(Code::Forbidden);
    const UNKNOWN: Option<Code> = Some(Code::UnknownDestination);
    const INVALID: Option<Code> = Some(Code::ValidationFailed);

    fn check(text: &str, send: Option<Code>, subscribe: Option<Code>) {
        let destination = Destination::parse(text).unwrap();
        let code = |verdict: Result<(), Problem>| verdict.err().map(|problem| problem.code);
        for kind in [Kind::Anonymous, Kind::Member] {
            assert_eq!(code(may_send(kind, &destination)), send, "SEND {text}");
            assert_eq!(
                code(may_subscribe(kind, &destination)),
                subscribe,
                "SUBSCRIBE {text}"
            );
        }
    }

    #[test]
    fn every_destination_is_open_to_those_whom_it_concerns() {
        check("/app/chat.send", YES, UNKNOWN);
        check("/app/anything", YES, UNKNOWN);
        for queue in crate::model::UserQueue::ALL {
            check(queue.as_str(), FORBIDDEN, YES);
        }
        check("/user/queue/other", FORBIDDEN, UNKNOWN);
        check("/user/bob/queue/messages", FORBIDDEN, FORBIDDEN);
        check("/user/queue/messages/x", FORBIDDEN, FORBIDDEN);
        check("/user/queue%2fmessages", FORBIDDEN, FORBIDDEN);
        check("/user/bob", FORBIDDEN, FORBIDDEN);
        check("/topic/news", YES, YES);
        check("/topic/news.kr/today", YES, YES);
        check("/topic/뉴스", YES, YES);
        check("/topic/100%", YES, YES);
        check("/topic/100%zz", YES, YES);
        check("/topic/a%20b", YES, YES);
        check("/queue/jobs", YES, YES);
    }

    #[test]
    fn names_of_the_service_are_guarded_in_every_spelling() {
        for text in [
            "/topic/room.01j9",
            "/topic/stream.abc",
            "/topic/announce",
            "/topic/announce/x",
            "/topic/presence.user_1",
            "/topic/registry",
            "/topic/registry.x",
            "/topic/registry-broadcast",
            "/topic/Room.01j9",
            "/topic/ROOM.*",
            "/topic/ｒｏｏｍ.01j9",
            "/topic/room．01j9",
            "/topic/ANNOUNCE",
        ] {
            check(text, FORBIDDEN, FORBIDDEN);
        }
        for text in [
            "/topic/rooms",
            "/topic/room",
            "/topic/my.room.1",
            "/topic/streams",
        ] {
            check(text, YES, YES);
        }
    }

    #[test]
    fn wildcards_and_encoded_separators_are_refused() {
        for text in [
            "/topic/*",
            "/topic/**",
            "/topic/a/*",
            "/topic/a.*",
            "/topic/a.#",
            "/topic/#",
            "/topic/>",
            "/topic/a.>",
            "/topic/*/a",
            "/topic/**/a",
        ] {
            check(text, YES, INVALID);
        }
        check("/topic/c#", YES, YES);
        check("/topic/a*b", YES, YES);
        for text in [
            "/topic/room%2e1",
            "/topic/room%2E1",
            "/topic/a%2fb",
            "/topic/a%2Fb",
            "/topic/%2e%2e",
            "/topic/a%5cb",
            "/topic/a%00",
            "/topic/a%0d%0ab",
            "/topic/a%252fb",
            "/topic/a%7f",
        ] {
            check(text, INVALID, INVALID);
        }
    }
}
