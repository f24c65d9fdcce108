//! How a session ends with an ERROR frame, and the list of all of them.
//!
//! Not here: the tables that the list is made of (`violations`, `stomp::error`, `model::problem`).
//! Invariant: every ERROR that a session writes is a row of [`errors`].

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::Value;

use super::headers::{self, Need};
pub(super) use super::violations::Violation;
use super::violations::{End, closing};
use crate::model::{CloseReason, Code, Problem};
use crate::stomp::command::Side;
use crate::stomp::{Command, DecodeError, Frame, Headers, Limits, Version};

/// The media type of the bodies that are JSON.
pub(super) const JSON: &str = "application/json;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";

/// What ends a session: an ERROR frame and a close. Boxed, because it is seldom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fatal(Box<Words>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    violation: Option<Violation>,
    message: Cow<'static, str>,
    body: Body,
    receipt: Option<Box<str>>,
    reason: CloseReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    Text(String),
    /// As JSON.
    Problem(Problem),
}

impl Fatal {
    /// Somebody did this, and nothing more needs to be said of it.
    pub(super) fn of(violation: Violation) -> Self {
        Self::about(violation, "")
    }

    /// Somebody did this; `what` stands where the words have room for it.
    pub(super) fn about(violation: Violation, what: impl Display) -> Self {
        let words = violation.words().replacen("{}", &what.to_string(), 1);
        let mut fatal = match violation.end() {
            End::Limit => Self::from(Problem::new(Code::LimitExceeded, words)),
            end @ (End::Protocol | End::Size | End::Lost) => {
                Self::text(violation.message(), words, end.reason())
            }
        };
        fatal.0.violation = Some(violation);
        fatal
    }

    /// A frame lacks a header that it needs.
    pub(super) fn missing(command: Command, header: &str) -> Self {
        let message = format!("Missing {header}");
        Self::text(message, missing(command, header), End::Protocol.reason())
    }

    /// There is no version that both sides speak.
    pub(super) fn version_mismatch() -> Self {
        Self::about(Violation::VersionMismatch, versions())
    }

    fn text(
        message: impl Into<Cow<'static, str>>,
        body: impl Into<String>,
        reason: CloseReason,
    ) -> Self {
        Self(Box::new(Words {
            violation: None,
            message: message.into(),
            body: Body::Text(body.into()),
            receipt: None,
            reason,
        }))
    }

    /// The same, naming the receipt that the frame asked for, so that the client knows which.
    pub(super) fn caused_by(self, headers: &Headers) -> Self {
        self.of_receipt(headers.get("receipt").map(Into::into))
    }

    /// The same, naming this receipt.
    pub(super) fn of_receipt(mut self, receipt: Option<Box<str>>) -> Self {
        self.0.receipt = receipt;
        self
    }

    /// The close.
    pub(super) fn reason(&self) -> &CloseReason {
        &self.0.reason
    }

    /// The same as something that a session with `x-soft-errors:true` survives, if it can: the frame
    /// was understood, and only what it asked for is not granted.
    pub(super) fn as_refusal(&self) -> Option<Problem> {
        use Violation::{
            InvalidDestination, ManyAlikeSubscriptions, ManySubscriptions, NoPlace,
            SubscriptionNotFound, UnknownDestination, Unsupported,
        };
        let violation = self.0.violation?;
        let code = if matches!(violation, InvalidDestination | NoPlace | Unsupported) {
            Code::BadRequest
        } else if violation == UnknownDestination {
            Code::UnknownDestination
        } else if violation == SubscriptionNotFound {
            Code::NotFound
        } else if matches!(violation, ManySubscriptions | ManyAlikeSubscriptions) {
            Code::LimitExceeded
        } else {
            return None;
        };
        Some(match &self.0.body {
            Body::Text(words) => Problem::new(code, words.trim_end().to_owned()),
            Body::Problem(problem) => problem.clone(),
        })
    }

    /// The ERROR frame. Its `content-length` is the encoder's.
    pub(super) fn frame(&self) -> Frame {
        let words = &self.0;
        let (content_type, body) = match &words.body {
            Body::Text(text) => (TEXT, text.clone()),
            Body::Problem(problem) => (JSON, Value::Object(problem.to_json()).to_string()),
        };
        let mut frame = Frame::new(Command::Error)
            .header("message", &words.message)
            .header("content-type", content_type)
            .body(body);
        if words.violation == Some(Violation::VersionMismatch) {
            frame = frame.header("version", &versions());
        }
        if let Some(receipt) = &words.receipt {
            frame = frame.header("receipt-id", receipt);
        }
        frame
    }
}

impl From<Problem> for Fatal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Words {
            violation: None,
            message: problem.code.as_str().into(),
            reason: CloseReason::from_problem(&problem),
            body: Body::Problem(problem),
            receipt: None,
        }))
    }
}

impl From<DecodeError> for Fatal {
    fn from(error: DecodeError) -> Self {
        let reason = reason_of(&error);
        Self::text(error.message(), error.to_string(), reason)
    }
}

/// A row of the table of ERRORs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The header `message`.
    pub message: Cow<'static, str>,
    /// The body; `{}` stands for what it is about. Empty for a problem, whose body is its JSON.
    pub words: Cow<'static, str>,
    /// The WebSocket close that follows.
    pub close: CloseReason,
    /// When it comes.
    pub when: Cow<'static, str>,
}

/// Every ERROR frame that a session can write, for documentation: what is wrong with octets, with
/// frames and their order, with headers that are missing, and every code of a problem.
#[must_use]
pub fn errors() -> Vec<ErrorRow> {
    let octets = DecodeError::every(&Limits::default());
    let octets = octets.into_iter().map(|error| ErrorRow {
        message: error.message().into(),
        words: error.to_string().into(),
        close: reason_of(&error),
        when: error.when().into(),
    });
    let violations = Violation::ALL.iter().map(|violation| ErrorRow {
        message: violation.message().into(),
        words: violation.words().into(),
        close: violation.end().reason(),
        when: violation.when().into(),
    });
    let required = headers::headers()
        .filter(|row| row.need == Need::Required && row.command.sender() == Side::Client);
    let missing = required.map(|row| ErrorRow {
        message: format!("Missing {}", row.header).into(),
        words: missing(row.command, row.header).into(),
        close: End::Protocol.reason(),
        when: format!("{} lacks {}", row.command, row.header).into(),
    });
    let problems = Code::ALL.iter().map(|code| ErrorRow {
        message: code.as_str().into(),
        words: "".into(),
        close: closing(*code),
        when: code.title().into(),
    });
    octets
        .chain(violations)
        .chain(missing)
        .chain(problems)
        .collect()
}

fn missing(command: Command, header: &str) -> String {
    format!("{command} must include a '{header}' header\n")
}

fn reason_of(error: &DecodeError) -> CloseReason {
    let end = if error.is_size() {
        End::Size
    } else {
        End::Protocol
    };
    debug_assert_eq!(end.reason().code, error.close_code());
    end.reason()
}

fn versions() -> String {
    Version::ALL.map(Version::as_str).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::encode;

    #[test]
    fn an_error_frame_says_what_why_and_of_which_request() {
        let headers = Frame::new(Command::Send).header("receipt", "r:1").headers;
        let fatal = Fatal::about(Violation::TransactionIsOpen, "t").caused_by(&headers);
        assert_eq!(
            encode(&fatal.frame(), Version::V1_2),
            "ERROR\nmessage:Bad transaction\ncontent-type:text/plain;charset=utf-8\n\
             receipt-id:r\\c1\ncontent-length:31\n\nTransaction t is open already.\n\0"
        );
        assert_eq!(*fatal.reason(), CloseReason::of(1002, "bad_request"));
        let frame = Fatal::missing(Command::Ack, "id").frame();
        assert_eq!(frame.headers.get("message"), Some("Missing id"));
        assert_eq!(frame.body, "ACK must include a 'id' header\n");
    }

    #[test]
    fn every_kind_of_end_has_its_close_code() {
        let check = |fatal: Fatal, code: u16, text: &str| {
            let reason = fatal.reason();
            assert_eq!((reason.code, reason.text.as_ref()), (code, text));
        };
        let size = DecodeError::BodyTooLong { max: 1 };
        check(size.into(), 1009, "payload_too_large");
        check(DecodeError::NotUtf8.into(), 1002, "bad_request");
        let limit = Fatal::about(Violation::ManyFrames, 1);
        check(limit, 1008, "limit_exceeded");
        check(Fatal::version_mismatch(), 1002, "bad_request");
        let lost = Fatal::of(Violation::HeartBeatLost);
        check(lost, 4408, "heart_beat_lost");
        let limited = Problem::new(Code::RateLimited, "x").retry_after_ms(5);
        check(limited.into(), 4429, "rate_limited;retry_after_ms=5");
    }

    #[test]
    fn the_table_has_every_error_with_words_and_a_close() {
        let rows = errors();
        let mut seen = std::collections::BTreeSet::new();
        for row in &rows {
            assert!(!row.message.is_empty() && !row.when.is_empty(), "{row:?}");
            assert!(row.words.matches("{}").count() <= 1, "{row:?}");
            assert!((1000..5000).contains(&row.close.code), "{row:?}");
            assert!(seen.insert((&row.message, &row.when)), "twice: {row:?}");
        }
        for message in [
            "Bad command",
            "Missing destination",
            "Missing subscription",
            "Unknown destination",
            "Invalid destination",
            "Duplicated subscription identifier",
            "Version mismatch",
            "limit_exceeded",
            "not_found",
        ] {
            assert!(rows.iter().any(|row| row.message == message), "{message}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_words_of_its_error() {
        let limit = Fatal::about(Violation::ManySubscriptions, 3).as_refusal();
        let expected = Problem::new(
            Code::LimitExceeded,
            "A session has at most 3 subscriptions.",
        );
        assert_eq!(limit, Some(expected));
        let unsupported = Fatal::about(Violation::Unsupported, "selector").as_refusal();
        let words = "A SUBSCRIBE with selector is not supported.";
        assert_eq!(unsupported, Some(Problem::new(Code::BadRequest, words)));
        assert_eq!(Fatal::of(Violation::BadAck).as_refusal(), None);
        assert_eq!(Fatal::missing(Command::Subscribe, "id").as_refusal(), None);
    }
}
