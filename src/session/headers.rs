//! The headers of every command, as one table: in which versions, whether they must be there, what
//! they mean.
//!
//! Not here: what their values must be (the file of each command). Invariant: a frame that lacks a
//! header which the table requires does nothing; every header that the session reads is in it.

use super::fatal::Fatal;
use crate::stomp::{Command, Headers, Version};

/// Whether a header must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Of a client: without it the frame is refused. Of the server: it is always there.
    Required,
    /// It may be there.
    Optional,
}

/// A row of the table of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRow {
    /// The frame.
    pub command: Command,
    /// The name.
    pub header: &'static str,
    /// In which versions it counts.
    pub versions: &'static [Version],
    /// Whether it must be there.
    pub need: Need,
    /// What it says.
    pub meaning: &'static str,
}

const ALL: &[Version] = &Version::ALL;
const OLD: &[Version] = &[Version::V1_0];
const MID: &[Version] = &[Version::V1_1];
const NEW: &[Version] = &[Version::V1_2];
const FROM_1_1: &[Version] = &[Version::V1_1, Version::V1_2];
const UNTIL_1_1: &[Version] = &[Version::V1_0, Version::V1_1];

macro_rules! headers {
    ($($command:ident { $($header:literal $versions:ident $need:ident $meaning:literal)* })*) => {
        /// The rows of one command.
        fn of(command: Command) -> &'static [HeaderRow] {
            match command {$(
                Command::$command => const { &[$(HeaderRow {
                    command: Command::$command,
                    header: $header,
                    versions: $versions,
                    need: Need::$need,
                    meaning: $meaning,
                }),*] },
            )*}
        }
    };
}

// Nothing is escaped in CONNECT, STOMP and CONNECTED. STOMP has the headers of CONNECT.
headers! {
    Connect {
        "accept-version" ALL Optional "the versions that the client speaks; missing: that of the subprotocol, else 1.0"
        "host" ALL Optional "the virtual host; any is accepted, also none"
        "login" ALL Optional "a name"
        "passcode" ALL Optional "a password or a token"
        "heart-beat" FROM_1_1 Optional "how often the client beats, and wants beats, in ms; missing: 0,0"
        "authorization" ALL Optional "credentials as in HTTP"
        "visitor-token" ALL Optional "the visitor's secret, or new"
        "device-id" ALL Optional "the client's name for its device"
        "device-name" ALL Optional "what people call it"
        "accept-language" ALL Optional "the languages of the user"
        "x-soft-errors" ALL Optional "true: a refused SUBSCRIBE, ACK or NACK is told on /user/queue/errors, and the session goes on"
    }
    Stomp {}
    Send {
        "destination" ALL Required "where to"
        "receipt" ALL Optional "asks for a RECEIPT once it has had its effect, or was taken into its transaction"
        "transaction" ALL Optional "the transaction that it belongs to"
        "content-length" ALL Optional "the octets of the body"
        "content-type" ALL Optional "what the body is; travels on"
        "correlation-id" ALL Optional "asks for a REPLY on /user/queue/replies; travels on"
        "reply-to" ALL Optional "where answers go; /temp-queue/<name> makes a place for them, as a subscription with that id"
        "x-message-ttl" ALL Optional "of a queue: how long a message is kept, in ms"
        "x-expires" ALL Optional "of a queue: how long it is kept without use, in ms"
        "x-max-length" ALL Optional "of a queue: how many messages it keeps"
    }
    Subscribe {
        "destination" ALL Required "where from; may have wildcards"
        "id" OLD Optional "names the subscription; missing: its destination does"
        "id" FROM_1_1 Required "names the subscription"
        "ack" ALL Optional "auto (as when missing), client or client-individual"
        "prefetch-count" ALL Optional "how many messages may be unacknowledged, at most PREFETCH_MAX"
        "x-message-ttl" ALL Optional "of a queue: how long a message is kept, in ms"
        "x-expires" ALL Optional "of a queue: how long it is kept without use, in ms"
        "x-max-length" ALL Optional "of a queue: how many messages it keeps"
        "selector" ALL Optional "refused"
        "browser" ALL Optional "true is refused"
        "durable" ALL Optional "true is refused but for a queue, which is kept anyway"
        "durable-subscription-name" ALL Optional "as durable:true"
        "durable-subscriber-name" ALL Optional "as durable:true"
        "activemq.subscriptionName" ALL Optional "as durable:true"
        "receipt" ALL Optional "asks for a RECEIPT once nothing sent afterwards can be missed"
    }
    Unsubscribe {
        "id" OLD Optional "the subscription"
        "id" FROM_1_1 Required "the subscription"
        "destination" OLD Optional "the subscription, where there is no id"
        "receipt" ALL Optional "asks for a RECEIPT, after which no MESSAGE of it follows"
    }
    Ack {
        "id" NEW Required "the header ack of the MESSAGE"
        "message-id" UNTIL_1_1 Required "that of the MESSAGE"
        "subscription" MID Required "that of the MESSAGE"
        "subscription" OLD Optional "that of the MESSAGE"
        "transaction" ALL Optional "the transaction that it belongs to"
        "receipt" ALL Optional "asks for a RECEIPT"
    }
    Nack {
        "id" NEW Required "the header ack of the MESSAGE"
        "message-id" MID Required "that of the MESSAGE"
        "subscription" MID Required "that of the MESSAGE"
        "requeue" FROM_1_1 Optional "false: nobody shall have it again; missing: true"
        "transaction" FROM_1_1 Optional "the transaction that it belongs to"
        "receipt" FROM_1_1 Optional "asks for a RECEIPT"
    }
    Begin {
        "transaction" ALL Required "names the transaction; not one that is open"
        "receipt" ALL Optional "asks for a RECEIPT"
    }
    Commit {
        "transaction" ALL Required "the transaction"
        "receipt" ALL Optional "asks for a RECEIPT once every step has had its effect"
    }
    Abort {
        "transaction" ALL Required "the transaction"
        "receipt" ALL Optional "asks for a RECEIPT"
    }
    Disconnect {
        "receipt" ALL Optional "asks for a RECEIPT once everything asked before is settled"
    }
    Connected {
        "version" ALL Required "the highest version that both speak"
        "session" ALL Required "names the session; opens nothing"
        "server" ALL Required "stompbox"
        "heart-beat" FROM_1_1 Required "how often the server can beat, and wants beats, in ms"
        "user-name" ALL Required "the user id"
        "kind" ALL Required "what the user is"
        "proof" ALL Required "how he was recognised"
        "node" ALL Required "the node"
        "limits" ALL Required "what the client must keep to, as JSON"
        "visitor-token" ALL Optional "the visitor's secret, when it is new"
        "visitor-token-status" ALL Optional "rejected: the secret of CONNECT opened nothing"
        "token-expires-in" ALL Optional "seconds until the secret ends if it is not used"
    }
    Message {
        "subscription" OLD Optional "the id of the subscription, if it has one"
        "subscription" FROM_1_1 Required "the id of the subscription"
        "destination" ALL Required "as the subscriber wrote it"
        "message-id" ALL Required "unique within the session; ACK names it until 1.1"
        "ack" ALL Optional "what ACK names in 1.2, where the subscription acknowledges"
        "redelivered" ALL Optional "true: somebody may have had it before"
        "content-type" ALL Optional "what the sender said"
        "content-length" ALL Required "the octets of the body"
    }
    Receipt {
        "receipt-id" ALL Required "the receipt that was asked for; they come in the order of the requests"
        "x-rate-remaining" ALL Optional "how many more SENDs the rate allows now; one with headers and a body of more than 4 KiB counts once per started 4 KiB"
    }
    Error {
        "message" ALL Required "what is wrong, in a word or two"
        "content-type" ALL Required "of the explanation in the body: text, or the JSON of a problem"
        "content-length" ALL Required "the octets of the body"
        "version" ALL Optional "the versions that there are, when none was common"
        "receipt-id" ALL Optional "the receipt that the wrong frame asked for"
    }
}

/// Every header that the session reads or writes, for documentation. STOMP has those of CONNECT.
pub fn headers() -> impl Iterator<Item = &'static HeaderRow> {
    Command::ALL.iter().flat_map(|command| of(*command))
}

/// Checks that nothing is missing. A header that is empty names nothing.
pub(super) fn check(command: Command, version: Version, headers: &Headers) -> Result<(), Fatal> {
    let is_missing = |row: &&HeaderRow| {
        row.need == Need::Required
            && row.versions.contains(&version)
            && headers.get(row.header).is_none_or(str::is_empty)
    };
    match of(command).iter().find(is_missing) {
        Some(row) => Err(Fatal::missing(command, row.header)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::Frame;

    #[test]
    fn a_frame_needs_what_its_version_requires() {
        let check = |command, version, lines: &[&str], expected: Option<&str>| {
            let mut frame = Frame::new(command);
            for name in lines {
                frame = frame.header(name, "x");
            }
            let found = check(command, version, &frame.headers).err();
            let found = found.map(|fatal| fatal.frame());
            let found = found
                .as_ref()
                .and_then(|frame| frame.headers.get("message"));
            assert_eq!(found, expected, "{command} {version} {lines:?}");
        };
        let [old, mid, new] = Version::ALL;
        for version in Version::ALL {
            check(
                Command::Send,
                version,
                &["receipt"],
                Some("Missing destination"),
            );
            check(Command::Send, version, &["destination"], None);
            check(Command::Disconnect, version, &[], None);
            for command in [Command::Begin, Command::Commit, Command::Abort] {
                check(command, version, &[], Some("Missing transaction"));
                check(command, version, &["transaction"], None);
            }
        }
        check(Command::Subscribe, old, &["destination"], None);
        check(
            Command::Subscribe,
            mid,
            &["destination"],
            Some("Missing id"),
        );
        check(
            Command::Subscribe,
            new,
            &["id"],
            Some("Missing destination"),
        );
        check(Command::Unsubscribe, old, &["destination"], None);
        check(
            Command::Unsubscribe,
            new,
            &["destination"],
            Some("Missing id"),
        );
        check(Command::Ack, old, &["message-id"], None);
        check(Command::Ack, old, &["id"], Some("Missing message-id"));
        for command in [Command::Ack, Command::Nack] {
            check(command, mid, &["message-id"], Some("Missing subscription"));
            check(command, mid, &["subscription"], Some("Missing message-id"));
            check(command, mid, &["subscription", "message-id"], None);
            check(
                command,
                new,
                &["subscription", "message-id"],
                Some("Missing id"),
            );
            check(command, new, &["id"], None);
        }
    }

    #[test]
    fn an_empty_header_names_nothing() {
        let frame = Frame::new(Command::Begin).header("transaction", "");
        assert!(check(Command::Begin, Version::V1_2, &frame.headers).is_err());
    }

    #[test]
    fn every_row_is_said_once_for_each_version() {
        for row in headers() {
            for version in row.versions {
                let same = headers().filter(|other| {
                    (other.command, other.header) == (row.command, row.header)
                        && other.versions.contains(version)
                });
                assert_eq!(same.count(), 1, "{row:?} {version}");
            }
        }
    }

    #[test]
    fn whatever_the_session_reads_is_in_the_table() {
        let sources = [
            include_str!("acks.rs"),
            include_str!("connect.rs"),
            include_str!("requests.rs"),
            include_str!("send.rs"),
            include_str!("subscribe.rs"),
            include_str!("subscriptions.rs"),
            include_str!("transactions.rs"),
        ];
        let mut read = Vec::new();
        for source in sources {
            let code = source.split("#[cfg(test)]").next().unwrap();
            for asks in [
                "get(\"",
                "take(\"",
                "field(\"",
                "text(\"",
                "short(headers, \"",
                "has(\"",
            ] {
                let found = code.split(asks).skip(1);
                read.extend(found.filter_map(|rest| rest.split('"').next()));
            }
        }
        assert!(read.len() > 20, "{read:?}");
        for name in read {
            assert!(headers().any(|row| row.header == name), "{name}");
        }
    }
}
