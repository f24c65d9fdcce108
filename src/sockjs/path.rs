//! What the paths below a base mean.
//!
//! Not here: methods, sessions. Invariant: a segment that names a server or a session has no dot, is
//! not empty, and is short.

/// The longest segment that names a server or a session.
const SEGMENT_BYTES_MAX: usize = 128;

/// The longest version in the name of the iframe's page.
const VERSION_BYTES_MAX: usize = 64;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The base itself: `Welcome to SockJS!`.
    Greeting,
    /// What the server can do.
    Info,
    /// The page that a client of another origin loads into an iframe.
    Iframe,
    /// A WebSocket without framing.
    RawWebSocket,
    /// One transport of a session. The segment before it, which names a server, is for balancers.
    Session {
        /// The name that the client has given to its session, as it stands in the path.
        session: &'a str,
        /// How it is spoken with here.
        transport: Transport,
    },
}

/// The last segment of a session's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket with frames in it.
    WebSocket,
    /// Polling.
    Xhr,
    /// What the client has to say, beside the receiving XHR and iframe transports.
    XhrSend,
    /// An answer that goes on.
    XhrStreaming,
    /// Server-sent events.
    EventSource,
    /// A page that goes on.
    HtmlFile,
    /// Polling by script elements.
    Jsonp,
    /// What the client has to say by a form.
    JsonpSend,
}

impl Transport {
    /// The segment.
    #[must_use]
    pub fn parse(segment: &str) -> Option<Self> {
        Some(match segment {
            "websocket" => Self::WebSocket,
            "xhr" => Self::Xhr,
            "xhr_send" => Self::XhrSend,
            "xhr_streaming" => Self::XhrStreaming,
            "eventsource" => Self::EventSource,
            "htmlfile" => Self::HtmlFile,
            "jsonp" => Self::Jsonp,
            "jsonp_send" => Self::JsonpSend,
            _ => return None,
        })
    }

    /// The method that it is asked with.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrSend | Self::XhrStreaming | Self::JsonpSend => "POST",
            Self::WebSocket | Self::EventSource | Self::HtmlFile | Self::Jsonp => "GET",
        }
    }

    /// The label of a session that was opened by it, for metrics. Those that only send open none.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "sockjs-websocket",
            Self::Xhr | Self::XhrSend => "sockjs-xhr",
            Self::XhrStreaming => "sockjs-xhr-streaming",
            Self::EventSource => "sockjs-eventsource",
            Self::HtmlFile => "sockjs-htmlfile",
            Self::Jsonp | Self::JsonpSend => "sockjs-jsonp",
        }
    }
}

/// What is at this path below the base: what follows the base, not decoded, without the query.
#[must_use]
pub fn place(below: &str) -> Option<Place<'_>> {
    match below {
        "" | "/" => return Some(Place::Greeting),
        "/info" => return Some(Place::Info),
        "/websocket" => return Some(Place::RawWebSocket),
        _ => {}
    }
    let below = below.strip_prefix('/')?;
    if is_iframe(below) {
        return Some(Place::Iframe);
    }
    let mut segments = below.split('/');
    let (server, session, last) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() || !is_name(server) || !is_name(session) {
        return None;
    }
    let transport = Transport::parse(last)?;
    Some(Place::Session { session, transport })
}

/// `iframe.html`, or `iframe-<version>.html`.
fn is_iframe(name: &str) -> bool {
    let version = name
        .strip_prefix("iframe")
        .and_then(|rest| rest.strip_suffix(".html"));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    version.is_some_and(|version| {
        (version.is_empty() || version.starts_with('-'))
            && version.len() <= VERSION_BYTES_MAX
            && version.bytes().all(allowed)
    })
}

fn is_name(segment: &str) -> bool {
    !segment.is_empty() && segment.len() <= SEGMENT_BYTES_MAX && !segment.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_of_the_places_or_nothing() {
        let session = |session, transport| Some(Place::Session { session, transport });
        let long = "x".repeat(129);
        let (long_server, long_session) = (format!("/{long}/b/xhr"), format!("/a/{long}/xhr"));
        let long_version = format!("/iframe-{long}.html");
        let check = |path: &str, expected: Option<Place<'_>>| {
            assert_eq!(place(path), expected, "{path}");
        };
        check("", Some(Place::Greeting));
        check("/", Some(Place::Greeting));
        check("/info", Some(Place::Info));
        check("/websocket", Some(Place::RawWebSocket));
        for name in [
            "iframe.html",
            "iframe-a.html",
            "iframe-.html",
            "iframe-0.1.2abc-dirty.2144.html",
        ] {
            check(&format!("/{name}"), Some(Place::Iframe));
        }
        check("/a/b/xhr", session("b", Transport::Xhr));
        check("/_/_/xhr_send", session("_", Transport::XhrSend));
        check("/1/1/eventsource", session("1", Transport::EventSource));
        check(
            "/abcdefgh_i-j%20/abcdefg_i-j%20/jsonp",
            session("abcdefg_i-j%20", Transport::Jsonp),
        );
        for path in [
            "//",
            "///",
            "/a",
            "/a/",
            "/a.html",
            "/a/a",
            "/a/a/",
            "/info/",
            "/Info",
            "/iframe",
            "/iframe.htm",
            "/iframe.HTML",
            "/IFRAME.HTML",
            "/iframe.xml",
            "/iframe-/.html",
            "/iframea.html",
            "/iframe-<.html",
            "///xhr",
            "/a./a/xhr",
            "/a/a./xhr",
            "/././xhr",
            "//xhr",
            "////xhr",
            "/a//xhr",
            "//a/xhr",
            "/a/b/XHR",
            "/a/b/c/xhr",
            "/a/b/xhr/",
            "a/b/xhr",
            long_server.as_str(),
            long_session.as_str(),
            long_version.as_str(),
        ] {
            check(path, None);
        }
    }
}
