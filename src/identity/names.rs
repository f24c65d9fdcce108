//! The friendly name of a visitor who has not said one.
//!
//! Not unique and no address: two visitors may have the same name, never the same `user_id`.

use crate::model::UserId;

/// How many characters of the user id tell visitors apart for people.
const TAIL_CHARS: usize = 4;

/// `손님 7k2m` for those who prefer Korean, `Guest 7k2m` for everybody else.
pub(super) fn visitor_name(user_id: &UserId, is_korean: bool) -> String {
    let word = if is_korean { "손님" } else { "Guest" };
    // A user id is visible ASCII, so octets are characters.
    let text = user_id.as_str();
    let tail = &text[text.len().saturating_sub(TAIL_CHARS)..];
    format!("{word} {tail}")
}

/// Whether Korean comes before English in an `Accept-Language` list (RFC 9110 section 12.5.4).
pub(super) fn prefers_korean(list: &str) -> bool {
    let quality_of = |language: &str| {
        list.split(',')
            .filter_map(|entry| {
                let mut parts = entry.split(';');
                let range = parts.next()?.trim();
                let primary = range.split('-').next()?;
                let quality = parts
                    .find_map(|p| p.trim().strip_prefix("q="))
                    .map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
                primary.eq_ignore_ascii_case(language).then_some(quality)
            })
            .fold(0.0_f32, f32::max)
    };
    quality_of("ko") > quality_of("en")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_named_in_his_language() {
        let user_id: UserId = "user_0123456787k2m".parse().unwrap();
        let check = |language: Option<&str>, expected: &str| {
            let is_korean = prefers_korean(language.unwrap_or_default());
            assert_eq!(visitor_name(&user_id, is_korean), expected, "{language:?}");
        };
        check(None, "Guest 7k2m");
        check(Some(""), "Guest 7k2m");
        check(Some("ko"), "손님 7k2m");
        check(Some("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7"), "손님 7k2m");
        check(Some("en-US,en;q=0.9,ko;q=0.8"), "Guest 7k2m");
        check(Some("de, KO;q=0.5"), "손님 7k2m");
        check(Some("en;q=0.1, ko;q=x"), "Guest 7k2m");
        check(Some("kok"), "Guest 7k2m");
        check(Some(";;,,=-"), "Guest 7k2m");
        let short: UserId = "u".parse().unwrap();
        assert_eq!(visitor_name(&short, false), "Guest u");
    }
}
