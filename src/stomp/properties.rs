//! What holds for all octets and all frames, and the tables of what is a frame and what is not.

use proptest::prelude::*;

use super::decode::COMMAND_BYTES_MAX;
use super::encode::message;
use super::escape::Escaping;
use super::*;

/// Everything that the octets contain, given in these pieces: the frames, then the failure.
fn decode_pieces<'a>(
    limits: Limits,
    version: Version,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::new(limits);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next(version) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn decode_whole(version: Version, octets: &[u8]) -> (Vec<Frame>, Option<DecodeError>) {
    decode_pieces(Limits::default(), version, [octets])
}

/// Small enough that random frames cross them.
fn tight() -> Limits {
    Limits::new(24, 3, 16, 64, 64).unwrap()
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
        limits in prop::sample::select(vec![Limits::default(), tight()]),
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

#[test]
fn a_frame_is_read_as_its_version_says() {
    let check = |version, wire: &str, expected: &Frame| {
        let (frames, error) = decode_whole(version, wire.as_bytes());
        assert_eq!(error, None, "{version} {wire:?}");
        assert_eq!(frames, [expected.clone()], "{version} {wire:?}");
        let found: Vec<_> = frames[0].headers.iter().collect();
        assert_eq!(found, expected.headers.iter().collect::<Vec<_>>());
    };
    let send = |value| Frame::new(Command::Send).header("a", value);
    let connect = |value| Frame::new(Command::Connect).header("passcode", value);
    for version in Version::ALL {
        check(version, "SEND\na:b:c\n\n\0", &send("b:c"));
        check(version, "\n\r\n\nSEND\na:\n\n\0\n\r\n", &send(""));
        check(
            version,
            "CONNECT\npasscode:a\\b\\\n\n\0",
            &connect("a\\b\\"),
        );
        check(version, "STOMP\n\n\0", &Frame::new(Command::Stomp));
        let body = send("1").header("content-length", "3").body("x\0y");
        check(version, "SEND\na:1\ncontent-length:3\n\nx\0y\0", &body);
        check(version, "SEND\na:1\n\nbody\0", &send("1").body("body"));
        check(version, "SEND\na:1\na:2\n\n\0", &send("1").header("a", "2"));
    }
    check(Version::V1_0, "SEND\na: b \n\n\0", &send("b "));
    check(Version::V1_0, "SEND\na:  b\n\n\0", &send(" b"));
    check(Version::V1_1, "SEND\na: b \n\n\0", &send(" b "));
    check(Version::V1_2, "SEND\na: b \n\n\0", &send(" b "));
    check(Version::V1_0, "SEND\na:\\n\\t\\\n\n\0", &send("\\n\\t\\"));
    check(Version::V1_1, "SEND\na:\\n\\c\\\\\n\n\0", &send("\n:\\"));
    check(
        Version::V1_2,
        "SEND\na:\\n\\c\\\\\\r\n\n\0",
        &send("\n:\\\r"),
    );
    check(Version::V1_1, "SEND\na:b\r\n\n\0", &send("b\r"));
    check(Version::V1_1, "SEND\na:b\rc\n\n\0", &send("b\rc"));
    check(Version::V1_2, "SEND\r\na:b\r\n\r\n\0", &send("b"));
}

#[test]
fn what_is_no_frame_is_refused_with_its_reason() {
    let check = |version, wire: &[u8], expected: DecodeError| {
        let (frames, error) = decode_whole(version, wire);
        assert_eq!(frames, [], "{version} {wire:?}");
        assert_eq!(
            error,
            Some(expected),
            "{version} {:?}",
            String::from_utf8_lossy(wire)
        );
    };
    for version in Version::ALL {
        check(
            version,
            b"send\n\n\0",
            DecodeError::UnknownCommand("send".into()),
        );
        check(
            version,
            b"HELO\n\n\0",
            DecodeError::UnknownCommand("HELO".into()),
        );
        check(version, b" \n\n", DecodeError::UnknownCommand(" ".into()));
        check(version, b"SEND\nabc\n\n\0", DecodeError::NoColon);
        check(version, b"SEND\n:x\n\n\0", DecodeError::EmptyName);
        check(version, b"SEND\na:\xff\n\n\0", DecodeError::NotUtf8);
        check(version, b"SEND\n\0", DecodeError::NoBlankLine);
        check(version, b"SEND\na:b\0", DecodeError::NoBlankLine);
        check(version, b"\0", DecodeError::NoBlankLine);
        check(
            version,
            b"SEND\ncontent-length:2\n\nabc\0",
            DecodeError::MissingNul,
        );
        for length in [
            "-1",
            "+5",
            " 5 ",
            "NaN",
            "0x1",
            "",
            "99999999999999999999",
            "1e3",
            "5 ",
        ] {
            let wire = format!("SEND\ncontent-length:{length}\n\n");
            check(version, wire.as_bytes(), DecodeError::ContentLength);
        }
        let body = DecodeError::BodyNotAllowed(Command::Subscribe);
        check(version, b"SUBSCRIBE\n\nx", body.clone());
        check(version, b"SUBSCRIBE\ncontent-length:1\n\n", body);
    }
    check(
        Version::V1_1,
        b"SEND\na:\\r\n\n\0",
        DecodeError::UndefinedEscape,
    );
    for version in [Version::V1_1, Version::V1_2] {
        check(version, b"SEND\na:\\t\n\n\0", DecodeError::UndefinedEscape);
        check(version, b"SEND\na:x\\\n\n\0", DecodeError::UndefinedEscape);
        check(version, b"SEND\n\\x:x\n\n\0", DecodeError::UndefinedEscape);
    }
    check(
        Version::V1_2,
        b"SEND\na:b\rc\n\n\0",
        DecodeError::StrayCarriageReturn,
    );
    check(
        Version::V1_1,
        b"SEND\r\n\n\0",
        DecodeError::UnknownCommand("SEND".into()),
    );
    check(Version::V1_1, b"SEND\n\r\n\n\0", DecodeError::NoColon);
    check(
        Version::V1_2,
        b"\rSEND\n\n\0",
        DecodeError::StrayCarriageReturn,
    );
}

#[test]
fn every_limit_holds_to_the_octet() {
    let limits = Limits::new(10, 2, 16, 64, 64).unwrap();
    let check = |fits: String, beyond: String, expected: DecodeError| {
        let decode = |wire: &str| decode_pieces(limits, Version::V1_2, [wire.as_bytes()]);
        let (frames, error) = decode(&fits);
        assert_eq!((frames.len(), error), (1, None), "{fits:?}");
        let (frames, error) = decode(&beyond);
        assert_eq!((frames.len(), error), (0, Some(expected)), "{beyond:?}");
    };
    let body = |octets: usize| format!("SEND\n\n{}\0", "x".repeat(octets));
    check(body(10), body(11), DecodeError::BodyTooLong { max: 10 });
    let said = |octets| format!("SEND\ncontent-length:{octets}\n\n{}\0", "x".repeat(octets));
    let limits_only = Limits::new(10, 2, 17, 64, 64).unwrap();
    let decode = |wire: &str| decode_pieces(limits_only, Version::V1_2, [wire.as_bytes()]);
    assert_eq!(decode(&said(10)).1, None);
    assert_eq!(
        decode(&said(11)[..27]).1,
        Some(DecodeError::BodyTooLong { max: 10 })
    );
    let headers = |count: usize| format!("SEND\n{}\n\0", "a:b\n".repeat(count));
    check(
        headers(2),
        headers(3),
        DecodeError::TooManyHeaders { max: 2 },
    );
    let line = |octets: usize| format!("SEND\na:{}\n\n\0", "x".repeat(octets - 2));
    check(line(16), line(17), DecodeError::HeaderTooLong { max: 16 });

    let head = |octets: usize| format!("SEND\na:{}\n\n\0", "x".repeat(octets - 9));
    let decode = |early: bool, wire: &str| {
        let mut decoder = Decoder::new(Limits::new(1, 2, 128, 128, 64).unwrap());
        if !early {
            decoder.set_authenticated();
        }
        decoder.push(wire.as_bytes());
        decoder.next(Version::V1_2).map(|frame| frame.is_some())
    };
    let long = |max| Err(DecodeError::HeadTooLong { max });
    assert_eq!(decode(true, &head(64)), Ok(true));
    assert_eq!(decode(true, &head(65)), long(64));
    assert_eq!(decode(false, &head(65)), Ok(true));
    assert_eq!(decode(false, &head(128)), Ok(true));
    assert_eq!(decode(false, &head(129)), long(128));
}

#[test]
fn an_endless_line_is_refused_before_its_end() {
    let endless = |octets: &str| decode_whole(Version::V1_2, octets.as_bytes()).1;
    let command = "X".repeat(COMMAND_BYTES_MAX);
    assert_eq!(endless(&command), None);
    let max = COMMAND_BYTES_MAX;
    assert_eq!(
        endless(&(command + "X")),
        Some(DecodeError::CommandTooLong { max })
    );
    let max = Limits::default().header_bytes_max();
    let line = format!("SEND\n{}", "x".repeat(max));
    assert_eq!(endless(&line), None);
    assert_eq!(
        endless(&(line + "x")),
        Some(DecodeError::HeaderTooLong { max })
    );
}

#[test]
fn a_frame_fed_octet_by_octet_costs_linear_work() {
    let body = "x".repeat(60_000);
    for wire in [
        format!("SEND\ndestination:/topic/a\n\n{body}\0"),
        format!("SEND\ncontent-length:60000\n\n{body}\0"),
        format!("SEND\n{}\n\0", "a:bcdefghij\n".repeat(64)),
    ] {
        let mut decoder = Decoder::new(Limits::default());
        let mut frames = 0;
        for octet in wire.as_bytes().chunks(1) {
            decoder.push(octet);
            frames += usize::from(decoder.next(Version::V1_2).unwrap().is_some());
        }
        assert_eq!(frames, 1);
        assert!(decoder.looked_at <= 3 * wire.len(), "{}", decoder.looked_at);
    }
}

#[test]
fn many_frames_at_once_cost_linear_work() {
    let wire = "SEND\na:b\n\nbody\0\n".repeat(4_000);
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(wire.as_bytes());
    let mut frames = 0;
    while decoder.next(Version::V1_1).unwrap().is_some() {
        frames += 1;
    }
    assert_eq!((frames, decoder.beats()), (4_000, 4_000));
    assert!(decoder.looked_at <= 2 * wire.len());
}

#[test]
fn the_memory_of_a_large_frame_is_given_back() {
    let mut decoder = Decoder::new(Limits::default());
    let large = format!("SEND\n\n{}\0", "x".repeat(60_000));
    decoder.push(large.as_bytes());
    assert!(decoder.next(Version::V1_2).unwrap().is_some());
    assert_eq!(decoder.next(Version::V1_2), Ok(None));
    assert!(decoder.capacity() <= 1_024, "{}", decoder.capacity());

    // Also when the next frame has begun by then.
    decoder.push(format!("{large}SEND\n").as_bytes());
    assert!(decoder.next(Version::V1_2).unwrap().is_some());
    assert_eq!(decoder.next(Version::V1_2), Ok(None));
    decoder.push(b"a");
    assert!(decoder.capacity() <= 1_024, "{}", decoder.capacity());
    assert_eq!(decoder.buffered(), 6);
}

#[test]
fn after_a_failure_nothing_is_kept_and_the_answer_stays() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(b"SEND\nreceipt:r1\ncontent-length:1\n\nxy");
    assert_eq!(decoder.next(Version::V1_2), Err(DecodeError::MissingNul));
    let receipt = decoder
        .headers_amid_frame()
        .and_then(|head| head.get("receipt"));
    assert_eq!(receipt, Some("r1"));
    decoder.push(b"\0SEND\n\n\0");
    assert_eq!(decoder.next(Version::V1_2), Err(DecodeError::MissingNul));
    assert_eq!((decoder.buffered(), decoder.capacity()), (0, 0));
}
