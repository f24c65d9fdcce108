//! The limits of a frame, as a record that is checked when it is made.
//!
//! Not here: the settings that they come from (`node`). Invariant: every value of [`Limits`] can
//! be kept by a decoder: nothing is zero, and what is part of something is not larger than it.

/// The largest body that may be configured, in octets.
pub const BODY_BYTES_CEILING: usize = 16 * 1024 * 1024;
/// The largest head that may be configured, in octets.
pub const HEAD_BYTES_CEILING: usize = 1024 * 1024;

/// How large a frame may be. All in octets, but for the count. Every idle connection has them, so they
/// are packed: no ceiling needs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    body_bytes_max: u32,
    headers_max: u32,
    header_bytes_max: u32,
    head_bytes_max: u32,
    head_bytes_unauthenticated_max: u32,
}

/// Limits that contradict themselves. Tell the operator, whose setting it is, and do not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {found}; allowed is {least} to {most}")]
pub struct InvalidLimits {
    /// The name of the limit.
    pub name: &'static str,
    /// What it was to be.
    pub found: usize,
    /// The least that is allowed.
    pub least: usize,
    /// The most that is allowed, beside the other limits.
    pub most: usize,
}

impl Limits {
    /// Limits of the body, the number of headers, one header line, the head, and the head before
    /// the client is authenticated.
    ///
    /// # Errors
    /// When one is not within its bounds: a body from 1 octet to [`BODY_BYTES_CEILING`], 1 to 1,024
    /// headers, a head from 64 octets to [`HEAD_BYTES_CEILING`], a header line and the head of an
    /// unauthenticated client no larger than the head.
    pub fn new(
        body_bytes_max: usize,
        headers_max: usize,
        header_bytes_max: usize,
        head_bytes_max: usize,
        head_bytes_unauthenticated_max: usize,
    ) -> Result<Self, InvalidLimits> {
        let check = |name, found, least, most| {
            if (least..=most).contains(&found) {
                Ok(small(found))
            } else {
                Err(InvalidLimits {
                    name,
                    found,
                    least,
                    most,
                })
            }
        };
        let head = check("head_bytes_max", head_bytes_max, 64, HEAD_BYTES_CEILING)?;
        Ok(Self {
            body_bytes_max: check("body_bytes_max", body_bytes_max, 1, BODY_BYTES_CEILING)?,
            headers_max: check("headers_max", headers_max, 1, 1024)?,
            header_bytes_max: check("header_bytes_max", header_bytes_max, 16, head_bytes_max)?,
            head_bytes_max: head,
            head_bytes_unauthenticated_max: check(
                "head_bytes_unauthenticated_max",
                head_bytes_unauthenticated_max,
                64,
                head_bytes_max,
            )?,
        })
    }

    /// The body.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max as usize
    }

    /// The number of headers.
    #[must_use]
    pub fn headers_max(&self) -> usize {
        self.headers_max as usize
    }

    /// One header line.
    #[must_use]
    pub fn header_bytes_max(&self) -> usize {
        self.header_bytes_max as usize
    }

    /// Command and headers together.
    #[must_use]
    pub fn head_bytes_max(&self) -> usize {
        self.head_bytes_max as usize
    }

    /// Command and headers together before the client is authenticated.
    #[must_use]
    pub fn head_bytes_unauthenticated_max(&self) -> usize {
        self.head_bytes_unauthenticated_max as usize
    }
}

impl Default for Limits {
    /// 64 KiB of body, 64 headers of 8 KiB, 32 KiB of head, 16 KiB before authentication.
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            headers_max: 64,
            header_bytes_max: 8 * 1024,
            head_bytes_max: 32 * 1024,
            head_bytes_unauthenticated_max: 16 * 1024,
        }
    }
}

/// No ceiling is beyond this.
fn small(found: usize) -> u32 {
    u32::try_from(found).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_contradict_themselves_are_refused_by_name() {
        let name = |body, headers, line, head, early| {
            Limits::new(body, headers, line, head, early)
                .err()
                .map(|e| e.name)
        };
        assert_eq!(name(65_536, 64, 8_192, 32_768, 16_384), None);
        assert_eq!(name(0, 64, 8_192, 32_768, 16_384), Some("body_bytes_max"));
        let huge = BODY_BYTES_CEILING + 1;
        assert_eq!(name(huge, 64, 64, 64, 64), Some("body_bytes_max"));
        assert_eq!(name(1, 0, 64, 64, 64), Some("headers_max"));
        assert_eq!(name(1, 1, 65, 64, 64), Some("header_bytes_max"));
        assert_eq!(name(1, 1, 64, 63, 63), Some("head_bytes_max"));
        assert_eq!(
            name(1, 1, 64, 64, 65),
            Some("head_bytes_unauthenticated_max")
        );
    }

    #[test]
    fn the_default_is_valid() {
        let it = Limits::default();
        let again = Limits::new(
            it.body_bytes_max(),
            it.headers_max(),
            it.header_bytes_max(),
            it.head_bytes_max(),
            it.head_bytes_unauthenticated_max(),
        );
        assert_eq!(again, Ok(it));
    }
}
