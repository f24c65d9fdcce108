//! The client's side of RFC 6455, as far as a load generator needs it.
//!
//! Not here: sockets, and what the messages mean. Invariant: a frame is cut out exactly where its
//! length says; one that is masked or longer than a connection may keep is an error, never
//! skipped.

/// A text message.
pub(super) const TEXT: u8 = 1;
/// A binary message.
pub(super) const BINARY: u8 = 2;
/// A further part of a message.
pub(super) const CONTINUATION: u8 = 0;
/// The end.
pub(super) const CLOSE: u8 = 8;
/// A question whether anybody is there.
pub(super) const PING: u8 = 9;
/// The answer to it.
pub(super) const PONG: u8 = 10;

/// The longest frame that is taken.
const FRAME_BYTES_MAX: u64 = 16 << 20;

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is.
    pub(super) opcode: u8,
    /// Where its payload begins.
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// The first frame of these octets, once it is whole.
pub(super) fn next_frame(octets: &[u8]) -> Result<Option<Frame>, &'static str> {
    let [first, second, rest @ ..] = octets else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err("the server sent a masked frame");
    }
    let (at, length) = match (second, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, u64::from(*length)),
    };
    if length > FRAME_BYTES_MAX {
        return Err("the server sent a frame of more than 16 MiB");
    }
    // Bounded just above.
    let end = at + usize::try_from(length).unwrap_or(usize::MAX - at);
    let opcode = first & 0x0f;
    Ok((octets.len() >= end).then_some(Frame { opcode, at, end }))
}

/// Appends one masked frame. The mask is zero, which saves the client the work and the server
/// none.
pub(super) fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the head of a frame whose payload follows.
pub(super) fn put_head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match u16::try_from(length) {
        Ok(length @ ..126) => out.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// What asks for a WebSocket. The key is always the same: the answer is not for a browser.
pub(super) fn upgrade(host: &str, path: &str, protocols: Option<&str>) -> Vec<u8> {
    let protocols = protocols.map_or_else(String::new, |names| {
        format!("Sec-WebSocket-Protocol: {names}\r\n")
    });
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocols}\r\n"
    )
    .into_bytes()
}

/// The answer to it: how long its head is once it is whole, or its words when it is a refusal.
pub(super) fn upgraded(octets: &[u8]) -> Result<Option<usize>, String> {
    const HEAD_BYTES_MAX: usize = 16 << 10;
    let Some(end) = memchr::memmem::find(octets, b"\r\n\r\n") else {
        return match octets.len() > HEAD_BYTES_MAX {
            true => Err("the answer to the handshake has no end".to_owned()),
            false => Ok(None),
        };
    };
    let head = String::from_utf8_lossy(&octets[..end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("101") {
        return Ok(Some(end + 4));
    }
    let body = String::from_utf8_lossy(&octets[end + 4..]);
    let body = body.chars().take(400).collect::<String>();
    Err(format!("{status} {body}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_found_when_they_are_whole() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let mut octets = vec![0x81];
            match length {
                0..=125 => octets.push(u8::try_from(length).unwrap()),
                126..=65_535 => {
                    octets.push(126);
                    octets.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    octets.push(127);
                    octets.extend_from_slice(&(length as u64).to_be_bytes());
                }
            }
            let at = octets.len();
            octets.resize(at + length, b'x');
            assert_eq!(next_frame(&octets[..octets.len() - 1]), Ok(None));
            octets.push(0x81);
            let expected = Frame {
                opcode: TEXT,
                at,
                end: at + length,
            };
            assert_eq!(next_frame(&octets), Ok(Some(expected)));
        }
        assert!(next_frame(&[0x81, 0x80]).is_err(), "masked");
        assert!(
            next_frame(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err(),
            "too long"
        );
    }

    #[test]
    fn what_is_sent_has_a_mask_of_zero() {
        let mut octets = Vec::new();
        put_frame(&mut octets, TEXT, b"ab");
        assert_eq!(octets, [0x81, 0x82, 0, 0, 0, 0, b'a', b'b']);
    }

    #[test]
    fn the_answer_to_a_handshake_is_a_switch_or_a_refusal() {
        let yes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nrest";
        assert_eq!(upgraded(yes), Ok(Some(yes.len() - 4)));
        assert_eq!(upgraded(&yes[..20]), Ok(None));
        let no = upgraded(b"HTTP/1.1 429 Too Many Requests\r\n\r\n{}").unwrap_err();
        assert_eq!(no, "HTTP/1.1 429 Too Many Requests {}");
    }
}
