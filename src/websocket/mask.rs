//! The mask of a client's frames (RFC 6455 section 5.3).

/// Undoes the mask in place. `at` is how much of the payload came before; returns how much has come
/// after.
pub(super) fn unmask(octets: &mut [u8], key: [u8; 4], at: u8) -> u8 {
    let mut turned = key;
    turned.rotate_left(usize::from(at % 4));
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = octets.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(turned.iter().cycle()) {
        *octet ^= key;
    }
    // Only the remainder counts.
    ((usize::from(at) + octets.len()) % 4) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_undone_wherever_the_payload_is_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..100).collect();
        let keys = key.iter().cycle();
        let masked: Vec<u8> = plain.iter().zip(keys).map(|(o, k)| o ^ k).collect();
        for cut in 0..plain.len() {
            let mut octets = masked.clone();
            let (before, after) = octets.split_at_mut(cut);
            let at = unmask(before, key, 0);
            unmask(after, key, at);
            assert_eq!(octets, plain, "cut at {cut}");
        }
    }
}
