//! Durations and sizes as people write them: `10s`, `5m`, `30d`, `64KiB`, `1GiB`.
//!
//! Not here: which setting takes what. Invariant: what is shown reads back as the same value.

use std::fmt;
use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A number of octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = u64::try_from(self.0).unwrap_or(u64::MAX);
        match largest(octets, &SIZES[..3]) {
            Some((count, unit)) => write!(f, "{count}{unit}"),
            None => write!(f, "{octets}"),
        }
    }
}

/// Reads a size: a number of octets, alone or with a unit.
#[must_use]
pub fn read_size(text: &str) -> Option<Size> {
    let octets = read_number(text).or_else(|| read_with_unit(text, &SIZES))?;
    usize::try_from(octets).ok().map(Size)
}

/// Reads a duration: a number with a unit; zero needs none.
#[must_use]
pub fn read_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    read_with_unit(text, &DURATIONS).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that loses nothing; below a millisecond is not kept.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    largest(millis, &DURATIONS)
        .map_or_else(|| "0".to_owned(), |(count, unit)| format!("{count}{unit}"))
}

/// Reads a whole number; `_` may stand between digits.
#[must_use]
pub fn read_number(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let plain = text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with('_');
    if plain && digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

fn read_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    read_number(number)?.checked_mul(*factor)
}

fn largest<'a>(value: u64, units: &[(&'a str, u64)]) -> Option<(u64, &'a str)> {
    units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor))
        .map(|(unit, factor)| (value / factor, *unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_it_is_shown() {
        let check = |text: &str, millis: u64| {
            let duration = read_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(read_duration(&show_duration(duration)), Some(duration));
        };
        check("0", 0);
        check("500ms", 500);
        check("10s", 10_000);
        check("5m", 300_000);
        check("24h", 86_400_000);
        check("30d", 2_592_000_000);
        check("90 s", 90_000);
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 sec",
            "99999999999999999999s",
        ] {
            assert_eq!(read_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_reads_back_as_it_is_shown() {
        let check = |text: &str, octets: usize| {
            let size = read_size(text).unwrap();
            assert_eq!(size, Size(octets), "{text}");
            assert_eq!(read_size(&size.to_string()), Some(size));
        };
        check("0", 0);
        check("65536", 65_536);
        check("65_536", 65_536);
        check("64KiB", 65_536);
        check("1 MiB", 1 << 20);
        check("1GiB", 1 << 30);
        check("1000B", 1_000);
        for text in ["", "KiB", "64kb", "-1", "1.5MiB", "_1", "1_"] {
            assert_eq!(read_size(text), None, "{text}");
        }
    }
}
