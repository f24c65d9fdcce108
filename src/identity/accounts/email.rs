//! What may stand as an e-mail address, as the name of a person and as that of a device.
//!
//! Not here: whether an address exists; only a letter finds that out. Invariant: two ways of writing
//! one address in other capitals or another normal form are one address.

use unicode_normalization::UnicodeNormalization as _;

use crate::model::{Code, Problem};

/// The longest address, in octets (RFC 5321 section 4.5.3.1.3, without the brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 64;

/// An address: as it was written, and as it is compared.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Email {
    pub(super) written: String,
    pub(super) key: String,
}

/// Reads an address.
///
/// # Errors
/// `validation_failed` in the field `email`.
pub(super) fn read_email(text: &str) -> Result<Email, Problem> {
    let refuse = || {
        Problem::new(
            Code::ValidationFailed,
            "Write an e-mail address such as kim@example.com, of at most 254 octets.",
        )
        .in_field("email")
    };
    // The length is checked before any work is done with it.
    if text.len() > EMAIL_BYTES_MAX {
        return Err(refuse());
    }
    let written: String = text.trim().nfc().collect();
    let (local, domain) = written.split_once('@').ok_or_else(refuse)?;
    let is_clean = |c: char| {
        !c.is_whitespace() && !is_hidden(c) && !matches!(c, '@' | '<' | '>' | ',' | ';' | '"')
    };
    let labels_are_sane = domain.split('.').count() >= 2
        && domain
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
        && domain
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'));
    let dots_are_sane = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    let fits = written.len() <= EMAIL_BYTES_MAX && (1..=64).contains(&local.len());
    if !fits
        || !dots_are_sane
        || !labels_are_sane
        || !written.replacen('@', "", 1).chars().all(is_clean)
    {
        return Err(refuse());
    }
    let key = written.to_lowercase();
    Ok(Email { written, key })
}

/// Reads the name of a person.
///
/// # Errors
/// `validation_failed` in the field `name`.
pub(super) fn read_name(text: &str) -> Result<String, Problem> {
    let fits = text.len() <= NAME_CHARS_MAX * 8;
    let name: String = if fits {
        text.trim().nfc().collect()
    } else {
        String::new()
    };
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || name.chars().any(is_hidden) {
        return Err(Problem::new(
            Code::ValidationFailed,
            "A name has 1 to 64 characters, all of which can be seen.",
        )
        .in_field("name"));
    }
    Ok(name)
}

/// The name of a device as far as it is kept: what cannot be seen is left out, the rest cut.
pub(super) fn read_device(text: &str) -> String {
    let visible = text.chars().take(4 * NAME_CHARS_MAX);
    let visible: String = visible.filter(|c| !is_hidden(*c)).collect();
    visible.trim().chars().take(NAME_CHARS_MAX).collect()
}

/// Characters that are not seen or turn around how others are.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_once_however_it_is_written() {
        let check = |text: &str, key: &str| {
            let email = read_email(text).unwrap_or_else(|_| panic!("{text} is refused"));
            assert_eq!(email.key, key, "{text}");
        };
        check("kim@example.com", "kim@example.com");
        check(" Kim.Lee+x@Example.COM ", "kim.lee+x@example.com");
        // One letter as one character and as two.
        check("u\u{308}@b\u{fc}cher.example", "\u{fc}@b\u{fc}cher.example");
        assert_eq!(
            read_email("Kim@Example.com").unwrap().written,
            "Kim@Example.com"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "b".repeat(300));
        for text in [
            "",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a@b@c.d",
            "a b@c.d",
            "a@b..c",
            "a@.b.c",
            "a@-b.c",
            ".a@b.c",
            "a..b@c.d",
            "a@b.c\r\nBcc: x@y.z",
            "<a@b.c>",
            "a@b.c,d@e.f",
            "a\0@b.c",
            "\u{202e}a@b.c",
            &long,
            &longer,
        ] {
            assert!(read_email(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_can_be_seen() {
        assert_eq!(read_name("  김민수 ").unwrap(), "김민수");
        for text in [
            "",
            "  ",
            "a\nb",
            "a\u{202e}b",
            &"x".repeat(65),
            &"x".repeat(10_000_000),
        ] {
            assert!(read_name(text).is_err());
        }
        assert_eq!(read_device("Kim's\0 phone\n"), "Kim's phone");
        assert_eq!(read_device(&"x".repeat(1_000)).len(), 64);
    }
}
