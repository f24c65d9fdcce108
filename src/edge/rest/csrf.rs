//! Requests that rely on the visitor's cookie: the double submit that tells the page's own requests
//! from those that another page makes a browser send.
//!
//! The cookie `sb_csrf` can be read by scripts of this origin alone, and comes back in the header
//! `X-CSRF-Token`. Not here: the cookie `sb_vid` itself (`identity::secret`). Invariant: the visitor's
//! cookie opens nothing here without an allowed Origin and, while `CSRF_ENABLED`, that header.
//!
//! A GET of the page itself has no `Origin`, and over plain HTTP under a name that is not localhost no
//! `Sec-Fetch-Site` either. The header proves such a request: a page of another origin cannot add it
//! without a preflight, which carries its `Origin` and is refused.

use axum::http::header::{COOKIE, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method};
use subtle::ConstantTimeEq as _;

use crate::edge::peer::Requester;
use crate::identity::VisitorCookies;
use crate::model::{Code, Problem};

/// The name of the cookie.
const CSRF_COOKIE: &str = "sb_csrf";

/// The header in which it comes back.
pub(super) static CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long the cookie lives; the page asks for another one then.
const CSRF_LIFE_S: u32 = 86_400;

/// The secret in the visitor's cookie, if there is a genuine one.
pub(super) fn visitor_of(cookies: &VisitorCookies, headers: &HeaderMap) -> Option<String> {
    let mut values = values(headers, crate::identity::secret::COOKIE);
    values.find_map(|value| cookies.secret_in(value))
}

/// Whether a request may rely on its cookies.
pub(super) fn check(
    requester: &Requester<'_>,
    method: &Method,
    headers: &HeaderMap,
    is_enabled: bool,
) -> Result<(), Problem> {
    if !requester.without_cookie().from_page && !is_proven_read(method, headers) {
        let words = "A cookie counts only for a page of an allowed origin. Send the header \
                     'Authorization' instead.";
        return Err(Problem::new(Code::Forbidden, words));
    }
    let sent = headers.get(&CSRF_HEADER).map(|value| value.as_bytes());
    let sent = sent.filter(|sent| !sent.is_empty()).unwrap_or_default();
    let mut kept = values(headers, CSRF_COOKIE);
    let is_same = !sent.is_empty() && kept.any(|kept| kept.as_bytes().ct_eq(sent).into());
    if is_enabled && !is_same {
        let words = "Send the value of the cookie 'sb_csrf' in the header 'X-CSRF-Token'; \
                     GET /api/v1/auth/csrf sets it.";
        return Err(Problem::new(Code::Forbidden, words));
    }
    Ok(())
}

/// Whether the header proves that a script of this origin sent a read without `Origin`. Browsers send
/// `Origin` with every other method, and `Sec-Fetch-Site` wherever the connection is trustworthy.
fn is_proven_read(method: &Method, headers: &HeaderMap) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
    let has_token = headers
        .get(&CSRF_HEADER)
        .is_some_and(|sent| !sent.is_empty());
    is_read
        && has_token
        && !headers.contains_key(ORIGIN)
        && sites.all(|site| site.as_bytes() == b"same-origin")
}

/// The cookie with a new value.
pub(super) fn set_cookie(value: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{CSRF_COOKIE}={value}; Path=/; Max-Age={CSRF_LIFE_S}; SameSite=Strict{secure}")
}

/// The values of a cookie; there may be several, of several paths.
fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(move |(known, _)| *known == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_cookie_is_for_scripts_of_this_origin() {
        assert_eq!(
            set_cookie("v", true),
            "sb_csrf=v; Path=/; Max-Age=86400; SameSite=Strict; Secure"
        );
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xsb_csrf=no; sb_csrf=a"));
        headers.append(COOKIE, HeaderValue::from_static("sb_csrf=b;sb_csrfx=no"));
        assert_eq!(
            values(&headers, CSRF_COOKIE).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
