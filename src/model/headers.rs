//! The headers that travel with a message, and how much they are.
//!
//! Not here: headers on the wire (`stomp`). Invariant: what is charged for headers is not less than what they take: a
//! client may send many whose texts are next to nothing.

/// Names and values, in the order in which they were sent.
pub type MessageHeaders = Vec<(Box<str>, Box<str>)>;

/// What a header takes besides its texts: its place in a list that may be half empty, and what two allocations round
/// up.
const HEADER_BYTES: usize = 96;

/// How long their texts are.
#[must_use]
pub fn text_bytes(headers: &[(Box<str>, Box<str>)]) -> usize {
    let lengths = headers.iter().map(|(name, value)| name.len() + value.len());
    lengths.sum()
}

/// About how much memory they take besides their texts.
#[must_use]
pub fn list_bytes(headers: &[(Box<str>, Box<str>)]) -> usize {
    headers.len() * HEADER_BYTES
}

/// About how much memory they take.
#[must_use]
pub fn kept_bytes(headers: &[(Box<str>, Box<str>)]) -> usize {
    text_bytes(headers) + list_bytes(headers)
}
