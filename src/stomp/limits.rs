//! The limits of a frame, as a record that is checked when it is made.

/// How large a frame may be. All in octets, but for the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The body.
    pub body_bytes_max: usize,
    /// The number of headers.
    pub headers_max: usize,
    /// One header line.
    pub header_bytes_max: usize,
    /// Command and headers together.
    pub head_bytes_max: usize,
    /// Command and headers together before the client is authenticated.
    pub head_bytes_unauthenticated_max: usize,
}
