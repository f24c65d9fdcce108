//! What holds for any messages, cut in any way.

use proptest::prelude::*;

use super::tables::{Seen, decode, frame};

/// What a client sends: messages in fragments, with control frames between.
fn sent() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, bool)>> {
    let fragments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4);
    prop::collection::vec((fragments, any::<bool>()), 0..6)
}

proptest! {
    #[test]
    fn octets_split_in_any_way_give_the_same_messages(
        sent in sent(),
        sizes in prop::collection::vec(1usize..40, 1..30),
    ) {
        let mut octets = Vec::new();
        let mut expected = Vec::new();
        for (fragments, pings) in &sent {
            for (index, fragment) in fragments.iter().enumerate() {
                let opcode = if index == 0 { 2 } else { 0 };
                let fin = if index + 1 == fragments.len() { 0x80 } else { 0 };
                octets.extend(frame(fin | opcode, fragment));
                if *pings && fin == 0 {
                    octets.extend(frame(0x89, b"?"));
                    expected.push(Seen::Pong(b"?".to_vec()));
                }
            }
            expected.push(Seen::Message(fragments.concat()));
        }
        let mut pieces = Vec::new();
        let mut left = &octets[..];
        for size in sizes.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (piece, after) = left.split_at((*size).min(left.len()));
            pieces.push(piece.to_vec());
            left = after;
        }
        prop_assert_eq!(decode(1 << 20, &mut pieces), (expected, false));
    }

    #[test]
    fn any_octets_are_survived_and_however_cut_seen_alike(
        octets in prop::collection::vec(any::<u8>(), 0..400),
        size in 1usize..30,
    ) {
        let whole = decode(1_000, &mut [octets.clone()]);
        let mut pieces: Vec<_> = octets.chunks(size).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(decode(1_000, &mut pieces), whole);
    }
}
