//! What frames cost: decoding a SEND at once and octet by octet, encoding a MESSAGE.
//!
//! Not here: sockets and fan-out. Run with `cargo bench --bench codec`; figures are per frame, and
//! what counts are the ratios within one run.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stompbox::stomp::{Decoder, Limits, Message, Version, encode};

/// Sizes of bodies, in octets.
const BODIES: [usize; 2] = [128, 4096];

/// A SEND as STOMP.js writes it.
fn send(body: usize) -> Vec<u8> {
    let head = "SEND\ndestination:/app/chat.send\nreceipt:receipt-17\n\
                content-type:application/json\n";
    let body = "x".repeat(body);
    format!("{head}content-length:{}\n\n{body}\0", body.len()).into_bytes()
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_send");
    for body in BODIES {
        let wire = send(body);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(BenchmarkId::new("at_once", body), &wire, |bencher, wire| {
            let mut decoder = Decoder::new(Limits::default());
            bencher.iter(|| {
                decoder.push(black_box(wire));
                black_box(decoder.next(Version::V1_2))
            });
        });
        group.bench_with_input(
            BenchmarkId::new("by_octets", body),
            &wire,
            |bencher, wire| {
                let mut decoder = Decoder::new(Limits::default());
                bencher.iter(|| {
                    let mut frames = 0;
                    for octet in black_box(wire).chunks(1) {
                        decoder.push(octet);
                        frames += usize::from(matches!(decoder.next(Version::V1_2), Ok(Some(_))));
                    }
                    assert_eq!(frames, 1);
                });
            },
        );
    }
    group.finish();
}

fn encode_message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode_message");
    let headers = [("x-client".into(), "a:b".into())];
    for body in BODIES {
        let octets = vec![b'x'; body];
        let message = Message {
            version: Version::V1_2,
            subscription: Some("sub-0"),
            destination: "/topic/room.01j9zq4x5w8m7c3b2n1k0d9f8g",
            message_id: "01j9zq4x5w8m7c3b2n1k0d9f8g",
            content_type: Some("application/json;charset=utf-8"),
            headers: &headers,
            body: &octets,
        };
        group.throughput(Throughput::Bytes(encode::message(&message).len() as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(body),
            &message,
            |bencher, it| {
                bencher.iter(|| encode::message(black_box(it)));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, decode, encode_message);
criterion_main!(benches);
