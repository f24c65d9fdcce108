//! RFC 6455 sentence by sentence: what a client may send and what it may not, each whole, octet by octet
//! and cut at every place.

use super::*;

/// What is found, without borrowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A message in all its pieces.
    Message(Vec<u8>),
    Pong(Vec<u8>),
    Ponged,
    Closed(u16),
    Broken(&'static str),
    /// What was not text.
    NotUtf8,
    TooLong,
    Fragments,
}

/// Decodes pieces; the last entry is a violation, if there is one.
pub(super) fn decode(bytes_max: usize, pieces: &mut [Vec<u8>]) -> (Vec<Seen>, bool) {
    let mut decoder = Decoder::new(bytes_max);
    let mut seen = Vec::new();
    let mut message = Vec::new();
    for piece in pieces {
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
                    if ends {
                        seen.push(Seen::Message(std::mem::take(&mut message)));
                    }
                }
                Ok(Some(Found::Ping(pong))) => seen.push(Seen::Pong(pong.payload().to_vec())),
                Ok(Some(Found::Pong)) => seen.push(Seen::Ponged),
                Ok(Some(Found::Close(code))) => {
                    seen.push(Seen::Closed(code));
                    return (seen, decoder.is_amid_message());
                }
                Err(violation) => {
                    seen.push(match violation {
                        Violation::Malformed(words) => Seen::Broken(words),
                        Violation::NotUtf8 => Seen::NotUtf8,
                        Violation::TooLong => Seen::TooLong,
                        Violation::Fragments => Seen::Fragments,
                    });
                    return (seen, true);
                }
            }
        }
        assert!(left.is_empty(), "all is taken");
    }
    (seen, decoder.is_amid_message())
}

/// A masked frame of a client.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0xa1, 0x02, 0xff, 0x37];
    let mut octets = vec![first];
    match payload.len() {
        short @ 0..126 => octets.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            octets.push(0x80 | 126);
            octets.extend((middle as u16).to_be_bytes());
        }
        long => {
            octets.push(0x80 | 127);
            octets.extend((long as u64).to_be_bytes());
        }
    }
    octets.extend(KEY);
    octets.extend(payload.iter().zip(KEY.iter().cycle()).map(|(o, k)| o ^ k));
    octets
}

const MAX: usize = 1 << 20;

fn message(octets: &[u8]) -> Seen {
    Seen::Message(octets.to_vec())
}

/// What these octets are, whole, octet by octet, and in two pieces cut at every place (of long ones:
/// in the head and near the end).
#[track_caller]
fn check(octets: &[u8], expected: &[Seen]) {
    let whole = decode(MAX, &mut [octets.to_vec()]);
    assert_eq!(whole.0, expected);
    let mut one_by_one: Vec<_> = octets.iter().map(|octet| vec![*octet]).collect();
    assert_eq!(decode(MAX, &mut one_by_one), whole, "octet by octet");
    for at in (0..octets.len()).filter(|at| *at < 40 || *at + 40 > octets.len()) {
        let (before, after) = octets.split_at(at);
        let cut = decode(MAX, &mut [before.to_vec(), after.to_vec()]);
        assert_eq!(cut, whole, "cut at {at}");
    }
}

#[test]
fn messages_of_every_length_come_as_they_were_sent() {
    for length in [0, 1, 2, 7, 8, 125, 126, 127, 128, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        check(&frame(0x82, &payload), &[message(&payload)]);
    }
    check(
        &frame(0x81, "한글 😀".as_bytes()),
        &[message("한글 😀".as_bytes())],
    );
}

#[test]
fn several_in_one_read_come_in_order() {
    let octets = [
        frame(0x81, b"one"),
        frame(0x89, b"p"),
        frame(0x82, b""),
        frame(0x8a, b""),
        frame(0x81, b"two"),
    ];
    let expected = [
        message(b"one"),
        Seen::Pong(b"p".to_vec()),
        message(b""),
        Seen::Ponged,
        message(b"two"),
    ];
    check(&octets.concat(), &expected);
}

#[test]
fn fragments_are_one_message_with_control_frames_between() {
    let octets = [
        frame(0x01, "한".as_bytes()),
        frame(0x89, b""),
        frame(0x00, b""),
        frame(0x8a, b"x"),
        frame(0x00, &"글".as_bytes()[..2]),
        frame(0x80, &"글".as_bytes()[2..]),
        frame(0x82, b"\xff"),
    ];
    let expected = [
        Seen::Pong(Vec::new()),
        Seen::Ponged,
        message("한글".as_bytes()),
        message(b"\xff"),
    ];
    check(&octets.concat(), &expected);
}

#[test]
fn an_empty_last_fragment_ends_a_message() {
    let octets = [frame(0x02, b"a"), frame(0x80, b"")].concat();
    check(&octets, &[message(b"a")]);
}

#[test]
fn pings_of_every_length_are_answered_with_what_they_hold() {
    for length in [0, 1, 124, 125] {
        let payload = vec![0xfe; length];
        check(&frame(0x89, &payload), &[Seen::Pong(payload)]);
    }
}

#[test]
fn a_close_ends_everything() {
    let after = frame(0x81, b"too late");
    check(
        &[frame(0x88, b""), after.clone()].concat(),
        &[Seen::Closed(1005)],
    );
    check(&frame(0x88, b"\x03\xe8bye"), &[Seen::Closed(1000)]);
    let amid = [frame(0x01, b"a"), frame(0x88, b"\x0f\xa0"), after].concat();
    check(&amid, &[Seen::Closed(4000)]);
}

#[test]
fn what_the_rfc_forbids_is_malformed() {
    let masked = |first: u8, second: u8| vec![first, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let close = "a close says what may not be said";
    let length = "a length is not as short as it can be";
    let cases: [(&str, Vec<u8>); 21] = [
        ("a frame of a client is not masked", vec![0x81, 0x00]),
        ("a frame of a client is not masked", vec![0x89, 0x00]),
        ("a reserved bit is set", masked(0xc1, 0x80)),
        ("a reserved bit is set", masked(0xa1, 0x80)),
        ("a reserved bit is set", masked(0x91, 0x80)),
        ("there is no such opcode", masked(0x83, 0x80)),
        ("there is no such opcode", masked(0x87, 0x80)),
        ("there is no such opcode", masked(0x8b, 0x80)),
        ("there is no such opcode", masked(0x8f, 0x80)),
        ("nothing is there that could go on", frame(0x80, b"a")),
        ("nothing is there that could go on", frame(0x00, b"")),
        ("a control frame is in fragments", masked(0x09, 0x80)),
        ("a control frame is in fragments", masked(0x08, 0x80)),
        (
            "a control frame holds more than 125 octets",
            frame(0x89, &[0; 126]),
        ),
        (close, frame(0x88, b"\x03")),
        (close, frame(0x88, b"\x03\xed")),
        (close, frame(0x88, b"\x03\xe8\xff")),
        (length, vec![0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0]),
        (
            length,
            vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        ),
        (
            length,
            vec![0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        (
            length,
            vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ];
    for (words, octets) in cases {
        check(&octets, &[Seen::Broken(words)]);
    }
    let began = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    check(&began, &[Seen::Broken("a message begins in another")]);
    let after_a_whole_one = [frame(0x81, b"a"), frame(0x80, b"b")].concat();
    let words = "nothing is there that could go on";
    check(&after_a_whole_one, &[message(b"a"), Seen::Broken(words)]);
}

#[test]
fn what_is_wrong_is_said_before_the_rest_is_there() {
    let mut decoder = Decoder::new(MAX);
    let mut octets = *b"\x81\x05";
    let found = decoder.next(&mut &mut octets[..]);
    assert_eq!(
        found,
        Err(Violation::Malformed("a frame of a client is not masked"))
    );
}

#[test]
fn text_must_be_text_across_fragments_too() {
    check(&frame(0x81, b"a\xff"), &[Seen::NotUtf8]);
    check(&frame(0x81, b"a\xe2\x82"), &[Seen::NotUtf8]);
    let octets = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\x28")].concat();
    check(&octets, &[Seen::NotUtf8]);
    let octets = [frame(0x01, b"\xe2\x82"), frame(0x80, b"")].concat();
    check(&octets, &[Seen::NotUtf8]);
}

#[test]
fn a_message_that_is_too_long_is_refused_when_it_says_so() {
    let mut decoder = Decoder::new(100);
    let mut head = [0x82, 0x80 | 101, 0, 0, 0, 0];
    assert_eq!(decoder.next(&mut &mut head[..]), Err(Violation::TooLong));
    let whole = decode(100, &mut [frame(0x82, &[0; 100])]);
    assert_eq!(whole.0, [message(&[0; 100])]);
    let (seen, _) = decode(100, &mut [frame(0x02, &[0; 60]), frame(0x80, &[0; 41])]);
    assert_eq!(seen, [Seen::TooLong]);
    let (seen, _) = decode(100, &mut [frame(0x82, &[0; 100]), frame(0x82, &[0; 100])]);
    assert_eq!(seen.len(), 2, "the limit is of one message");
}

#[test]
fn a_message_of_empty_fragments_ends_somewhere() {
    let mut decoder = Decoder::new(100);
    let mut first = frame(0x02, b"");
    assert!(decoder.next(&mut &mut first[..]).is_ok());
    let refused_after = (1..=20_000).find(|_| {
        let mut ping = frame(0x89, b"not counted");
        assert!(decoder.next(&mut &mut ping[..]).is_ok());
        let mut empty = frame(0x00, b"");
        decoder.next(&mut &mut empty[..]) == Err(Violation::Fragments)
    });
    assert_eq!(refused_after, Some(HEADS_BYTES / 6), "six bytes each");
}

#[test]
fn a_short_message_may_come_byte_by_byte_and_a_long_one_in_small_pieces() {
    let in_pieces = |length: usize, piece: usize| {
        let payload = vec![b'x'; length];
        let mut frames: Vec<_> = (payload.chunks(piece))
            .enumerate()
            .map(|(index, piece)| frame(if index == 0 { 0x02 } else { 0 }, piece))
            .collect();
        frames.push(frame(0x80, b""));
        decode(1 << 20, &mut frames).0
    };
    assert_eq!(in_pieces(600, 1), [message(&[b'x'; 600])]);
    assert_eq!(in_pieces(100_000, 3), [message(&[b'x'; 100_000])]);
    assert_eq!(in_pieces(100_000, 1), [Seen::Fragments]);
}

#[test]
fn it_is_known_whether_something_is_unfinished() {
    let amid = |octets: &[u8]| decode(MAX, &mut [octets.to_vec()]).1;
    assert!(!amid(b""));
    assert!(!amid(&frame(0x81, b"a")));
    assert!(amid(&frame(0x01, b"a")));
    let whole = frame(0x81, b"abc");
    for cut in 1..whole.len() {
        assert!(amid(&whole[..cut]), "cut at {cut}");
    }
    assert!(!amid(&frame(0x89, b"ping")));
    assert!(amid(&frame(0x89, b"ping")[..7]));
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 96, "{}", size_of::<Decoder>());
}
