//! What holds for every input of a WebSocket client.
//!
//! The first octet picks how the rest is cut. Shared by the fuzz target and by the test that replays the
//! corpus.

use stompbox::websocket::{Decoder, Found, HEADS_BYTES, HEADS_PER_PAYLOAD, Violation};

const MESSAGE_BYTES_MAX: usize = 4_096;

/// What one message takes on the wire at most.
const WIRE_BYTES_MAX: usize = MESSAGE_BYTES_MAX * (1 + HEADS_PER_PAYLOAD) + HEADS_BYTES;

/// Checks one input; panics when something does not hold.
pub(crate) fn check(input: &[u8]) {
    let Some((pick, octets)) = input.split_first() else {
        return;
    };
    let whole = decode(octets, octets.len().max(1));
    let cut = decode(octets, usize::from(*pick).max(1));
    assert_eq!(
        whole, cut,
        "however octets are cut, what comes out is the same"
    );
}

/// What was found: each message whole, then what ended it all.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    ponged: u32,
    closed: Option<u16>,
    violation: Option<Violation>,
    unfinished: Option<Vec<u8>>,
}

fn decode(octets: &[u8], size: usize) -> Seen {
    let mut decoder = Decoder::new(MESSAGE_BYTES_MAX);
    let mut seen = Seen {
        messages: Vec::new(),
        pongs: Vec::new(),
        ponged: 0,
        closed: None,
        violation: None,
        unfinished: None,
    };
    let mut message = Vec::new();
    let mut spent = 0;
    for piece in octets.chunks(size) {
        let mut piece = piece.to_vec();
        let mut left = &mut piece[..];
        loop {
            match decoder.next(&mut left) {
                Ok(None) => break,
                Ok(Some(Found::Piece {
                    octets,
                    begins,
                    ends,
                })) => {
                    assert!(!begins || message.is_empty(), "a message begins once");
                    message.extend_from_slice(octets);
                    assert!(message.len() <= MESSAGE_BYTES_MAX, "the limit holds");
                    if ends {
                        seen.messages.push(std::mem::take(&mut message));
                    }
                }
                Ok(Some(Found::Ping(pong))) => seen.pongs.push(pong.payload().to_vec()),
                Ok(Some(Found::Pong)) => seen.ponged += 1,
                Ok(Some(Found::Close(code))) => {
                    seen.closed = Some(code);
                    return seen;
                }
                Err(violation) => {
                    seen.violation = Some(violation);
                    return seen;
                }
            }
        }
        assert!(left.is_empty(), "all is taken");
        spent += size;
        assert!(
            !seen.messages.is_empty()
                || seen.ponged > 0
                || !seen.pongs.is_empty()
                || spent <= WIRE_BYTES_MAX + size,
            "nothing goes on without an end"
        );
    }
    seen.unfinished = decoder.is_amid_message().then_some(message);
    seen
}
