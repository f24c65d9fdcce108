//! The iframe's page, and what old browsers send by query and by form.
//!
//! Not here: headers. Invariant: a callback that is let through can only be the name of a function.

/// The longest name of a callback.
const CALLBACK_BYTES_MAX: usize = 64;

/// The script inside the iframe's page, octet by octet: a content security policy names its hash.
pub const IFRAME_SCRIPT: &str = "\n    document.domain = document.domain;\n    \
    SockJS.bootstrap_iframe();\n  ";

/// The page that a client of another origin loads, with the address of the client's own script.
#[must_use]
pub fn iframe_page(client_url: &str) -> String {
    format!(
        "<!DOCTYPE html>\n\
         <html>\n\
         <head>\n  \
           <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
           <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n  \
           <script src=\"{client_url}\"></script>\n  \
           <script>{IFRAME_SCRIPT}</script>\n\
         </head>\n\
         <body>\n  \
           <h2>Don't panic!</h2>\n  \
           <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n\
         </body>\n\
         </html>"
    )
}

/// Whether a text is a name that may be written into a script.
#[must_use]
pub fn is_callback(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= CALLBACK_BYTES_MAX && text.bytes().all(allowed)
}

/// The callback that a query names, `c` or `callback`, decoded; `None` when it names none.
#[must_use]
pub fn query_callback(query: &str) -> Option<String> {
    let found = field(query, "c").or_else(|| field(query, "callback"))?;
    (!found.is_empty()).then_some(found)
}

/// A field of a form (`application/x-www-form-urlencoded`), decoded; `None` when it is not there.
#[must_use]
pub fn form_field(form: &[u8], name: &str) -> Option<String> {
    field(std::str::from_utf8(form).ok()?, name)
}

fn field(form: &str, name: &str) -> Option<String> {
    let mut pairs = form
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    Some(decoded(value))
}

/// Percent signs and plus signs decoded; what is no UTF-8 then is replaced.
fn decoded(text: &str) -> String {
    let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
    let octets = text.as_bytes();
    let mut out = Vec::with_capacity(octets.len());
    let mut at = 0;
    while let Some(octet) = octets.get(at) {
        let pair = (digit(octets.get(at + 1)), digit(octets.get(at + 2)));
        let (octet, width) = match (octet, pair) {
            (b'%', (Some(high), Some(low))) => ((high << 4 | low) as u8, 3),
            (b'+', _) => (b' ', 1),
            (octet, _) => (*octet, 1),
        };
        out.push(octet);
        at += width;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_the_name_of_a_function() {
        for good in ["callback", "_jp.abc123", "a-b", "x"] {
            assert!(is_callback(good), "{good}");
        }
        let long = "x".repeat(65);
        for bad in [
            "", " ", "*", "abc(", "a;b", "<", "가", "a'b", "a\"", "a\n", &long,
        ] {
            assert!(!is_callback(bad), "{bad}");
        }
    }

    #[test]
    fn a_query_names_a_callback_in_one_of_two_ways() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(query_callback(query).as_deref(), expected, "{query}");
        };
        check("c=%63allback", Some("callback"));
        check("t=1&callback=x", Some("x"));
        check("c=%20", Some(" "));
        check("c=abc%28", Some("abc("));
        check("", None);
        check("c=", None);
        check("cc=1", None);
    }

    #[test]
    fn a_form_is_decoded() {
        let check = |form: &[u8], expected: Option<&str>| {
            assert_eq!(form_field(form, "d").as_deref(), expected);
        };
        check(b"d=%5B%22x%22%5D", Some("[\"x\"]"));
        check(b"a=1&d=a+b%2Bc", Some("a b+c"));
        check(b"d=%EC%95%88", Some("안"));
        check(b"d=%", Some("%"));
        check(b"d=%4", Some("%4"));
        check(b"d=%zz", Some("%zz"));
        check(b"d=%ff", Some("\u{fffd}"));
        check(b"d=", Some(""));
        check(b"p=p", None);
        check(b"", None);
        check(b"\xff", None);
    }
}
