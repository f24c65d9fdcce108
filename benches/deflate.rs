//! What permessage-deflate (RFC 7692) would save of STOMP frames, and what it would cost.
//!
//! `cargo bench --bench deflate` compresses chat messages as the broker sends them: each frame for
//! itself (`server_no_context_takeover`: the octets are the same for every subscriber, so a fan-out
//! compresses once), and as one stream per connection (context takeover: every connection has its
//! own dictionary, so everything is compressed for everybody). Not here: a WebSocket. Invariant: what
//! is compressed is what the encoder of the broker writes.

use std::io::Write as _;
use std::time::Instant;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde_json::json;
use stompbox::stomp::{Message, Version, encode};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How many messages a case has.
const MESSAGES: usize = 2_000;
/// How many connections are made to see what one keeps.
const CONNECTIONS: usize = 500;
/// Levels of compression: the fastest, and zlib's default.
const LEVELS: [u32; 2] = [1, 6];
/// RFC 7692, section 7.2.1: these four octets end every flush and are left out.
const TAIL: usize = 4;

fn main() -> Outcome<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        return say("To measure: cargo bench --bench deflate");
    }
    say("| text | octets | level | context | left | us/message |")?;
    say("|---|---|---|---|---|---|")?;
    for words in [6, 30, 200] {
        let frames: Vec<Vec<u8>> = (0..MESSAGES).map(|number| frame(number, words)).collect();
        let octets: usize = frames.iter().map(Vec::len).sum();
        for level in LEVELS {
            for takes_over in [false, true] {
                let (left, micros) = deflate(&frames, level, takes_over)?;
                say(&format!(
                    "| {words} words | {} | {level} | {} | {:.0} % | {micros:.1} |",
                    octets / MESSAGES,
                    if takes_over { "kept" } else { "none" },
                    left as f64 * 100.0 / octets as f64,
                ))?;
            }
        }
    }
    let per_connection = contexts()?;
    say(&format!(
        "\nKept contexts: {per_connection:.0} KiB per connection (both directions)"
    ))
}

/// A chat message as a subscriber gets it.
fn frame(number: usize, words: usize) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "the",
        "message",
        "was",
        "sent",
        "yesterday",
        "evening",
        "and",
        "nobody",
        "answered",
        "until",
        "morning",
        "when",
        "she",
        "wrote",
        "back",
        "about",
        "lunch",
        "at",
        "noon",
        "in",
        "front",
        "of",
        "library",
        "안녕하세요",
    ];
    let pick = |index: usize| WORDS[(number * 7 + index * 11 + index * index) % WORDS.len()];
    let text: Vec<&str> = (0..words).map(pick).collect();
    let body = json!({
        "type": "CHAT",
        "id": format!("01j9{:022x}", number * 7_919),
        "client_id": format!("c{number}"),
        "from": "user_0123456789abc",
        "from_name": "Guest 9abc",
        "to": "user_zyxwvtsrqpnmk",
        "room_id": "room_01j9zzzzzzzzzzzzzzzzzzzzzz",
        "message": text.join(" "),
        "seq": number,
        "epoch": "a1",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "echo": false,
    });
    let octets = encode::message(&Message {
        version: Version::V1_2,
        subscription: Some("sub-0"),
        destination: "/user/queue/messages",
        message_id: &format!("01j9{:022x}", number * 7_919),
        content_type: Some("application/json;charset=utf-8"),
        headers: &[],
        body: body.to_string().as_bytes(),
    });
    octets.to_vec()
}

/// The octets that are left of all frames, and the microseconds that one takes.
fn deflate(frames: &[Vec<u8>], level: u32, takes_over: bool) -> Outcome<(usize, f64)> {
    let mut compress = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(64 << 10);
    let mut left = 0;
    let begin = Instant::now();
    for frame in frames {
        out.clear();
        if !takes_over {
            compress.reset();
        }
        let status = compress.compress_vec(frame, &mut out, FlushCompress::Sync)?;
        if status != Status::Ok {
            return Err(format!("a frame was not compressed: {status:?}").into());
        }
        left += out.len() - TAIL;
    }
    let micros = begin.elapsed().as_secs_f64() * 1e6 / frames.len() as f64;
    Ok((left, micros))
}

/// KiB of resident memory of one connection that keeps its contexts, after a message each way.
fn contexts() -> Outcome<f64> {
    let message = frame(1, 30);
    let before = resident()?;
    let mut kept = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut compress = Compress::new(Compression::new(1), false);
        let mut decompress = Decompress::new(false);
        let mut out = Vec::with_capacity(4 << 10);
        compress.compress_vec(&message, &mut out, FlushCompress::Sync)?;
        let mut back = Vec::with_capacity(4 << 10);
        decompress.decompress_vec(&out, &mut back, FlushDecompress::Sync)?;
        if back != message {
            return Err("what was compressed does not come back".into());
        }
        kept.push((compress, decompress));
    }
    let per_connection = (resident()? - before) / CONNECTIONS as f64;
    drop(kept);
    Ok(per_connection)
}

/// The resident memory of this process in KiB.
fn resident() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    Ok(kib.ok_or("/proc/self/status is strange")?.trim().parse()?)
}

fn say(text: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
