//! Frames as octets (to be replaced by the complete encoder).
use super::Version;
use bytes::{BufMut, Bytes, BytesMut};

/// The head of a MESSAGE.
#[derive(Debug)]
pub struct MessageHead<'a> {
    /// Subscription id.
    pub subscription: Option<&'a str>,
    /// Destination.
    pub destination: &'a str,
    /// Message id.
    pub message_id: &'a str,
    /// Content type.
    pub content_type: Option<&'a str>,
    /// Others.
    pub headers: &'a [(Box<str>, Box<str>)],
}

/// Encodes.
#[must_use]
pub fn message(_version: Version, head: &MessageHead<'_>, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + body.len());
    out.put_slice(b"MESSAGE\n");
    let mut put = |n: &str, v: &str| {
        out.put_slice(n.as_bytes());
        out.put_u8(b':');
        out.put_slice(v.as_bytes());
        out.put_u8(b'\n');
    };
    if let Some(s) = head.subscription {
        put("subscription", s);
    }
    put("destination", head.destination);
    put("message-id", head.message_id);
    for (n, v) in head.headers {
        put(n, v);
    }
    out.put_u8(b'\n');
    out.put_slice(body);
    out.put_u8(0);
    out.freeze()
}
