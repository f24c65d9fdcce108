//! What an ACK or a NACK says, in each version.
//!
//! Not here: which messages wait for it (`hub::window`). Invariant: what is passed on names a
//! message in the way of the session's version.

use super::contract::Delivered;
use super::fatal::{Fatal, Violation};
use crate::model::Verdict;
use crate::stomp::{Command, Headers, Version};

/// What the `message-id` of a MESSAGE begins with that the session wrote itself.
const OWN: &str = "own-";

/// Reads an ACK or a NACK that has the headers which it needs.
pub(super) fn read(
    command: Command,
    headers: &Headers,
    version: Version,
) -> Result<(Verdict, Delivered), Fatal> {
    let verdict = match (command, headers.get("requeue")) {
        (Command::Nack, None | Some("true")) => Verdict::Requeue,
        (Command::Nack, Some("false")) => Verdict::Reject,
        (Command::Nack, Some(_)) => return Err(Fatal::of(Violation::BadRequeue)),
        _ => Verdict::Ack,
    };
    let text = |name: &str| headers.get(name).map(Box::from);
    let of = match version {
        Version::V1_2 => Delivered::Ack(text("id").unwrap_or_default()),
        Version::V1_0 | Version::V1_1 => Delivered::Message {
            message_id: text("message-id").unwrap_or_default(),
            subscription: text("subscription"),
        },
    };
    Ok((verdict, of))
}

/// The `message-id` of the MESSAGE with this number that the session writes itself.
pub(super) fn own_message_id(number: u64) -> String {
    format!("{OWN}{number}")
}

/// Whether this is one of the first `told` messages that the session wrote itself. They are
/// acknowledged by being written, so that a client which acknowledges everything does no harm.
pub(super) fn is_own(of: &Delivered, told: u64) -> bool {
    match of {
        Delivered::Ack(_) => false,
        Delivered::Message { message_id, .. } => message_id
            .strip_prefix(OWN)
            .and_then(|number| number.parse().ok())
            .is_some_and(|number: u64| (1..=told).contains(&number)),
    }
}

/// The octets that are kept of it.
pub(super) fn bytes(of: &Delivered) -> usize {
    match of {
        Delivered::Ack(id) => id.len(),
        Delivered::Message {
            message_id,
            subscription,
        } => message_id.len() + subscription.as_ref().map_or(0, |id| id.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::Frame;

    #[test]
    fn each_version_names_a_message_in_its_own_way() {
        let frame = Frame::new(Command::Ack)
            .header("id", "1.7")
            .header("message-id", "m")
            .header("subscription", "s");
        let check = |version, expected: Delivered| {
            let found = read(Command::Ack, &frame.headers, version);
            assert_eq!(found, Ok((Verdict::Ack, expected)), "{version}");
        };
        let old = Delivered::Message {
            message_id: "m".into(),
            subscription: Some("s".into()),
        };
        check(Version::V1_0, old.clone());
        check(Version::V1_1, old);
        check(Version::V1_2, Delivered::Ack("1.7".into()));
    }

    #[test]
    fn a_nack_gives_back_unless_it_says_otherwise() {
        let check = |requeue: Option<&str>, expected: Option<Verdict>| {
            let mut frame = Frame::new(Command::Nack).header("id", "1.7");
            if let Some(value) = requeue {
                frame = frame.header("requeue", value);
            }
            let found = read(Command::Nack, &frame.headers, Version::V1_2).ok();
            assert_eq!(found.map(|(verdict, _)| verdict), expected, "{requeue:?}");
        };
        check(None, Some(Verdict::Requeue));
        check(Some("true"), Some(Verdict::Requeue));
        check(Some("false"), Some(Verdict::Reject));
        check(Some("no"), None);
        check(Some(""), None);
        let ack = Frame::new(Command::Ack)
            .header("id", "1.7")
            .header("requeue", "false");
        let found = read(Command::Ack, &ack.headers, Version::V1_2);
        assert!(
            matches!(found, Ok((Verdict::Ack, _))),
            "ACK has no such header"
        );
    }

    #[test]
    fn what_the_session_wrote_is_its_own() {
        let of = |id: &str| Delivered::Message {
            message_id: id.into(),
            subscription: None,
        };
        let first = own_message_id(1);
        assert!(is_own(&of(&first), 1));
        assert!(!is_own(&of(&first), 0));
        assert!(!is_own(&of("own-2"), 1));
        assert!(!is_own(&of("own-x"), 9));
        assert!(!is_own(&of("1.1"), 9));
        assert!(!is_own(&Delivered::Ack("own-1".into()), 9));
    }
}
