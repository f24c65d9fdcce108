//! Frames: decoding a SEND at once and octet by octet, encoding a MESSAGE.
//!
//! Invariant: a SEND is as STOMP.js writes it.

use std::hint::black_box;

use stompbox::stomp::{Decoder, Limits, Message, Version, encode};

use super::people::body;
use super::{Case, Made};

pub(super) const CASES: &[Case] = &[
    Case::new("codec/decode_send_128", || at_once(128)),
    Case::new("codec/decode_send_4096", || at_once(4096)),
    Case::new("codec/decode_send_128_by_octets", by_octets),
    Case::new("codec/encode_message_128", || encode_message(128)),
    Case::new("codec/encode_message_4096", || encode_message(4096)),
];

fn send(body_bytes: usize) -> Vec<u8> {
    let head = "SEND\ndestination:/app/chat.send\nreceipt:receipt-17\n\
                content-type:application/json\n";
    let body = body(body_bytes);
    format!("{head}content-length:{body_bytes}\n\n{body}\0").into_bytes()
}

fn at_once(body_bytes: usize) -> Made {
    let wire = send(body_bytes);
    let mut decoder = Decoder::new(Limits::default());
    Ok(Box::new(move || {
        decoder.push(black_box(&wire));
        let frame = decoder.next(Version::V1_2);
        assert!(matches!(frame, Ok(Some(_))));
        black_box(frame).ok();
    }))
}

fn by_octets() -> Made {
    let wire = send(128);
    let mut decoder = Decoder::new(Limits::default());
    Ok(Box::new(move || {
        let mut frames = 0;
        for octet in black_box(&wire).chunks(1) {
            decoder.push(octet);
            frames += usize::from(matches!(decoder.next(Version::V1_2), Ok(Some(_))));
        }
        assert_eq!(frames, 1);
    }))
}

fn encode_message(body_bytes: usize) -> Made {
    let headers = [("x-client".into(), "a:b".into())];
    let octets = body(body_bytes);
    Ok(Box::new(move || {
        let message = Message {
            version: Version::V1_2,
            subscription: Some("sub-0"),
            destination: "/topic/room.01j9zq4x5w8m7c3b2n1k0d9f8g",
            message_id: "01j9zq4x5w8m7c3b2n1k0d9f8g",
            content_type: Some("application/json;charset=utf-8"),
            headers: &headers,
            body: octets.as_bytes(),
        };
        black_box(encode::message(black_box(&message)));
    }))
}
