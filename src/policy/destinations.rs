//! Who may SEND and SUBSCRIBE where: the one place that decides it.
//!
//! Not here: what happens there (`app`, `broker`). Invariant: whatever belongs to somebody, or to
//! the service, is refused whatever the rule table says; a refusal says what to do instead.
//!
//! | destination | SEND | SUBSCRIBE |
//! |---|---|---|
//! | `/app/**` | yes | no |
//! | `/user/queue/{messages,errors,replies}` | no | yes, one's own |
//! | `/user/{name}/**` | by the rules, but for the queues of the service | no |
//! | `/user/**` otherwise | no | yes, one's own |
//! | reserved names (`names`) | no | no |
//! | `/queue/DLQ.**` | no | by the rules of the queue as well |
//! | `/topic/**`, `/queue/**` otherwise | by the rules | by the rules; wildcards under `/topic` |
//! | `/temp-queue/**` | no | by `reply-to` |
//! | `/reply-queue/**` | yes, whoever knows it | no |

pub use super::names::is_reserved;

use super::names;
use super::permission::{Action, permit};
use super::rules::{Rules, Verb};
use crate::model::{Code, Destination, Kind, Pattern, Problem, UserId, is_pattern};

/// Whether this kind of user may SEND there.
///
/// # Errors
/// The refusal, with words for its sender.
pub fn may_send(rules: &Rules, kind: Kind, destination: &Destination) -> Result<(), Problem> {
    match destination {
        // Whether the feature exists, and what it asks for, `app` knows.
        Destination::App(_) => Ok(()),
        Destination::UserQueue(_) => refuse(Code::Forbidden, NAME_THE_USER),
        Destination::User(rest) => {
            let (name, own) = rest.split_once('/').unwrap_or((rest, ""));
            if is_broker_word(name) || own.is_empty() {
                return refuse(Code::Forbidden, NAME_THE_USER);
            }
            check_spelling(rest)?;
            check_no_wildcard(rest)?;
            if names::is_user_queue_of_service(own) {
                return refuse(
                    Code::Forbidden,
                    "Only the service writes to this queue; write to a user with /app/chat.send, or \
                     to a queue of another name.",
                );
            }
            rules.check(Verb::Send, kind, &destination.to_string())
        }
        Destination::Topic(text) | Destination::Queue(text) => {
            check_spelling(text)?;
            check_no_wildcard(text)?;
            check_not_reserved(text)?;
            if names::holds_dead_letters(text) {
                return refuse(
                    Code::Forbidden,
                    "Dead letters are put here by the service; send to the queue itself.",
                );
            }
            rules.check(Verb::Send, kind, text)
        }
        Destination::TempQueue(_) => refuse(
            Code::Forbidden,
            "Others answer to the /reply-queue that they find in reply-to, nobody sends to /temp-queue.",
        ),
        Destination::ReplyQueue(_) => Ok(()),
    }
}

/// Whether this kind of user may SUBSCRIBE there.
///
/// # Errors
/// The refusal, with words for its subscriber.
pub fn may_subscribe(rules: &Rules, kind: Kind, destination: &Destination) -> Result<(), Problem> {
    match destination {
        Destination::App(_) => refuse(
            Code::UnknownDestination,
            "/app takes SEND only; subscribe to /user/queue/messages for what comes back.",
        ),
        Destination::UserQueue(_) => permit(kind, Action::SubscribeOwnQueue),
        Destination::User(rest) if is_somebodys(rest) => refuse(
            Code::Forbidden,
            "You may subscribe to what is your own only, without a name, as /user/queue/messages.",
        ),
        Destination::User(rest) => {
            check_spelling(rest)?;
            check_no_wildcard(rest)?;
            permit(kind, Action::SubscribeOwnQueue)
        }
        Destination::Topic(text) => {
            check_spelling(text)?;
            if !is_pattern(text) {
                return check_plain(rules, kind, text);
            }
            let pattern = Pattern::parse(text)
                .map_err(|error| Problem::new(Code::ValidationFailed, format!("Here {error}.")))?;
            rules.check_pattern(kind, &pattern)
        }
        Destination::Queue(text) => {
            check_spelling(text)?;
            check_no_wildcard(text)?;
            check_plain(rules, kind, text)
        }
        // The session asks for it when a SEND has it in `reply-to`; `app` sees that it did.
        Destination::TempQueue(_) => permit(kind, Action::SubscribeOwnQueue),
        Destination::ReplyQueue(_) => refuse(
            Code::Forbidden,
            "Answers to /reply-queue go to whoever named its /temp-queue in reply-to.",
        ),
    }
}

/// What a user writes after `/user/` to subscribe to his own: with or without his name.
#[must_use]
pub fn own<'a>(user: &UserId, rest: &'a str) -> &'a str {
    let named = rest.strip_prefix(user.as_str());
    let own = named.and_then(|rest| rest.strip_prefix('/'));
    own.unwrap_or(rest)
}

const NAME_THE_USER: &str = "Name the user, as /user/{name}/queue/news, where {name} is the \
                             user-name of his CONNECTED; write to him with /app/chat.send.";

/// A SUBSCRIBE to one topic or queue.
fn check_plain(rules: &Rules, kind: Kind, text: &str) -> Result<(), Problem> {
    check_not_reserved(text)?;
    // Who may not read a queue may not read what it could not deliver.
    if let Some(origin) = names::buried_from(text) {
        check_not_reserved(&origin)?;
        rules.check(Verb::Subscribe, kind, &origin)?;
    }
    rules.check(Verb::Subscribe, kind, text)
}

fn check_not_reserved(text: &str) -> Result<(), Problem> {
    if is_reserved(text) {
        return refuse(
            Code::Forbidden,
            "This name is reserved for the service; choose another one.",
        );
    }
    Ok(())
}

/// Refuses spellings that could pass for others.
fn check_spelling(text: &str) -> Result<(), Problem> {
    if names::has_encoded_separator(text) {
        return refuse(
            Code::ValidationFailed,
            "Of what separates, only a slash may be percent-encoded, as %2F: no dots, backslashes, \
             percent signs or control characters.",
        );
    }
    if names::has_foreign_wildcard(text) {
        return refuse(
            Code::ValidationFailed,
            "`>` is no wildcard here: `*` stands for one segment, `**` at the end for the rest.",
        );
    }
    Ok(())
}

fn check_no_wildcard(text: &str) -> Result<(), Problem> {
    if is_pattern(text) {
        return refuse(
            Code::ValidationFailed,
            "Wildcards are for SUBSCRIBE to topics only; name one destination.",
        );
    }
    Ok(())
}

/// `<name>/queue/...`, or the name of a user in the first place: not the subscriber's own.
fn is_somebodys(rest: &str) -> bool {
    let mut segments = rest.split('/');
    let (first, second) = (segments.next().unwrap_or_default(), segments.next());
    let is_named = !is_broker_word(first) && second.is_some_and(is_broker_word);
    is_named || first.starts_with("user_")
}

/// With these the destinations begin that Spring keeps for each user.
fn is_broker_word(segment: &str) -> bool {
    matches!(segment, "queue" | "topic")
}

fn refuse(code: Code, detail: &'static str) -> Result<(), Problem> {
    Err(Problem::new(code, detail))
}

#[cfg(test)]
mod tests;
