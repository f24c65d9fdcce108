//! CONNECT and CONNECTED: the version, the heart-beats, who the client says that it is.
//!
//! Not here: whether that is true (`identity`). Invariant: the version is one that both sides
//! speak, the highest of them.

use super::contract::{Accepted, Connect, SessionConfig};
use super::fatal::{Fatal, Violation};
use super::heart_beat::Agreed;
use crate::stomp::{Command, Frame, Headers, Version};

/// What a CONNECT asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the verdict is about.
    pub(super) connect: Connect,
    /// The beats that follow from it.
    pub(super) agreed: Agreed,
    /// Whether refusals of SUBSCRIBE, ACK and NACK shall be told softly.
    pub(super) soft: bool,
}

/// Reads a CONNECT or STOMP frame.
pub(super) fn read(headers: &Headers, config: &SessionConfig) -> Result<Asked, Fatal> {
    let version = negotiate(headers.get("accept-version"), config.subprotocol)
        .ok_or_else(Fatal::version_mismatch)?;
    let field = |name: &str| {
        let value = headers.get(name)?;
        // Clients of 1.0 write `login: name`, as its specification does.
        let trimmed = value.strip_prefix(' ').filter(|_| version == Version::V1_0);
        Some(trimmed.unwrap_or(value))
    };
    let beats = field("heart-beat");
    let agreed = Agreed::negotiate(beats, version, config.beat_out, config.beat_in)
        .map_err(|_| Fatal::of(Violation::BadHeartBeat))?;
    let text = |name: &str| field(name).map(str::to_owned);
    let connect = Connect {
        version,
        host: text("host"),
        login: text("login"),
        passcode: text("passcode"),
        authorization: text("authorization"),
        visitor_token: text("visitor-token"),
        device_id: text("device-id"),
        device_name: text("device-name"),
        accept_language: text("accept-language"),
    };
    Ok(Asked {
        connect,
        agreed,
        soft: field("x-soft-errors") == Some("true"),
    })
}

/// The highest version that both sides speak. Entries that are unknown are tolerated. A client
/// that says nothing speaks what its WebSocket subprotocol named, else 1.0.
fn negotiate(accept: Option<&str>, subprotocol: Option<Version>) -> Option<Version> {
    match accept {
        None => Some(subprotocol.unwrap_or(Version::V1_0)),
        Some(list) => list
            .split(',')
            .filter_map(|entry| Version::parse(entry.trim()))
            .max(),
    }
}

/// The CONNECTED frame.
pub(super) fn connected(accepted: &Accepted, version: Version, config: &SessionConfig) -> Frame {
    let mut frame = Frame::new(Command::Connected)
        .header("version", version.as_str())
        .header("session", &accepted.session.to_string())
        .header("server", "stompbox");
    if version != Version::V1_0 {
        let (out, incoming) = (config.beat_out.as_millis(), config.beat_in.as_millis());
        frame = frame.header("heart-beat", &format!("{out},{incoming}"));
    }
    let frame = frame
        .header("user-name", accepted.user_id.as_str())
        .header("kind", accepted.kind.as_str())
        .header("proof", accepted.proof.as_str())
        .header("node", accepted.node.as_str())
        .header("limits", &accepted.limits);
    accepted
        .headers
        .iter()
        .fold(frame, |frame, (name, value)| frame.header(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        let check = |accept, subprotocol, expected| {
            assert_eq!(negotiate(accept, subprotocol), expected, "{accept:?}");
        };
        let (old, mid, new) = (Version::V1_0, Version::V1_1, Version::V1_2);
        check(None, None, Some(old));
        check(None, Some(mid), Some(mid));
        check(Some("1.2"), Some(mid), Some(new));
        check(Some("1.0"), Some(new), Some(old));
        check(Some("1.2,1.0,1.1"), None, Some(new));
        check(Some("1.1, 1.0"), None, Some(mid));
        check(Some("2.0,1.1,x"), None, Some(mid));
        check(Some("2.0"), Some(new), None);
        check(Some(""), None, None);
        check(Some("1"), None, None);
    }
}
