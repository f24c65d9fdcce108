//! Names that the service keeps for itself, and spellings that could pass for others.
//!
//! Not here: who may use the rest (`rules`). Invariant: a name is judged as people see it: in any
//! capitals, and with letters that only look different (NFKC) taken for what they look like.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// What the names under `/topic/` on which the service itself speaks begin with. A name without the
/// dot (`announce`) is reserved with everything that begins so.
const TOPICS: [&str; 5] = ["room.", "stream.", "presence.", "announce", "registry"];

/// The queues under `/user/queue/` into which only the service writes.
const USER_QUEUES: [&str; 6] = [
    "messages",
    "errors",
    "replies",
    "notifications",
    "presence",
    "calls",
];

/// Dead letters of a queue stand in the queue with this before its name.
const DEAD_LETTERS: &str = "DLQ.";

/// So Spring names the queue of one session, `<name>-user<session>`, and shorter endings are words.
const SPRING_USER: &[u8] = b"-user";
const SPRING_SESSION_MIN: usize = 8;

/// Whether a destination is kept by the service, whatever the rules say: nobody names it in a SEND
/// or a SUBSCRIBE, and a subscription with wildcards does not receive it. The text is that of
/// `Destination::Topic` or `Destination::Queue`.
#[must_use]
pub fn is_reserved(destination: &str) -> bool {
    if let Some(name) = destination.strip_prefix("/topic/") {
        let folded = fold(name);
        return TOPICS.iter().any(|one| begins(&folded, one)) || is_of_spring_session(name);
    }
    match destination.strip_prefix("/queue/") {
        Some(name) => is_of_spring_session(name),
        None => true,
    }
}

/// Whether only the service writes there: `queue/messages` and the like, of whatever user.
pub(super) fn is_user_queue_of_service(rest: &str) -> bool {
    let folded = fold(rest).replace("%2f", "/").replace("%2F", "/");
    USER_QUEUES.iter().any(|queue| {
        let name = begins(&folded, "queue/").then(|| &folded["queue/".len()..]);
        let below = name.filter(|name| begins(name, queue));
        below.is_some_and(|name| matches!(name.as_bytes().get(queue.len()), None | Some(b'/')))
    })
}

/// Whether a queue holds dead letters, in any spelling.
pub(super) fn holds_dead_letters(queue: &str) -> bool {
    let name = queue.strip_prefix("/queue/");
    name.is_some_and(|name| begins(&fold(name), DEAD_LETTERS))
}

/// The queue whose dead letters this one holds, if it does.
pub(super) fn buried_from(queue: &str) -> Option<String> {
    let mut name = queue.strip_prefix("/queue/")?.strip_prefix(DEAD_LETTERS)?;
    while let Some(deeper) = name.strip_prefix(DEAD_LETTERS) {
        name = deeper;
    }
    Some(format!("/queue/{name}"))
}

/// Whether a `%xx` in the text means a character that separates or ends something elsewhere. `%2F`
/// does not: it is how a slash in a name is written, and nothing here decodes it.
pub(super) fn has_encoded_separator(text: &str) -> bool {
    let hex = |b: u8| char::from(b).to_digit(16);
    text.as_bytes().windows(3).any(|window| {
        let [b'%', high, low] = *window else {
            return false;
        };
        let (Some(high), Some(low)) = (hex(high), hex(low)) else {
            return false;
        };
        let code = high * 16 + low;
        code < 0x20 || matches!(code, 0x25 | 0x2e | 0x5c | 0x7f)
    })
}

/// Whether a segment is `>`, by which other brokers mean the rest.
pub(super) fn has_foreign_wildcard(text: &str) -> bool {
    text.split(['/', '.']).any(|segment| segment == ">")
}

fn is_of_spring_session(name: &str) -> bool {
    let folded = fold(name);
    let mut windows = folded.as_bytes().windows(SPRING_USER.len());
    let Some(at) = windows.rposition(|one| one.eq_ignore_ascii_case(SPRING_USER)) else {
        return false;
    };
    let session = &folded[at + SPRING_USER.len()..];
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    session.len() >= SPRING_SESSION_MIN
        && session.bytes().all(is_part)
        && session.bytes().any(|octet| octet.is_ascii_digit())
}

/// The name as it looks: ASCII stays, so that the usual name costs nothing.
fn fold(name: &str) -> Cow<'_, str> {
    match name.is_ascii() {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.nfkc().flat_map(char::to_lowercase).collect()),
    }
}

fn begins(name: &str, with: &str) -> bool {
    let head = name.as_bytes().get(..with.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_service_are_known_in_every_spelling() {
        for text in [
            "/topic/room.01j9",
            "/topic/stream.abc",
            "/topic/announce",
            "/topic/announce/x",
            "/topic/announce%2Fx",
            "/topic/presence.user_1",
            "/topic/registry",
            "/topic/registry.x",
            "/topic/registry-broadcast",
            "/topic/Room.01j9",
            "/topic/ROOM.*",
            "/topic/ｒｏｏｍ.01j9",
            "/topic/room．01j9",
            "/topic/ANNOUNCE",
            "/queue/errors-user4f2a91bc",
            "/queue/errors-userabcde123",
            "/queue/errors-user0a1b2c3d-4e5f-6789",
            "/topic/x-USER4f2a91bc",
            "/topic/x－ｕｓｅｒ4f2a91bc",
            "/reply-queue/0123",
            "/user/bob/queue/x",
        ] {
            assert!(is_reserved(text), "{text}");
        }
        for text in [
            "/topic/rooms",
            "/topic/room",
            "/topic/my.room.1",
            "/topic/streams",
            "/topic/online-users",
            "/topic/notify-user42",
            "/topic/two-usernames",
            "/queue/room.1",
            "/queue/announce",
            "/queue/DLQ.jobs",
        ] {
            assert!(!is_reserved(text), "{text}");
        }
    }

    #[test]
    fn only_the_service_writes_into_its_own_queues() {
        let check = |rest: &str, expected: bool| {
            assert_eq!(is_user_queue_of_service(rest), expected, "{rest}");
        };
        for queue in USER_QUEUES {
            check(&format!("queue/{queue}"), true);
            check(&format!("queue/{queue}/x"), true);
            check(&format!("queue%2F{queue}"), true);
            check(&format!("QUEUE/{}", queue.to_uppercase()), true);
            check(&format!("queue/{queue}2"), false);
            check(&format!("topic/{queue}"), false);
        }
        check("queue/ｍessages", true);
        check("queue", false);
        check("queue/", false);
        check("queue/é", false);
    }

    #[test]
    fn dead_letters_are_known_with_the_queue_that_they_come_from() {
        let check = |queue: &str, holds: bool, from: Option<&str>| {
            assert_eq!(holds_dead_letters(queue), holds, "{queue}");
            assert_eq!(buried_from(queue).as_deref(), from, "{queue}");
        };
        check("/queue/DLQ.a/b", true, Some("/queue/a/b"));
        check("/queue/DLQ.DLQ.a", true, Some("/queue/a"));
        check("/queue/dlq.a", true, None);
        check("/queue/ＤＬＱ.a", true, None);
        check("/queue/DLQ", false, None);
        check("/queue/a.DLQ.b", false, None);
        check("/topic/DLQ.a", false, None);
    }
}
