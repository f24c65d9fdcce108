//! Which pages may talk to this server: the rule for the `Origin` header.
//!
//! Not here: cookies and identities, which only ask what this rule said. Pure. Invariant: an origin
//! is compared whole (scheme, host and port), never by its beginning or its end.
//!
//! Browsers write an origin in lower case and without a default port; one in upper case was not
//! written by a browser and is refused. A default port that is written out is the same origin.

/// What the rule says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A page of this server itself.
    Same,
    /// A page of an origin that the settings list.
    Listed,
    /// No Origin, and the settings allow that: not a page, as far as anyone can know.
    Absent,
    /// Anything else.
    Refused,
}

impl Verdict {
    /// Whether a page that may talk to this server has sent the request. Only then cookies count.
    #[must_use]
    pub(super) fn is_page(self) -> bool {
        matches!(self, Self::Same | Self::Listed)
    }
}

/// What of a request the rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The `Origin` header.
    pub(super) origin: Option<&'a str>,
    /// The `Host` header.
    pub(super) host: Option<&'a str>,
    /// Whether the request came by TLS, here or at a trusted proxy.
    pub(super) secure: bool,
}

/// What the settings allow beyond the same origin.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    listed: Vec<Origin>,
    any: bool,
    absent: bool,
}

/// A setting is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an origin: write it as https://chat.example.com")]
pub struct InvalidOrigin(pub String);

impl Allowed {
    /// Reads the list of allowed origins. Upper case is forgiven here: people write settings.
    ///
    /// # Errors
    /// With the first entry that is no origin.
    pub(super) fn new(origins: &[String], absent: bool) -> Result<Self, InvalidOrigin> {
        let any = origins.iter().any(|origin| origin == "*");
        let listed = origins
            .iter()
            .filter(|origin| *origin != "*")
            .map(|text| {
                Origin::parse(&text.to_ascii_lowercase()).ok_or_else(|| InvalidOrigin(text.clone()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            listed,
            any,
            absent,
        })
    }

    /// The pages that may hold a page of ours in a frame, as `frame-ancestors` lists them.
    #[must_use]
    pub(super) fn as_ancestors(&self) -> String {
        if self.any {
            return "*".to_owned();
        }
        let mut sources = "'self'".to_owned();
        for Origin { secure, host, port } in &self.listed {
            let scheme = if *secure { "https" } else { "http" };
            sources.push_str(&format!(" {scheme}://{host}:{port}"));
        }
        sources
    }

    /// Judges a request.
    #[must_use]
    pub(super) fn judge(&self, asked: Asked<'_>) -> Verdict {
        let Some(text) = asked.origin else {
            return match self.absent {
                true => Verdict::Absent,
                false => Verdict::Refused,
            };
        };
        let Some(origin) = Origin::parse(text) else {
            return Verdict::Refused;
        };
        if Some(&origin) == Origin::of_server(asked).as_ref() {
            return Verdict::Same;
        }
        if self.any || self.listed.contains(&origin) {
            return Verdict::Listed;
        }
        Verdict::Refused
    }
}

/// Whether a text, in lower case, is an origin of the web as a browser sends it (RFC 6454 section
/// 6.2): `https://example.com` or `http://localhost:3000`.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    Origin::parse(text).is_some()
}

/// A parsed origin of the web.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: Box<str>,
    port: u16,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (secure, rest) = match text.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        Self::with_authority(secure, rest)
    }

    /// The origin of a page that this server would serve to the sender of the request.
    fn of_server(asked: Asked<'_>) -> Option<Self> {
        let host = asked.host?.to_ascii_lowercase();
        Self::with_authority(asked.secure, &host)
    }

    fn with_authority(secure: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address are inside its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        is_host(host).then(|| Self {
            secure,
            host: host.into(),
            port,
        })
    }
}

/// Whether this is a host as a browser writes it: a lower-case name or an address, nothing else.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], absent: bool) -> Allowed {
        let origins: Vec<_> = origins.iter().map(|text| (*text).to_owned()).collect();
        Allowed::new(&origins, absent).unwrap()
    }

    #[test]
    fn only_the_whole_origin_counts() {
        let allowed = allowed(&["https://good.com", "http://Dev.local:3000"], true);
        let check = |origin: &str, host: &str, secure: bool, expected: Verdict| {
            let asked = Asked {
                origin: Some(origin),
                host: Some(host),
                secure,
            };
            assert_eq!(allowed.judge(asked), expected, "{origin} at {host}");
        };
        let (same, listed, no) = (Verdict::Same, Verdict::Listed, Verdict::Refused);
        // The same origin, whatever the list says.
        check("http://127.0.0.1:8080", "127.0.0.1:8080", false, same);
        check("http://chat.example", "chat.example", false, same);
        check("http://chat.example", "Chat.Example:80", false, same);
        check("http://chat.example:80", "chat.example", false, same);
        check("https://chat.example", "chat.example", true, same);
        check("https://chat.example:443", "chat.example", true, same);
        check("http://[::1]:8080", "[::1]:8080", false, same);
        check("http://[::1]", "[::1]", false, same);
        // Another scheme, host or port is another origin.
        check("https://chat.example", "chat.example", false, no);
        check("http://chat.example", "chat.example", true, no);
        check("http://chat.example:81", "chat.example", false, no);
        check("http://chat.example", "chat.example:8080", false, no);
        check("http://evil.example", "chat.example", false, no);
        check("http://chat.example.evil.com", "chat.example", false, no);
        check("http://evilchat.example", "chat.example", false, no);
        check("http://chat.example.", "chat.example", false, no);
        check("http://localhost:8080", "127.0.0.1:8080", false, no);
        // Listed ones.
        check("https://good.com", "chat.example", false, listed);
        check("https://good.com:443", "chat.example", false, listed);
        check("http://dev.local:3000", "chat.example", false, listed);
        check("http://good.com", "chat.example", false, no);
        check("https://good.com:444", "chat.example", false, no);
        check("https://good.com.evil.com", "chat.example", false, no);
        check(
            "https://evil.com/https://good.com",
            "chat.example",
            false,
            no,
        );
        check("https://evilgood.com", "chat.example", false, no);
        check("https://good.com.", "chat.example", false, no);
        check("https://good.com/", "chat.example", false, no);
        check("https://good.com#", "chat.example", false, no);
        check("https://user@good.com", "chat.example", false, no);
        check("https://good.com\\@evil.com", "chat.example", false, no);
        check("https://sub.good.com", "chat.example", false, no);
        // What no browser writes.
        check("HTTPS://GOOD.COM", "chat.example", false, no);
        check("https://Good.com", "chat.example", false, no);
        check("null", "chat.example", false, no);
        check("", "chat.example", false, no);
        check("good.com", "chat.example", false, no);
        check("https://", "chat.example", false, no);
        check("https://:443", "chat.example", false, no);
        check("https://good.com:", "chat.example", false, no);
        check("https://good.com:+443", "chat.example", false, no);
        check("https://good.com:99999", "chat.example", false, no);
        check("file://", "chat.example", false, no);
        check(
            "https://good.com https://evil.com",
            "chat.example",
            false,
            no,
        );
        check("http://[::1", "[::1", false, no);
    }

    #[test]
    fn a_missing_origin_is_as_the_settings_say_and_never_a_page() {
        let asked = Asked {
            origin: None,
            host: Some("chat.example"),
            secure: false,
        };
        assert_eq!(allowed(&[], true).judge(asked), Verdict::Absent);
        assert_eq!(allowed(&["*"], false).judge(asked), Verdict::Refused);
        assert!(!Verdict::Absent.is_page());
    }

    #[test]
    fn a_star_allows_every_origin_but_no_nonsense() {
        let allowed = allowed(&["*"], false);
        let judge = |origin| {
            allowed.judge(Asked {
                origin: Some(origin),
                host: None,
                secure: false,
            })
        };
        assert_eq!(judge("https://anything.example"), Verdict::Listed);
        assert_eq!(judge("null"), Verdict::Refused);
    }

    #[test]
    fn a_setting_that_is_no_origin_is_named() {
        let error = Allowed::new(&["chat.example".to_owned()], true).unwrap_err();
        assert_eq!(error, InvalidOrigin("chat.example".to_owned()));
    }
}
