//! The fields of parcels: numbers, texts and names, one after the other.
//!
//! Not here: which fields there are (`envelope`). Invariant: what is put is read back, and a field that ends early or has
//! a value that it cannot have is malformed.

use std::net::Ipv6Addr;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::ParcelError;
use crate::model::network::Network;

pub(super) fn length(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// A text of at most 255 octets; ids are never longer.
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    debug_assert!(text.len() <= 255, "an id of more than 255 octets");
    out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.put_slice(text.as_bytes());
}

pub(super) fn put_long(out: &mut BytesMut, octets: &[u8]) {
    out.put_u32(length(octets.len()));
    out.put_slice(octets);
}

pub(super) fn get(octets: &mut Bytes, count: impl TryInto<usize>) -> Result<Bytes, ParcelError> {
    let count = count.try_into().map_err(|_| ParcelError::Malformed)?;
    if octets.len() < count {
        return Err(ParcelError::Malformed);
    }
    Ok(octets.split_to(count))
}

pub(super) fn get_u32(octets: &mut Bytes) -> Result<u32, ParcelError> {
    Ok(get(octets, 4)?.get_u32())
}

pub(super) fn get_u64(octets: &mut Bytes) -> Result<u64, ParcelError> {
    Ok(get(octets, 8)?.get_u64())
}

pub(super) fn get_long(octets: &mut Bytes) -> Result<Bytes, ParcelError> {
    let count = get_u32(octets)?;
    get(octets, count)
}

pub(super) fn get_text(octets: &mut Bytes) -> Result<String, ParcelError> {
    String::from_utf8(get_long(octets)?.to_vec()).map_err(|_| ParcelError::Malformed)
}

/// Nothing follows in an envelope of an older node.
pub(super) fn get_network(octets: &mut Bytes) -> Result<Option<Network>, ParcelError> {
    if octets.is_empty() {
        return Ok(None);
    }
    let address = Ipv6Addr::from(get(octets, 16)?.get_u128());
    Ok(Some(Network::of(address.into())))
}

pub(super) fn get_short(octets: &mut Bytes) -> Result<String, ParcelError> {
    let count = get(octets, 1)?[0];
    String::from_utf8(get(octets, count)?.to_vec()).map_err(|_| ParcelError::Malformed)
}

pub(super) fn get_name<T: std::str::FromStr>(octets: &mut Bytes) -> Result<T, ParcelError> {
    get_short(octets)?
        .parse()
        .map_err(|_| ParcelError::Malformed)
}
