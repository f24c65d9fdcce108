//! What is a frame and what is not, every limit to the octet, and the work and the memory it takes.
//!
//! Not here: what holds for all octets (`properties`).

use super::decode::COMMAND_BYTES_MAX;
use super::*;

/// Everything that the octets contain, given in these pieces: the frames, then the failure.
pub(super) fn decode_pieces<'a>(
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

pub(super) fn decode_whole(version: Version, octets: &[u8]) -> (Vec<Frame>, Option<DecodeError>) {
    decode_pieces(Limits::default(), version, [octets])
}

#[test]
fn a_frame_is_read_as_its_version_says() {
    let check = |version, wire: &str, expected: &Frame| {
        let (frames, error) = decode_whole(version, wire.as_bytes());
        assert_eq!(error, None, "{version} {wire:?}");
        assert_eq!(frames, std::slice::from_ref(expected), "{version} {wire:?}");
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
fn a_content_length_that_is_no_number_of_octets_is_refused_before_the_body() {
    for length in [
        "-1",
        "+5",
        " 5",
        "5 ",
        "NaN",
        "0x1",
        "",
        "1e3",
        "99999999999999999999",
    ] {
        let wire = format!("SEND\ncontent-length:{length}\n\n");
        for version in [Version::V1_1, Version::V1_2] {
            let (_, error) = decode_whole(version, wire.as_bytes());
            assert_eq!(error, Some(DecodeError::ContentLength), "{length:?}");
        }
    }
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
    assert!(decoder.reserved() <= 1_024, "{}", decoder.reserved());

    // Also when the next frame has begun by then.
    decoder.push(format!("{large}SEND\n").as_bytes());
    assert!(decoder.next(Version::V1_2).unwrap().is_some());
    assert_eq!(decoder.next(Version::V1_2), Ok(None));
    decoder.push(b"a");
    assert!(decoder.reserved() <= 1_024, "{}", decoder.reserved());
    assert_eq!(decoder.buffered(), 6);
}

#[test]
fn after_a_failure_nothing_is_kept_and_the_answer_stays() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(b"SEND\nreceipt:r1\ncontent-length:1\n\nxy");
    assert_eq!(decoder.next(Version::V1_2), Err(DecodeError::MissingNul));
    let receipt = decoder.receipt_amid_frame(Version::V1_2);
    assert_eq!(receipt.as_deref(), Some("r1"));
    decoder.push(b"\0SEND\n\n\0");
    assert_eq!(decoder.next(Version::V1_2), Err(DecodeError::MissingNul));
    assert_eq!((decoder.buffered(), decoder.reserved()), (0, 0));
}

#[test]
fn of_two_limits_the_one_crossed_first_counts_however_the_input_is_cut() {
    let limits = Limits::new(24, 9, 40, 64, 64).unwrap();
    let check = |first: usize, expected: DecodeError| {
        let (first, second) = ("x".repeat(first), "y".repeat(90));
        let wire = format!("SEND\na:{first}\nb:{second}\n\n\0");
        let whole = decode_pieces(limits, Version::V1_2, [wire.as_bytes()]);
        let single = decode_pieces(limits, Version::V1_2, wire.as_bytes().chunks(1));
        assert_eq!(whole, single);
        assert_eq!(whole.1, Some(expected));
    };
    check(30, DecodeError::HeadTooLong { max: 64 });
    check(10, DecodeError::HeaderTooLong { max: 40 });
    check(16, DecodeError::HeaderTooLong { max: 40 });
    check(17, DecodeError::HeadTooLong { max: 64 });
}

#[test]
fn a_frame_that_is_wrong_still_names_its_receipt_however_it_is_cut() {
    let found = |version, wire: &str, piece: usize| {
        let mut decoder = Decoder::new(Limits::default());
        for octets in wire.as_bytes().chunks(piece) {
            decoder.push(octets);
            if decoder.next(version).is_err() {
                break;
            }
        }
        decoder.receipt_amid_frame(version)
    };
    let check = |version, wire: &str, expected: Option<&str>| {
        for piece in [1, 7, wire.len()] {
            let receipt = found(version, wire, piece);
            assert_eq!(
                receipt.as_deref(),
                expected,
                "{version} {wire:?} by {piece}"
            );
        }
    };
    let long = "y".repeat(9_000);
    for version in Version::ALL {
        check(version, "SEND\nreceipt:r\nabc\n\n\0", Some("r"));
        check(version, "SEND\nreceipt:r\nx:y\0", Some("r"));
        check(version, "SEND\nreceipt:r\n:y\n\n\0", Some("r"));
        check(
            version,
            "SEND\nreceipt:r\ncontent-length:x\n\n\0",
            Some("r"),
        );
        check(version, "HELO\nreceipt:r\n\n\0", Some("r"));
        check(
            version,
            &format!("SEND\nreceipt:r\nx:{long}\n\n\0"),
            Some("r"),
        );
        check(version, &format!("SEND\nx:{long}\nreceipt:r\n\n\0"), None);
        check(version, "SUBSCRIBE\nreceipt:r\n\nbody\0", Some("r"));
        check(
            version,
            "SEND\nreceipt:r\n\nthe rest is still to come",
            Some("r"),
        );
        check(version, "SEND\nreceipt:r\nhalf-a-line", Some("r"));
        check(version, "SEND\nreceipt:half-a-line", None);
        check(version, "SEND\nx\nreceipts:r\n\n\0", None);
    }
    let bad = "SEND\nreceipt:a\\cb\nx:\\t\n\n\0";
    check(Version::V1_2, bad, Some("a:b"));
    check(
        Version::V1_2,
        "SEND\r\nreceipt:r\r\nabc\r\n\r\n\0",
        Some("r"),
    );
    check(Version::V1_0, "SEND\nreceipt: r\nabc\n\n\0", Some("r"));
    check(Version::V1_1, "SEND\nreceipt: r\nabc\n\n\0", Some(" r"));
    check(Version::V1_2, "SEND\nreceipt:\\t\n\n\0", None);
}
