//! What holds for every input of the decoder.
//!
//! The first octet picks version, limits and how the rest is cut; the rest is what a client sends.
//! Shared by the fuzz target and by the test that replays the corpus.

use stompbox::stomp::{DecodeError, Decoder, Frame, Limits, Version, encode};

/// Checks one input; panics when something does not hold.
pub(crate) fn check(input: &[u8]) {
    let Some((pick, octets)) = input.split_first() else {
        return;
    };
    let version = Version::ALL[usize::from(*pick) % Version::ALL.len()];
    let limits = if pick & 0x80 == 0 {
        Limits::default()
    } else {
        Limits::new(24, 3, 16, 64, 64).expect("valid limits")
    };
    let whole = decode(limits, version, octets, octets.len().max(1));
    let cut = decode(limits, version, octets, 1 + usize::from(*pick & 0x7f) / 3);
    let single = decode(limits, version, octets, 1);
    assert_eq!(whole, cut, "pieces give the same as the whole");
    assert_eq!(whole, single, "single octets give the same as the whole");

    // Escaped anew a head may be longer than it was, and `content-length` is one header more.
    let roomy = Limits::new(1 << 20, 1024, 1 << 20, 1 << 20, 1 << 20).expect("valid limits");
    for frame in &whole.0 {
        let octets = encode(frame, version);
        let (again, error) = decode(roomy, version, &octets, octets.len());
        assert_eq!(
            error, None,
            "what was decoded encodes to something that decodes"
        );
        assert_eq!(again.len(), 1);
        assert_eq!(
            (again[0].command, &again[0].body),
            (frame.command, &frame.body)
        );
        let names = |frame: &Frame| {
            frame
                .headers
                .iter()
                .filter(|h| h.0 != "content-length")
                .count()
        };
        assert_eq!(names(&again[0]), names(frame), "no header becomes two");
    }
}

/// How it failed, and the receipt that an ERROR would name.
type Failure = (DecodeError, Option<Box<str>>);

fn decode(
    limits: Limits,
    version: Version,
    octets: &[u8],
    piece: usize,
) -> (Vec<Frame>, Option<Failure>) {
    let mut decoder = Decoder::new(limits);
    decoder.set_authenticated();
    let mut frames = Vec::new();
    for piece in octets.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next(version) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    let receipt = decoder.receipt_amid_frame(version);
                    return (frames, Some((error, receipt)));
                }
            }
        }
        let most = limits.head_bytes_max() + limits.body_bytes_max() + 2;
        assert!(
            decoder.buffered() <= most,
            "no more is kept than the limits allow"
        );
    }
    (frames, None)
}
