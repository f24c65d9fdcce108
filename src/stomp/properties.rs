//! What holds for all octets and all frames.
//!
//! Not here: the tables of what is a frame and what is not (`tables`).

use proptest::prelude::*;

use super::encode::message;
use super::escape::Escaping;
use super::tables::{decode_pieces, decode_whole};
use super::*;

/// Generous ones, and some that random frames cross, each in another order.
fn any_limits() -> impl Strategy<Value = Limits> {
    let tight = [(3, 16), (1024, 16), (1024, 40)];
    let tight = tight.map(|(headers, line)| Limits::new(24, headers, line, 64, 64).unwrap());
    prop_oneof![
        Just(Limits::default()),
        prop::sample::select(tight.to_vec())
    ]
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(&Version::ALL[..])
}

/// Text with many of the characters that matter.
fn any_text(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let special =
        prop::sample::select(&[':', '\\', '\n', '\r', '\0', ' ', 'n', 'c', 'r', '한'][..]);
    let character = prop_oneof![3 => special, 1 => any::<char>()];
    prop::collection::vec(character, len).prop_map(String::from_iter)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let headers = prop::collection::vec((any_text(1..6), any_text(0..9)), 0..5);
    let body = prop::collection::vec(prop_oneof![Just(0), Just(b'\n'), any::<u8>()], 0..32);
    let command = prop::sample::select(Command::ALL);
    (command, headers, body).prop_map(|(command, headers, body)| {
        let mut frame = Frame::new(command);
        for (name, value) in headers {
            frame.headers.push(name, value);
        }
        if command.may_have_body() {
            frame = frame.body(body);
        }
        frame
    })
}

/// The frame without the characters that this version cannot write.
fn expressible(frame: &Frame, version: Version) -> Frame {
    let escaping = Escaping::of(frame.command, version);
    let keep = |c: char, name: bool| match c {
        '\0' => false,
        '\r' => escaping == Escaping::WithCr,
        '\n' => escaping != Escaping::Nothing,
        ':' => escaping != Escaping::Nothing || !name,
        _ => true,
    };
    let mut kept = Frame::new(frame.command).body(frame.body.clone());
    for (name, value) in frame.headers.iter() {
        let name: String = name.chars().filter(|c| keep(*c, true)).collect();
        let mut value: String = value.chars().filter(|c| keep(*c, false)).collect();
        if version == Version::V1_0 {
            value = value.trim_start_matches(' ').to_owned();
        }
        if !name.is_empty() {
            kept.headers.push(name, value);
        }
    }
    kept
}

/// The frame as its reader finds it: with the `content-length` that the encoder adds.
fn as_read(frame: &Frame) -> Frame {
    let mut read = frame.clone();
    if frame.command.may_have_body() {
        read.headers
            .push("content-length", frame.body.len().to_string());
    }
    read
}

/// Octets that are nearly frames: frames with EOLs between them, and some octets changed.
fn any_octets() -> impl Strategy<Value = (Version, Vec<u8>)> {
    let between = prop::sample::select(&["", "\n", "\r\n", "\r", "\n\n"][..]);
    let frames = prop::collection::vec((any_frame(), between), 0..4);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), special_octet()), 0..3);
    (any_version(), frames, changes).prop_map(|(version, frames, changes)| {
        let mut octets = Vec::new();
        for (frame, between) in frames {
            octets.extend_from_slice(between.as_bytes());
            octets.extend_from_slice(&encode(&frame, version));
        }
        for (index, octet) in changes {
            if !octets.is_empty() {
                let at = index.index(octets.len());
                octets[at] = octet;
            }
        }
        (version, octets)
    })
}

fn special_octet() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(&b"\0\n\r:\\ 9-c\xff"[..]), any::<u8>()]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(frame in any_frame(), version in any_version()) {
        let frame = expressible(&frame, version);
        let (frames, error) = decode_whole(version, &encode(&frame, version));
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames, [as_read(&frame)]);
    }

    #[test]
    fn octets_split_in_any_way_give_the_same(
        (version, octets) in any_octets(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        limits in any_limits(),
    ) {
        let whole = decode_pieces(limits, version, [&octets[..]]);
        let single = decode_pieces(limits, version, octets.chunks(1));
        prop_assert_eq!(&whole, &single);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &octets[pair[0]..pair[1]]);
        prop_assert_eq!(&whole, &decode_pieces(limits, version, pieces));
    }

    #[test]
    fn no_input_panics(octets in prop::collection::vec(special_octet(), 0..64), version in any_version()) {
        let mut head = b"SEND\na:".to_vec();
        let _ = decode_whole(version, &octets);
        head.extend_from_slice(&octets);
        let _ = decode_whole(version, &head);
    }

    #[test]
    fn no_header_reaches_a_subscriber_as_two(
        name in any_text(1..8), value in any_text(0..12), version in any_version(),
    ) {
        let octets = message(&Message {
            version,
            subscription: Some("s"),
            destination: "/topic/a",
            message_id: "m",
            content_type: None,
            headers: &[(name.into(), value.into())],
            body: b"body",
        });
        let (frames, error) = decode_whole(version, &octets);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(frames[0].headers.len(), 5);
        prop_assert_eq!(frames[0].headers.get("message-id"), Some("m"));
        prop_assert_eq!(&frames[0].body[..], b"body");
    }
}
