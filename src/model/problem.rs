//! The ways in which something is refused, and the reasons for which a connection is closed.
//!
//! Not here: frames. `session` makes a MESSAGE or an ERROR of a [`Problem`], `edge` an HTTP body.
//! Invariant: every refusal that a client can see has a code of this table.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::time::UnixMillis;

/// Where a visitor becomes the holder of an account.
const UPGRADE_URL: &str = "/api/v1/auth/upgrade";

macro_rules! codes {
    ($($variant:ident $text:literal $status:literal $close:literal $title:literal;)*) => {
        /// A stable code of a refusal, with its HTTP status, its WebSocket close code when it ends
        /// the connection, and its title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {$(
            #[doc = $title]
            $variant,
        )*}

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $text,)*}
            }

            /// The HTTP status that fits it.
            #[must_use]
            pub fn status(self) -> u16 {
                match self {$(Self::$variant => $status,)*}
            }

            /// The WebSocket close code after an ERROR frame with it.
            #[must_use]
            pub fn close_code(self) -> u16 {
                match self {$(Self::$variant => $close,)*}
            }

            /// A short sentence for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {$(Self::$variant => $title,)*}
            }
        }
    };
}

codes! {
    BadRequest "bad_request" 400 1002 "The request cannot be understood";
    ValidationFailed "validation_failed" 422 1008 "A field is not as it must be";
    Unauthorized "unauthorized" 401 4401 "Authentication is needed";
    TokenExpired "token_expired" 401 4401 "The token has expired";
    TokenReused "token_reused" 401 4401 "A refresh token was used twice";
    ProofRequired "proof_required" 403 4403 "The visitor's secret is needed";
    Forbidden "forbidden" 403 4403 "Not allowed";
    AnonymousNotAllowed "anonymous_not_allowed" 403 4403 "Only for accounts";
    Banned "banned" 403 4403 "Banned";
    Muted "muted" 403 1008 "Muted";
    NotFound "not_found" 404 1008 "Not found";
    UnknownDestination "unknown_destination" 404 1008 "Unknown destination";
    RecipientOffline "recipient_offline" 404 1008 "The recipient cannot be reached";
    Conflict "conflict" 409 1008 "Conflict";
    EmailTaken "email_taken" 409 1008 "The e-mail address is in use";
    IdempotencyInProgress "idempotency_in_progress" 409 1008 "The same request is being done";
    IdempotencyMismatch "idempotency_mismatch" 422 1008 "The key belongs to another request";
    IdentityMoved "identity_moved" 410 1008 "The visitor is an account now";
    Expired "expired" 410 1008 "Used or expired";
    PayloadTooLarge "payload_too_large" 413 1009 "Too large";
    UnsupportedMedia "unsupported_media" 415 1008 "Not a media type that is taken";
    RateLimited "rate_limited" 429 4429 "Too many messages";
    TryLater "try_later" 429 1013 "Try again later";
    LimitExceeded "limit_exceeded" 409 1008 "A limit is exceeded";
    Internal "internal" 500 1011 "Internal error";
    BrokerUnavailable "broker_unavailable" 503 1008 "The message routes are unavailable";
    StoreUnavailable "store_unavailable" 503 1008 "The store is unavailable";
    Overloaded "overloaded" 503 1013 "Too much to do";
    Draining "draining" 503 1012 "The node is restarting";
}

/// A refusal with its words: the application/problem+json of REST, the body on
/// `/user/queue/errors`, and the source of an ERROR frame (RFC 9457 gives the shape).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What was wrong and what to do, for people.
    pub detail: Cow<'static, str>,
    /// When trying again makes sense, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The field that was not as it must be.
    pub field: Option<Cow<'static, str>>,
    /// The caller's own name for the message that was refused.
    pub client_id: Option<String>,
    /// Until when it stays so.
    pub until: Option<UnixMillis>,
}

impl Problem {
    /// A problem of this code with these words.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_ms: None,
            field: None,
            client_id: None,
            until: None,
        }
    }

    /// The same, with the time until which it stays so.
    #[must_use]
    pub fn until(mut self, until: Option<UnixMillis>) -> Self {
        self.until = until;
        self
    }

    /// The same, with the field that it concerns.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, with the time after which to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }

    /// The JSON object, to which the caller adds what it knows (`destination`, `receipt_id`).
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put(
            "type",
            json!(format!("urn:stompbox:problem:{}", self.code.as_str())),
        );
        put("title", json!(self.code.title()));
        put("status", json!(self.code.status()));
        put("code", json!(self.code.as_str()));
        put("detail", json!(self.detail));
        if let Some(client_id) = &self.client_id {
            put("client_id", json!(client_id));
        }
        if let Some(field) = &self.field {
            let error = json!({"field": field, "code": self.code.as_str(), "message": self.detail});
            put("errors", json!([error]));
        }
        if let Some(millis) = self.retry_after_ms {
            put("retry_after_ms", json!(millis));
        }
        if let Some(until) = self.until {
            put("until", json!(until.to_string()));
        }
        if self.code == Code::AnonymousNotAllowed {
            put("upgrade_url", json!(UPGRADE_URL));
        }
        object
    }
}

/// Why a connection is closed: the WebSocket close code and its reason text
/// (`code[;retry_after_ms=n]`, at most 123 octets, RFC 6455 section 5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The WebSocket close code.
    pub code: u16,
    /// The reason text.
    pub text: Cow<'static, str>,
}

impl CloseReason {
    /// 1000: DISCONNECT was answered.
    pub const NORMAL: Self = Self::of(1000, "bye");
    /// 1012: this node restarts; reconnect with jitter.
    pub const RESTART: Self = Self::of(1012, "draining");
    /// 4401: the identity belongs to somebody else now; connect again for one of your own.
    pub const IDENTITY_LOST: Self = Self::of(4401, "unauthorized");
    /// 4401: what the client presented has ended, and it brought nothing new in time.
    pub const TOKEN_EXPIRED: Self = Self::of(4401, "token_expired");
    /// 4403: the user, his browser or his network is banned.
    pub const BANNED: Self = Self::of(4403, "banned");
    /// 4408: nothing was heard for too long.
    pub const HEART_BEAT_LOST: Self = Self::of(4408, "heart_beat_lost");
    /// 4409: a newer session of the user took the place.
    pub const REPLACED: Self = Self::of(4409, "too_many_devices");
    /// 4410: the user has signed out for good.
    pub const SIGNED_OUT: Self = Self::of(4410, "signed_out");
    /// 1008: what this session holds is needed for clients that hold less, or is not granted.
    pub const LIMIT_EXCEEDED: Self = Self::of(1008, "limit_exceeded");
    /// 4490: the client reads more slowly than it is written to.
    pub const SLOW_CONSUMER: Self = Self::of(4490, "slow_consumer");

    /// A reason with fixed words.
    #[must_use]
    pub const fn of(code: u16, text: &'static str) -> Self {
        Self {
            code,
            text: Cow::Borrowed(text),
        }
    }

    /// The close that follows an ERROR frame made of this problem.
    #[must_use]
    pub fn from_problem(problem: &Problem) -> Self {
        let mut text = problem.code.as_str().to_owned();
        if let Some(millis) = problem.retry_after_ms {
            text.push_str(&format!(";retry_after_ms={millis}"));
        }
        Self {
            code: problem.code.close_code(),
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_the_wire_expects_it() {
        let problem = Problem::new(Code::RateLimited, "Slow down.").retry_after_ms(290);
        let json = Value::Object(problem.to_json());
        assert_eq!(json["type"], "urn:stompbox:problem:rate_limited");
        assert_eq!(json["status"], 429);
        assert_eq!(json["retry_after_ms"], 290);
        let close = CloseReason::from_problem(&problem);
        assert_eq!(
            (close.code, close.text.as_ref()),
            (4429, "rate_limited;retry_after_ms=290")
        );
    }
}
