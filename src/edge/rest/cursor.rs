//! Cursors: where a list goes on, as a text that only this service can write.
//!
//! Not here: the lists. Invariant: a cursor opens only the list and the user that it was made for, for
//! 24 hours.
//!
//! ```text
//! cursor = base64url(expiry in Unix ms, 8 octets | first 16 octets of the MAC | where)
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::keys::RestKey;
use crate::model::{Code, Problem, UnixMillis};

/// How long a cursor is taken.
const LIFE: Duration = Duration::from_secs(86_400);

/// Longer than any cursor that is given out.
const TEXT_MAX: usize = 512;

/// A list of somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Whose it is.
    pub(super) of: &'a str,
}

impl List<'_> {
    /// The cursor that goes on here.
    pub(super) fn cursor(self, key: &RestKey, now: UnixMillis, place: &str) -> String {
        let expiry = now.after(LIFE).0.to_be_bytes();
        let mac = self.mac(key, &expiry, place);
        URL_SAFE_NO_PAD.encode([&expiry[..], &mac, place.as_bytes()].concat())
    }

    /// Where a cursor goes on, as a value of its type.
    pub(super) fn place<T: std::str::FromStr>(
        self,
        key: &RestKey,
        now: UnixMillis,
        cursor: Option<&str>,
    ) -> Result<Option<T>, Problem> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        let place = self
            .read(key, now, cursor)
            .and_then(|place| place.parse().ok());
        place.map(Some).ok_or_else(|| {
            let words = "Take the next_cursor of the page before; it is valid for 24 hours.";
            Problem::new(Code::ValidationFailed, words).in_field("cursor")
        })
    }

    fn read(self, key: &RestKey, now: UnixMillis, cursor: &str) -> Option<String> {
        let octets = (cursor.len() <= TEXT_MAX)
            .then(|| URL_SAFE_NO_PAD.decode(cursor).ok())
            .flatten()?;
        let (expiry, rest) = octets.split_first_chunk::<8>()?;
        let (mac, place) = rest.split_first_chunk::<16>()?;
        let place = std::str::from_utf8(place).ok()?;
        let is_genuine: bool = self.mac(key, expiry, place).ct_eq(mac).into();
        let is_fresh = UnixMillis(u64::from_be_bytes(*expiry)) > now;
        (is_genuine && is_fresh).then(|| place.to_owned())
    }

    fn mac(self, key: &RestKey, expiry: &[u8], place: &str) -> [u8; 16] {
        let (name, of) = (self.name.as_bytes(), self.of.as_bytes());
        key.mac(&[b"cursor", name, of, expiry, place.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_its_own_list_for_a_day() {
        let key = RestKey::derive(b"k");
        let (list, now) = (
            List {
                name: "export",
                of: "user_a",
            },
            UnixMillis(1_000),
        );
        let cursor = list.cursor(&key, now, "42");
        let read = |list: List<'_>, now, cursor: &str| {
            list.place::<u32>(&key, now, Some(cursor))
                .map_err(|problem| problem.code)
        };
        assert_eq!(read(list, now, &cursor), Ok(Some(42)));
        assert_eq!(list.place::<u32>(&key, now, None), Ok(None));
        let refused = Err(Code::ValidationFailed);
        assert_eq!(read(list, now.after(LIFE), &cursor), refused);
        assert_eq!(
            read(
                List {
                    of: "user_b",
                    ..list
                },
                now,
                &cursor
            ),
            refused
        );
        assert_eq!(
            read(
                List {
                    name: "audit",
                    ..list
                },
                now,
                &cursor
            ),
            refused
        );
        assert_eq!(read(list, now, &format!("{cursor}A")), refused);
        assert_eq!(read(list, now, "42"), refused);
        assert_eq!(read(list, now, &"A".repeat(10_000)), refused);
    }
}
