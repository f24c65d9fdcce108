//! What a close frame says (RFC 6455 sections 5.5.1 and 7.4).

use super::framed::{Framed, Opcode};

/// A close frame holds a code and at most so many octets of reason.
pub const REASON_BYTES_MAX: usize = 123;

/// The code of a close frame that gives none (section 7.1.5).
const NONE_GIVEN: u16 = 1005;

/// A close frame with a reason, which is cut between characters where it is too long. The code that
/// stands for none makes an empty one.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Framed {
    if code == NONE_GIVEN {
        return Framed::of(Opcode::Close, &[]);
    }
    let mut payload = code.to_be_bytes().to_vec();
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    payload.extend_from_slice(reason.as_bytes().get(..end).unwrap_or_default());
    Framed::of(Opcode::Close, &payload)
}

/// The code that the payload of a close frame says; `None` if it may not be said.
pub(super) fn code(payload: &[u8]) -> Option<u16> {
    match payload {
        [] => Some(NONE_GIVEN),
        [_] => None,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            (may_be_sent && std::str::from_utf8(reason).is_ok()).then_some(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_says_what_may_be_said() {
        let check = |payload: &[u8], expected| assert_eq!(code(payload), expected, "{payload:x?}");
        check(b"", Some(1005));
        check(b"\x03", None);
        check(b"\x03\xe8", Some(1000));
        check(b"\x03\xe8bye", Some(1000));
        check(b"\x03\xe8\xff", None);
        for (said, expected) in [
            (999, None),
            (1003, Some(1003)),
            (1004, None),
            (1005, None),
            (1006, None),
            (1007, Some(1007)),
            (1014, Some(1014)),
            (1015, None),
            (2999, None),
            (3000, Some(3000)),
            (4999, Some(4999)),
            (5000, None),
        ] {
            check(&u16::to_be_bytes(said), expected);
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let check = |reason: &str, expected: &str| {
            let frame = close_frame(1000, reason);
            let payload = &frame.on_wire()[2..];
            assert_eq!(payload, [b"\x03\xe8", expected.as_bytes()].concat());
            assert_eq!(frame.on_wire()[..2], [0x88, payload.len() as u8]);
        };
        check("draining", "draining");
        check("", "");
        check(&"가".repeat(60), &"가".repeat(41));
        assert_eq!(close_frame(1005, "nothing").on_wire()[..], [0x88, 0]);
    }
}
