//! Which new passwords are good enough.
//!
//! Not here: hashing, and the threads on which passwords are scored (`passwords`). Invariant: a
//! password is judged by its beginning alone, and the beginning is so short that scoring takes less
//! than 10 ms whatever stands in it. What follows neither makes a weak beginning strong nor a strong
//! one weak: it is part of the hash and of no score.
//!
//! The time of zxcvbn grows with the square of the length, and with the number of ways in which
//! characters can stand for letters ("l33t": `4` and `@` for `a`, `1` for `i` or `l`). All ways
//! multiply, so the beginning ends where there would be more than [`READINGS_MAX`], but not within the
//! first [`SCORED_ALWAYS`] characters, which take 3 ms at most.

use crate::model::{Code, Problem};

/// The length of a password, in characters.
const CHARS_MIN: usize = 10;
const CHARS_MAX: usize = 128;

/// A character has at most four bytes; what is longer is not looked at.
pub(super) const BYTES_MAX: usize = CHARS_MAX * 4;

/// The length of the beginning that is scored, in characters: enough for eight words.
const SCORED_CHARS: usize = 48;

/// So many characters are scored however they can be read: enough for the best score.
const SCORED_ALWAYS: usize = 12;

/// In how many ways the characters of a longer beginning may be read as letters.
const READINGS_MAX: usize = 24;

/// The characters that zxcvbn reads as a letter, by letter: those that count once, and those that count
/// twice because they were read as an earlier letter too, so that both are tried.
const LOOKALIKES: [(&str, &str); 12] = [
    ("4@", ""),
    ("8", ""),
    ("({[<", ""),
    ("3", ""),
    ("69", ""),
    ("1!|", ""),
    ("7", "1|"),
    ("0", ""),
    ("$5", ""),
    ("+", "7"),
    ("%", ""),
    ("2", ""),
];

/// A new password, and what it must not be like.
#[derive(Clone, Copy)]
pub(super) struct NewPassword<'a> {
    pub(super) password: &'a str,
    /// The key of the e-mail; may be empty.
    pub(super) email: &'a str,
    /// The name that is shown; may be empty.
    pub(super) name: &'a str,
}

/// The same for another thread.
pub(super) struct Scored {
    password: String,
    email: String,
    name: String,
}

impl NewPassword<'_> {
    /// The checks that cost next to nothing.
    ///
    /// # Errors
    /// `validation_failed` in the field `password`, with what to do.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let chars = match self.password.len() {
            0..=BYTES_MAX => self.password.chars().count(),
            _ => usize::MAX,
        };
        if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
            return Err(refusal("A password has 10 to 128 characters."));
        }
        let folded = self.password.to_lowercase();
        let local = self.email.split('@').next();
        if folded == self.email || local.is_some_and(|local| local == folded) {
            return Err(refusal("The password must not be the e-mail address."));
        }
        Ok(())
    }

    pub(super) fn to_scored(self) -> Scored {
        Scored {
            password: self.password.to_owned(),
            email: self.email.to_owned(),
            name: self.name.to_owned(),
        }
    }
}

impl Scored {
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Scores the beginning of the password. Takes milliseconds of a core: never on a thread of the
    /// runtime.
    ///
    /// # Errors
    /// `validation_failed` in the field `password`, with what to do.
    pub(super) fn score(&self) -> Result<(), Problem> {
        let entropy = zxcvbn::zxcvbn(beginning(&self.password), &[&self.email, &self.name]);
        if entropy.score() < zxcvbn::Score::Two {
            return Err(refusal(
                "This password is easily guessed; use several words or a password manager.",
            ));
        }
        Ok(())
    }
}

/// The part of a password that is scored.
fn beginning(password: &str) -> &str {
    let mut end = 0;
    for (number, (at, character)) in password.char_indices().take(SCORED_CHARS).enumerate() {
        let next = at + character.len_utf8();
        if number >= SCORED_ALWAYS && readings(&password[..next]) > READINGS_MAX {
            break;
        }
        end = next;
    }
    &password[..end]
}

/// An upper bound of how many replacements zxcvbn tries.
fn readings(text: &str) -> usize {
    let of = |characters: &str| characters.chars().filter(|it| text.contains(*it)).count();
    let ways = LOOKALIKES.iter().map(|(one, two)| of(one) + 2 * of(two));
    ways.map(|ways| ways.max(1)).product()
}

fn refusal(detail: &'static str) -> Problem {
    Problem::new(Code::ValidationFailed, detail).in_field("password")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn judge(password: &str) -> Result<(), Problem> {
        let new = NewPassword {
            password,
            email: "kim.minsu@example.com",
            name: "Kim Minsu",
        };
        new.check()?;
        new.to_scored().score()
    }

    #[test]
    fn only_passwords_that_are_not_easily_guessed_are_taken() {
        let check = |password: &str, taken: bool| {
            let shown = &password[..password.len().min(40)];
            assert_eq!(judge(password).is_ok(), taken, "{shown}");
        };
        check("correct horse battery", true);
        check("우리집강아지는복슬강아지", true);
        check("Tr0ub4dor&3x", true);
        check("4@8({[<3691!|70$5+%2", true);
        check("short", false);
        check("kim.minsu@example.com", false);
        check("KIM.MINSU@example.com", false);
        check("passwordpassword", false);
        check("1234567890", false);
        check("aaaaaaaaaaaa", false);
        check("Xq7 vv2-".repeat(16).as_str(), true);
        check("Xq7 vv2-x".repeat(16).as_str(), false);
        check("x".repeat(10_000_000).as_str(), false);
    }

    #[test]
    fn what_follows_the_beginning_changes_no_score() {
        let (weak, strong) = ("a".repeat(SCORED_CHARS), "correct horse battery staple");
        let padded = format!("{strong:·<SCORED_CHARS$}");
        assert!(judge(&format!("{weak}{strong}")).is_err());
        assert!(judge(&format!("{padded}{weak}")).is_ok());
        assert_eq!(beginning(&format!("{padded}{weak}")), padded);
        assert_eq!(beginning("correct horse"), "correct horse");
        assert_eq!(beginning(""), "");
        // A beginning of many lookalikes is cut, but not before it is long enough to be scored.
        let few = format!("17!{}", "x".repeat(30));
        assert_eq!(beginning(&few), few);
        assert_eq!(beginning("17!4@({[<691|"), "17!4@({[<691");
        assert_eq!(
            beginning("correct horse 17!4@({[<691|"),
            "correct horse 17!4@("
        );
    }

    /// CPU time of this thread, the least of a few runs.
    fn cost(password: &str) -> Duration {
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(
                time.tv_sec.unsigned_abs(),
                time.tv_nsec.unsigned_abs() as u32,
            )
        };
        let runs = (0..5).map(|_| {
            let began = now();
            let _verdict = std::hint::black_box(judge(password));
            now() - began
        });
        runs.min().unwrap()
    }

    #[test]
    fn scoring_takes_less_than_ten_milliseconds_whatever_is_scored() {
        // The first use builds the dictionaries.
        let _ready = cost("correct horse battery");
        let mut worst = (Duration::ZERO, "");
        for pattern in [
            // Lookalikes: all of them, and the slowest that a search found.
            "4@8({[<3691!|70$5+%2",
            "|+64(9<{!@17",
            "<463|1@79{+(",
            "omelo4@a11/41/1991$ex3{(eins@a3éat[[the<<12315on",
            "<<tm0nkey%me69u05n0n3$y[[th3$me{(jamme12355454ki",
            "o8no69t12345éinkilins3x$exe3s3<<ndinİİ((tİe(atum",
            "o8nd69th3$e<<in4imins3e[[me3s3xandinİk@ithx99우",
            "1991{(66a@onekim4taétoyou4o550nkey1to199",
            "{(abc",
            "1!",
            "$5@4{(ove",
            // Repeats, in repeats.
            "a",
            "ab",
            "aabaabaabx",
            // Sequences, keyboards, dates, words.
            "abcdefghijklmnopqrstuvwxyz",
            "zyxwvu987654321",
            "qwertyuiopasdfghjklzxcvbnm",
            "qazwsxedcrfvtgbyhnujmik,ol.p;/",
            "11/11/1991",
            "1111199120011231",
            "theandyouthatwasfor",
            "passwordmonkeydragon",
            "우리집강아지는복슬",
            "\u{130}\u{1e9e}\u{fb03}",
        ] {
            let password: String = pattern.chars().cycle().take(CHARS_MAX).collect();
            let cost = cost(&password);
            assert!(cost < Duration::from_millis(10), "{cost:?}: {pattern}");
            worst = worst.max((cost, pattern));
        }
        eprintln!("the worst password: {worst:?}");
    }
}
