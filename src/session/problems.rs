//! The bodies of the MESSAGEs that a session writes itself: problems and replies.
//!
//! Not here: ERROR frames (`fatal`), to whom a body goes (`settling`).

use bytes::Bytes;
use serde_json::{Value, json};

use crate::model::Problem;

/// What a problem is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The destination as the client wrote it, if its frame had one.
    pub(super) destination: Option<&'a str>,
    /// `receipt` of its frame.
    pub(super) receipt: Option<&'a str>,
}

/// The body on `/user/queue/errors`.
pub(super) fn error_body(problem: &Problem, about: About<'_>) -> Bytes {
    octets(&described(problem, about))
}

/// The body on `/user/queue/replies` for what was refused.
pub(super) fn refusal_body(problem: &Problem, about: About<'_>, correlation_id: &str) -> Bytes {
    octets(&json!({
        "type": "REPLY",
        "correlation_id": correlation_id,
        "ok": false,
        "error": described(problem, about),
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

fn described(problem: &Problem, about: About<'_>) -> Value {
    let mut body = problem.to_json();
    if let Some(destination) = about.destination {
        body.insert("destination".to_owned(), json!(destination));
    }
    if let Some(receipt) = about.receipt {
        body.insert("receipt_id".to_owned(), json!(receipt));
    }
    Value::Object(body)
}

fn octets(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Code;

    #[test]
    fn the_bodies_are_as_the_client_expects_them() {
        let mut problem = Problem::new(Code::ValidationFailed, "Empty.").in_field("message");
        problem.client_id = Some("c1".to_owned());
        let about = About {
            destination: Some("/pub/chat.send"),
            receipt: Some("r1"),
        };
        let read = |body: Bytes| serde_json::from_slice::<Value>(&body).unwrap();
        let body = read(error_body(&problem, about));
        assert_eq!(body["code"], "validation_failed");
        assert_eq!(body["destination"], "/pub/chat.send", "as it was written");
        assert_eq!(body["receipt_id"], "r1");
        assert_eq!(body["client_id"], "c1");
        let about = About {
            destination: None,
            receipt: None,
        };
        let body = read(refusal_body(&problem, about, "c"));
        assert_eq!(body["ok"], false);
        assert_eq!(body["error"]["errors"][0]["field"], "message");
        for absent in ["receipt_id", "destination"] {
            assert_eq!(body["error"].get(absent), None, "{absent}");
        }
        let body = read(reply_body(Some(json!({"seq": 1})), "c"));
        assert_eq!(
            body,
            json!({"type": "REPLY", "correlation_id": "c", "ok": true, "result": {"seq": 1}})
        );
    }
}
