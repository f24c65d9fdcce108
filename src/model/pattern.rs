//! Destinations with wildcards, as a SUBSCRIBE and a rule may name them.
//!
//! `*` stands for one segment; `**` or `#` at the end stands for the rest, which may be nothing.
//! Segments end at `/` and at `.`, so that both Spring's `/topic/price.*` and RabbitMQ's `a.*.#` mean
//! what they mean there. Not here: who may use them (`policy`). Invariant: matching looks at each
//! segment once, whatever the pattern says.

use std::sync::Arc;

/// A destination with wildcards, or without any: then it stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

/// The most segments that a pattern has, so that matching is a matter of so many comparisons.
pub const SEGMENTS_MAX: usize = 32;

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Something follows `**` or `#`: leave it out, or write `*` for the segments before it.
    #[error("`**` and `#` stand for the rest, so they come last")]
    RestBeforeEnd,
    /// It is too long: end it with `**` earlier.
    #[error("a pattern has at most 32 segments")]
    TooManySegments,
}

/// A segment with the separator before it.
type Segment<'a> = (u8, &'a str);

/// Whether a text has a wildcard.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    segments(text).any(|(_, segment)| segment == "*" || is_rest(segment))
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When something follows `**` or `#`, or when it has more than [`SEGMENTS_MAX`] segments.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if segments(text).nth(SEGMENTS_MAX).is_some() {
            return Err(InvalidPattern::TooManySegments);
        }
        let mut segments = segments(text).skip_while(|(_, segment)| !is_rest(segment));
        let _the_rest = segments.next();
        match segments.next() {
            Some(_) => Err(InvalidPattern::RestBeforeEnd),
            None => Ok(Self(text.into())),
        }
    }

    /// The text that was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this destination, among others.
    #[must_use]
    pub fn matches(&self, destination: &str) -> bool {
        let mut others = segments(destination);
        for (separator, segment) in segments(&self.0) {
            match others.next() {
                None => return is_rest(segment),
                Some((other, _)) if other != separator => return false,
                Some(_) if is_rest(segment) => return true,
                Some((_, other)) if segment != "*" && segment != other => return false,
                Some(_) => {}
            }
        }
        others.next().is_none()
    }

    /// Whether it stands for everything that the other one stands for.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = segments(&other.0);
        for (separator, segment) in segments(&self.0) {
            match others.next() {
                None => return is_rest(segment),
                Some((other, _)) if other != separator => return false,
                Some(_) if is_rest(segment) => return true,
                Some((_, other)) if is_rest(other) => return false,
                Some((_, other)) if segment != "*" && segment != other => return false,
                Some(_) => {}
            }
        }
        others.next().is_none()
    }

    /// Whether there may be a destination that both stand for.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (segments(&self.0), segments(&other.0));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some((_, segment))) | (Some((_, segment)), None) => return is_rest(segment),
                // No destination goes on in both ways, but one may end here for both.
                (Some((left, ours)), Some((right, theirs))) if left != right => {
                    return is_rest(ours) && is_rest(theirs);
                }
                (Some((_, left)), Some((_, right))) => {
                    if is_rest(left) || is_rest(right) {
                        return true;
                    }
                    if left != right && left != "*" && right != "*" {
                        return false;
                    }
                }
            }
        }
    }
}

fn is_rest(segment: &str) -> bool {
    matches!(segment, "**" | "#")
}

fn segments(text: &str) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = Some(text.strip_prefix('/').unwrap_or(text));
    let mut separator = b'/';
    std::iter::from_fn(move || {
        let left = rest?;
        let (segment, next) = match left.bytes().position(|octet| matches!(octet, b'/' | b'.')) {
            Some(end) => (&left[..end], Some((left.as_bytes()[end], &left[end + 1..]))),
            None => (left, None),
        };
        let before = separator;
        rest = next.map(|(found, after)| {
            separator = found;
            after
        });
        Some((before, segment))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_stands_for_what_its_wildcards_say() {
        let check = |text: &str, destination: &str, expected: bool| {
            let found = pattern(text).matches(destination);
            assert_eq!(found, expected, "{text} and {destination}");
        };
        check("/topic/a", "/topic/a", true);
        check("/topic/a", "/topic/b", false);
        check("/topic/*", "/topic/a", true);
        check("/topic/*", "/topic/a/b", false);
        check("/topic/*", "/topic/a.b", false);
        check("/topic/*", "/topic", false);
        check("/topic/price.*", "/topic/price.x", true);
        check("/topic/price.*", "/topic/price/x", false);
        check("/topic/*/b", "/topic/a/b", true);
        check("/topic/*.b", "/topic/a.b", true);
        check("/topic/*.b", "/topic/a.c", false);
        check("/topic/**", "/topic/a/b.c", true);
        check("/topic/**", "/topic", true);
        check("/topic/a.#", "/topic/a", true);
        check("/topic/a.#", "/topic/a.b/c", true);
        check("/topic/a.#", "/topic/a/b", false);
        check("/topic/a.#", "/topic/ab", false);
        check("/topic/c#", "/topic/c#", true);
        check("/topic/c#", "/topic/cd", false);
    }

    #[test]
    fn the_rest_comes_last() {
        for text in ["/topic/**/a", "/topic/#.a", "/topic/**/**"] {
            let found = Pattern::parse(text);
            assert_eq!(found, Err(InvalidPattern::RestBeforeEnd), "{text}");
        }
    }

    #[test]
    fn a_pattern_has_a_bounded_number_of_segments() {
        let of = |count: usize| format!("/topic{}", "/*".repeat(count - 1));
        assert!(Pattern::parse(&of(SEGMENTS_MAX)).is_ok());
        let found = Pattern::parse(&of(SEGMENTS_MAX + 1));
        assert_eq!(found, Err(InvalidPattern::TooManySegments));
    }

    #[test]
    fn patterns_are_compared_by_what_they_stand_for() {
        let check = |left: &str, right: &str, covers: bool, overlaps: bool| {
            let (left, right) = (pattern(left), pattern(right));
            assert_eq!(left.covers(&right), covers, "{left:?} covers {right:?}");
            assert_eq!(left.overlaps(&right), overlaps, "{left:?} {right:?}");
            assert_eq!(right.overlaps(&left), overlaps, "{right:?} {left:?}");
        };
        check("/topic/**", "/topic/a.*", true, true);
        check("/topic/a.*", "/topic/**", false, true);
        check("/topic/*", "/topic/a", true, true);
        check("/topic/*", "/topic/**", false, true);
        check("/topic/*", "/topic/*/*", false, false);
        check("/topic/*.a", "/topic/b.*", false, true);
        check("/topic/a", "/topic/a.#", false, true);
        check("/topic/a.#", "/topic/a", true, true);
        check("/queue/**", "/topic/**", false, false);
        check("/topic/a.#", "/topic/a/**", false, true);
        check("/topic/a.*", "/topic/a/**", false, false);
        check("/topic/a.b", "/topic/a/b", false, false);
    }

    /// A destination or a pattern of few words, so that they meet often.
    fn any_text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
        let segment = (
            prop::sample::select(&["/", "."][..]),
            prop::sample::select(words),
        );
        let segments = prop::collection::vec(segment, 0..5);
        segments.prop_map(|parts| {
            let parts = parts
                .iter()
                .map(|(separator, word)| format!("{separator}{word}"));
            format!("/t{}", parts.collect::<String>())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn comparing_patterns_agrees_with_what_they_match(
            left in any_text(&["a", "b", "*", "**", "#"]),
            right in any_text(&["a", "b", "*", "**", "#"]),
            destination in any_text(&["a", "b", "c"]),
        ) {
            let (Ok(left), Ok(right)) = (Pattern::parse(&left), Pattern::parse(&right)) else {
                return Ok(());
            };
            let both = left.matches(&destination) && right.matches(&destination);
            prop_assert!(!both || left.overlaps(&right), "{:?} {:?}", left, right);
            prop_assert_eq!(left.overlaps(&right), right.overlaps(&left));
            if left.covers(&right) {
                prop_assert!(!right.matches(&destination) || left.matches(&destination));
                prop_assert!(left.overlaps(&right));
            }
            let plain = Pattern::parse(&destination).unwrap();
            prop_assert_eq!(left.covers(&plain), left.matches(&destination));
            prop_assert_eq!(left.overlaps(&plain), left.matches(&destination));
        }
    }
}
