//! How a "no" reaches the client: as the ERROR frame that ends the session, or as the body of a
//! MESSAGE that it survives.
//!
//! Not here: which of the two it is (`mod`).

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::{CloseReason, Code, Destination, Problem};
use crate::stomp::{Command, DecodeError, Frame, Headers, Version};

/// The media type of the bodies that are JSON.
pub(super) const JSON: &str = "application/json;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";

/// What ends a session: an ERROR frame and a close. Boxed, because it is seldom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fatal(Box<Words>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    message: Cow<'static, str>,
    content_type: &'static str,
    body: Bytes,
    /// Whether the frame names the versions that there are.
    names_versions: bool,
    receipt: Option<Box<str>>,
    reason: CloseReason,
}

impl Fatal {
    /// The client broke the protocol: 1002.
    pub(super) fn protocol(message: &'static str, body: impl Into<String>) -> Self {
        Self(Box::new(Words {
            message: message.into(),
            content_type: TEXT,
            body: Bytes::from(body.into()),
            names_versions: false,
            receipt: None,
            reason: closing(Code::BadRequest),
        }))
    }

    /// The client has too much of something: `limit_exceeded`, 1008.
    pub(super) fn limit(detail: String) -> Self {
        Problem::new(Code::LimitExceeded, detail).into()
    }

    /// The client sends too much before it is told whether it may: 1009.
    pub(super) fn too_early(max: usize) -> Self {
        let body = format!("At most {max} octets may come between CONNECT and CONNECTED.\n");
        Self::protocol("Too much before CONNECTED", body).closing_with(Code::PayloadTooLarge)
    }

    /// There is no version that both sides speak.
    pub(super) fn version_mismatch() -> Self {
        let body = format!("Supported versions are {}\n", versions());
        let mut fatal = Self::protocol("Version mismatch", body);
        fatal.0.names_versions = true;
        fatal
    }

    /// The same, naming the receipt that the frame asked for, so that the client knows which.
    pub(super) fn caused_by(mut self, headers: &Headers) -> Self {
        self.0.receipt = headers.get("receipt").map(Into::into);
        self
    }

    /// The same, naming this receipt.
    pub(super) fn of_receipt(mut self, receipt: Option<Box<str>>) -> Self {
        self.0.receipt = receipt;
        self
    }

    fn closing_with(mut self, code: Code) -> Self {
        self.0.reason = closing(code);
        self
    }

    /// The close.
    pub(super) fn reason(&self) -> &CloseReason {
        &self.0.reason
    }

    /// The ERROR frame. Its `content-length` is the encoder's.
    pub(super) fn frame(&self) -> Frame {
        let words = &self.0;
        let mut frame = Frame::new(Command::Error)
            .header("message", &words.message)
            .header("content-type", words.content_type)
            .body(words.body.clone());
        if words.names_versions {
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
            message: problem.code.as_str().into(),
            content_type: JSON,
            body: octets(&Value::Object(problem.to_json())),
            names_versions: false,
            receipt: None,
            reason: CloseReason::from_problem(&problem),
        }))
    }
}

impl From<DecodeError> for Fatal {
    fn from(error: DecodeError) -> Self {
        let code = if error.is_size() {
            Code::PayloadTooLarge
        } else {
            Code::BadRequest
        };
        debug_assert_eq!(code.close_code(), error.close_code());
        Self::protocol(error.message(), error.to_string()).closing_with(code)
    }
}

/// The body on `/user/queue/errors`.
pub(super) fn error_body(
    problem: &Problem,
    destination: &Destination,
    receipt: Option<&str>,
) -> Bytes {
    octets(&described(problem, destination, receipt))
}

/// The body on `/user/queue/replies` for what was refused.
pub(super) fn refusal_body(
    problem: &Problem,
    destination: &Destination,
    receipt: Option<&str>,
    correlation_id: &str,
) -> Bytes {
    octets(&json!({
        "type": "REPLY",
        "correlation_id": correlation_id,
        "ok": false,
        "error": described(problem, destination, receipt),
    }))
}

/// The body on `/user/queue/replies` for what succeeded.
pub(super) fn reply_body(result: Option<Value>, correlation_id: &str) -> Bytes {
    let mut body = json!({"type": "REPLY", "correlation_id": correlation_id, "ok": true});
    if let Some(result) = result {
        body["result"] = result;
    }
    octets(&body)
}

fn described(problem: &Problem, destination: &Destination, receipt: Option<&str>) -> Value {
    let mut body = problem.to_json();
    body.insert("destination".to_owned(), json!(destination.to_string()));
    if let Some(receipt) = receipt {
        body.insert("receipt_id".to_owned(), json!(receipt));
    }
    Value::Object(body)
}

fn closing(code: Code) -> CloseReason {
    CloseReason::of(code.close_code(), code.as_str())
}

fn octets(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
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
        let fatal = Fatal::protocol("Missing destination", "x\n").caused_by(&headers);
        assert_eq!(
            encode(&fatal.frame(), Version::V1_2),
            "ERROR\nmessage:Missing destination\ncontent-type:text/plain;charset=utf-8\n\
             receipt-id:r\\c1\ncontent-length:2\n\nx\n\0"
        );
        assert_eq!(*fatal.reason(), CloseReason::of(1002, "bad_request"));
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
        check(Fatal::limit("x".to_owned()), 1008, "limit_exceeded");
        check(Fatal::version_mismatch(), 1002, "bad_request");
        let limited = Problem::new(Code::RateLimited, "x").retry_after_ms(5);
        check(limited.into(), 4429, "rate_limited;retry_after_ms=5");
    }

    #[test]
    fn the_bodies_are_as_the_client_expects_them() {
        let problem = Problem::new(Code::ValidationFailed, "Empty.").in_field("message");
        let destination = Destination::App("chat.send".into());
        let read = |body: Bytes| serde_json::from_slice::<Value>(&body).unwrap();
        let body = read(error_body(&problem, &destination, Some("r1")));
        assert_eq!(body["code"], "validation_failed");
        assert_eq!(body["destination"], "/app/chat.send");
        assert_eq!(body["receipt_id"], "r1");
        let body = read(refusal_body(&problem, &destination, None, "c"));
        assert_eq!(body["ok"], false);
        assert_eq!(body["error"]["errors"][0]["field"], "message");
        assert_eq!(body["error"].get("receipt_id"), None);
        let body = read(reply_body(Some(json!({"seq": 1})), "c"));
        assert_eq!(
            body,
            json!({"type": "REPLY", "correlation_id": "c", "ok": true, "result": {"seq": 1}})
        );
    }
}
