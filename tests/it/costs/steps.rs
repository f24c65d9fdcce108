//! The steps of which requests are made, each alone.

use std::net::IpAddr;

use ipnet::IpNet;
use stompbox::identity::client_address;
use stompbox::model::Pattern;
use stompbox::sockjs::{quote_into, read_messages};
use stompbox::stomp::{Decoder, Limits, Version};
use stompbox::websocket;
use unicode_normalization::UnicodeNormalization as _;

use super::{all_hold, hold};
use crate::support::cpu;

/// The largest body of a STOMP frame and of a request of REST.
const BODY: usize = 64 << 10;

/// The largest head of a request of HTTP.
const HEAD: usize = 16 << 10;

/// The largest body of `xhr_send`: three times the longest frame, and 64 KiB.
const SOCKJS_BODY: usize = 355 << 10;

/// The same text again and again, up to a length in bytes.
fn filled(pattern: &str, bytes: usize) -> String {
    pattern.repeat(bytes / pattern.len())
}

#[test]
fn a_text_is_normalised_in_bounded_time() {
    let normalised = |pattern: &str| {
        let text = filled(pattern, BODY);
        hold(
            &format!("NFC of {pattern:?}"),
            cpu::of(|| text.nfc().count()),
            3.3,
        )
    };
    all_hold([
        normalised("e\u{301}"),
        // One run of marks, which must be sorted: in order, against it, and of one class.
        normalised("\u{301}"),
        normalised("\u{301}\u{316}"),
        normalised("\u{345}\u{301}\u{316}\u{334}"),
        normalised("\u{1fa7}"),
        normalised("\u{fdfa}"),
        normalised("각"),
        normalised("\u{1100}\u{1161}\u{11a8}"),
    ]);
}

#[test]
fn frames_are_decoded_in_bounded_time() {
    let decoded = |name: &str, frame: &str, bytes: usize, bound_ms: f64| {
        let octets = filled(frame, bytes);
        let limits = Limits::default();
        let cost = cpu::of(|| {
            let mut decoder = Decoder::new(limits);
            decoder.set_authenticated();
            decoder.push(octets.as_bytes());
            let mut frames = 0;
            while let Ok(Some(_)) = decoder.next(Version::V1_2) {
                frames += 1;
            }
            frames
        });
        hold(&format!("64 KiB of STOMP: {name}"), cost, bound_ms)
    };
    let escapes = "\\c".repeat(250);
    let headers: String = (0..60).map(|n| format!("h{n}:{escapes}\n")).collect();
    all_hold([
        decoded("EOLs", "\n", BODY, 0.15),
        decoded("the shortest frames", "ACK\n\n\0", BODY, 3.3),
        decoded(
            "64 headers each",
            &format!("SEND\n{}\n\0", "a:\n".repeat(64)),
            BODY,
            7.0,
        ),
        decoded("escapes", &format!("SEND\n{headers}\n\0"), BODY, 1.3),
        decoded(
            "one body",
            &format!("SEND\n\n{}\0", "x".repeat(BODY - 8)),
            BODY,
            0.05,
        ),
    ]);
}

#[test]
fn fragments_are_decoded_in_bounded_time() {
    // A text message in pieces of three bytes, masked with zeros: no smaller ones may go on for long.
    let mut octets = b"\x01\x83\0\0\0\0xxx".to_vec();
    while octets.len() + 9 <= BODY {
        octets.extend(b"\x00\x83\0\0\0\0xxx");
    }
    let cost = cpu::of(|| {
        let mut octets = octets.clone();
        let (mut decoder, mut left) = (websocket::Decoder::new(BODY), &mut octets[..]);
        let mut pieces = 0;
        while let Ok(Some(_)) = decoder.next(&mut left) {
            pieces += 1;
        }
        assert!(pieces > 7_000, "{pieces}");
    });
    all_hold([hold(
        "64 KiB of WebSocket in pieces of three bytes",
        cost,
        0.75,
    )]);
}

#[test]
fn strings_of_sockjs_are_read_and_written_in_bounded_time() {
    let read = |name: &str, body: String| {
        let cost = cpu::of(|| read_messages(body.as_bytes()).map(|messages| messages.len()));
        hold(&format!("355 KiB of SockJS: {name}"), cost, 8.0)
    };
    let text = |item: &str| format!("[\"{}\"]", filled(item, SOCKJS_BODY));
    let array = |item: &str| format!("[{}\"\"]", filled(&format!("{item},"), SOCKJS_BODY));
    let long = format!("\"{}\"", "x".repeat(85));
    let controls = filled("\u{1}", BODY);
    let written = cpu::of(|| {
        let mut out = String::new();
        quote_into(&mut out, &controls);
        out
    });
    all_hold([
        read("escapes", text("\\u0001")),
        read("short escapes", text("\\n")),
        read("pairs", text("\\ud83d\\ude00")),
        read("halves of pairs", text("\\ud800")),
        read("no end", text("\\ud800").replace(']', "")),
        read("as many strings as may be", array(&long)),
        read("too many strings", array("\"\"")),
        read("white space", format!("[{}", filled(" ", SOCKJS_BODY))),
        hold("64 KiB of controls written for SockJS", written, 6.5),
    ]);
}

#[test]
fn a_destination_is_compared_with_every_pattern_in_bounded_time() {
    // As alike as can be: the difference is in the last of 32 segments, and all are long.
    let stem = format!("/topic/{}", "aaaaaa.".repeat(30));
    let patterns: Vec<_> = (0..1_000)
        .map(|number| Pattern::parse(&format!("{stem}{number}*")).unwrap())
        .collect();
    let wild: Vec<_> = (0..1_000)
        .map(|number| Pattern::parse(&format!("/topic/{}{number}", "*.".repeat(30))).unwrap())
        .collect();
    let destination = format!("{stem}x");
    let compared = |patterns: &[Pattern]| {
        let found = patterns.iter().filter(|it| it.matches(&destination));
        found.count()
    };
    all_hold([
        hold("1,000 patterns alike", cpu::of(|| compared(&patterns)), 1.6),
        hold("1,000 patterns of `*`", cpu::of(|| compared(&wild)), 1.4),
    ]);
}

#[test]
fn the_address_of_a_client_is_found_in_bounded_time() {
    let peer: IpAddr = "127.0.0.1".parse().unwrap();
    let trusted: Vec<IpNet> = (0..64)
        .map(|n| format!("10.{n}.0.0/16").parse().unwrap())
        .chain(["127.0.0.0/8".parse().unwrap()])
        .collect();
    let mut found = Vec::new();
    for hop in [",127.0.0.1", ",[::1]:1", ",x", ","] {
        let line = filled(hop, HEAD);
        let cost = cpu::of(|| client_address(peer, &[&line], &trusted));
        found.push(hold(
            &format!("16 KiB of X-Forwarded-For {hop:?}"),
            cost,
            1.3,
        ));
    }
    all_hold(found);
}
