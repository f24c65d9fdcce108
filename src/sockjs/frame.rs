//! The frames that a server writes, and what each transport wraps around them.
//!
//! Not here: when a frame is due. Invariant: a wrapped frame never ends the script or the event that
//! it stands in, whatever a message holds.

use super::json::{quote_into, quote_script_into};

/// The session is open. The first frame of every session.
pub const OPEN: &str = "o";

/// Nothing happened, and the line is alive.
pub const HEARTBEAT: &str = "h";

/// The octets that fill up a browser's buffer before it shows a streamed answer to a script.
const XHR_PRELUDE_BYTES: usize = 2_048;

/// A browser wants to have seen so many octets of a page before it runs the scripts in it.
const HTML_PRELUDE_BYTES: usize = 1_024;

/// The frame of messages that are quoted already, with commas between them.
#[must_use]
pub fn message_frame(quoted: &str) -> String {
    let mut frame = String::with_capacity(quoted.len() + 3);
    frame.push_str("a[");
    frame.push_str(quoted);
    frame.push(']');
    frame
}

/// The frame that closes a session, with the code and the words that the client's `onclose` gets.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> String {
    let mut frame = format!("c[{code},");
    quote_into(&mut frame, reason);
    frame.push(']');
    frame
}

/// How the frames of a session travel in the answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One line, and the answer ends.
    Xhr,
    /// Lines.
    XhrStreaming,
    /// Server-sent events.
    EventSource,
    /// A page that never ends, whose scripts call the page around it by this name.
    HtmlFile(String),
    /// One script that calls this function, and the answer ends.
    Jsonp(String),
}

impl Framing {
    /// Whether the answer holds one frame only.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        matches!(self, Self::Xhr | Self::Jsonp(_))
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::Jsonp(_) => {
                "application/javascript; charset=UTF-8"
            }
            Self::EventSource => "text/event-stream",
            Self::HtmlFile(_) => "text/html; charset=UTF-8",
        }
    }

    /// What goes out before the first frame.
    #[must_use]
    pub fn prelude(&self) -> Option<String> {
        match self {
            Self::Xhr | Self::Jsonp(_) => None,
            Self::XhrStreaming => Some("h".repeat(XHR_PRELUDE_BYTES) + "\n"),
            // Opera drops the first line.
            Self::EventSource => Some("\r\n".to_owned()),
            Self::HtmlFile(callback) => Some(html_prelude(callback)),
        }
    }

    /// A frame as it stands in the answer.
    #[must_use]
    pub fn wrap(&self, frame: &str) -> String {
        match self {
            Self::Xhr | Self::XhrStreaming => format!("{frame}\n"),
            Self::EventSource => format!("data: {frame}\r\n\r\n"),
            Self::HtmlFile(_) => {
                let mut script = "<script>\np(".to_owned();
                quote_script_into(&mut script, frame);
                script.push_str(");\n</script>\r\n");
                script
            }
            Self::Jsonp(callback) => {
                let mut script = format!("/**/{callback}(");
                quote_script_into(&mut script, frame);
                script.push_str(");\r\n");
                script
            }
        }
    }
}

fn html_prelude(callback: &str) -> String {
    let page = format!(
        "<!doctype html>\n\
         <html><head>\n  \
           <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
           <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n\
         </head><body><h2>Don't panic!</h2>\n  \
           <script>\n    \
             document.domain = document.domain;\n    \
             var c = parent.{callback};\n    \
             c.start();\n    \
             function p(d) {{c.message(d);}};\n    \
             window.onload = function() {{c.stop();}};\n  \
           </script>\n"
    );
    format!("{page:<HTML_PRELUDE_BYTES$}\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_wraps_a_frame_as_it_must() {
        let callback = || "callback".to_owned();
        let frame = message_frame(r#""x""#);
        let check = |framing: Framing, expected: &str| {
            assert_eq!(framing.wrap(&frame), expected, "{framing:?}");
        };
        check(Framing::Xhr, "a[\"x\"]\n");
        check(Framing::XhrStreaming, "a[\"x\"]\n");
        check(Framing::EventSource, "data: a[\"x\"]\r\n\r\n");
        check(
            Framing::HtmlFile(callback()),
            "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n",
        );
        check(
            Framing::Jsonp(callback()),
            "/**/callback(\"a[\\\"x\\\"]\");\r\n",
        );
    }

    #[test]
    fn a_message_does_not_end_the_script_that_it_stands_in() {
        let mut quoted = String::new();
        quote_into(&mut quoted, "</script><script>alert(1)//");
        let frame = message_frame(&quoted);
        for framing in [
            Framing::HtmlFile("c".to_owned()),
            Framing::Jsonp("c".to_owned()),
        ] {
            let wrapped = framing.wrap(&frame);
            assert!(!wrapped.contains("</script><script>"), "{wrapped}");
            assert!(!wrapped.contains("<script>alert"), "{wrapped}");
        }
    }

    #[test]
    fn a_streamed_answer_begins_with_what_fills_a_browsers_buffer() {
        assert_eq!(Framing::Xhr.prelude(), None);
        let xhr = Framing::XhrStreaming.prelude().unwrap();
        assert_eq!((xhr.len(), &xhr[2_047..]), (2_049, "h\n"));
        assert_eq!(Framing::EventSource.prelude().unwrap(), "\r\n");
        let html = Framing::HtmlFile("cb.a".to_owned()).prelude().unwrap();
        assert!(html.len() > 1_024);
        assert!(html.contains("    var c = parent.cb.a;\n    c.start();\n"));
        assert!(html.trim().ends_with("  </script>"));
    }

    #[test]
    fn a_close_quotes_its_reason() {
        assert_eq!(close_frame(3000, "Go away!"), r#"c[3000,"Go away!"]"#);
        assert_eq!(close_frame(1002, "a\"b\n"), r#"c[1002,"a\"b\n"]"#);
    }
}
