//! The fields of parcels: numbers, texts and names, one after the other.
//!
//! Not here: which fields there are (`envelope`). Invariant: what is put is read back, and a field that ends early or has
//! a value that it cannot have is malformed.

use std::net::Ipv6Addr;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::ParcelError;
use crate::model::network::Network;

#[inline]
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A text of at most 255 bytes; ids are never longer.
#[inline]
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    debug_assert!(text.len() <= 255, "an id of more than 255 bytes");
    out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.put_slice(text.as_bytes());
}

#[inline]
pub(super) fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(length(bytes.len()));
    out.put_slice(bytes);
}

#[inline]
pub(super) fn get(from: &mut Bytes, count: impl TryInto<usize>) -> Result<Bytes, ParcelError> {
    let count = count.try_into().map_err(|_| ParcelError::Malformed)?;
    if from.len() < count {
        return Err(ParcelError::Malformed);
    }
    Ok(from.split_to(count))
}

#[inline]
pub(super) fn get_u32(from: &mut Bytes) -> Result<u32, ParcelError> {
    from.try_get_u32().map_err(|_| ParcelError::Malformed)
}

#[inline]
pub(super) fn get_u64(from: &mut Bytes) -> Result<u64, ParcelError> {
    from.try_get_u64().map_err(|_| ParcelError::Malformed)
}

#[inline]
pub(super) fn get_long(from: &mut Bytes) -> Result<Bytes, ParcelError> {
    let count = get_u32(from)?;
    get(from, count)
}

#[inline]
pub(super) fn get_text(from: &mut Bytes) -> Result<String, ParcelError> {
    let count = get_u32(from)? as usize;
    get_utf8(from, count)
}

/// A text of this length, copied out without a reference to the whole in between.
fn get_utf8(from: &mut Bytes, count: usize) -> Result<String, ParcelError> {
    let text = from.get(..count).ok_or(ParcelError::Malformed)?;
    let text = std::str::from_utf8(text).map_err(|_| ParcelError::Malformed)?;
    let text = text.to_owned();
    from.advance(count);
    Ok(text)
}

/// Nothing follows in an envelope of an older node.
#[inline]
pub(super) fn get_network(from: &mut Bytes) -> Result<Option<Network>, ParcelError> {
    if from.is_empty() {
        return Ok(None);
    }
    let prefix = from.try_get_u128().map_err(|_| ParcelError::Malformed)?;
    let address = Ipv6Addr::from(prefix);
    Ok(Some(Network::of(address.into())))
}

pub(super) fn get_short(from: &mut Bytes) -> Result<String, ParcelError> {
    let count = from.try_get_u8().map_err(|_| ParcelError::Malformed)?;
    get_utf8(from, usize::from(count))
}

pub(super) fn get_name<T: std::str::FromStr>(from: &mut Bytes) -> Result<T, ParcelError> {
    get_short(from)?.parse().map_err(|_| ParcelError::Malformed)
}
