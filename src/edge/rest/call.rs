//! A request as a handler gets it, and the answer that it gives back.
//!
//! Not here: who sends it (`caller`). Invariant: a body is bounded, is JSON, and holds no NUL, which a
//! database refuses; what it holds beyond the fields that are known is ignored.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::{Response, StatusCode, Uri};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub(super) use serde_json::Value;

use super::caller::Caller;
use crate::budget::{Lease, Refused};
use crate::edge::charges::leased;
use crate::edge::{Edge, reply};
use crate::model::{Code, Problem};

static REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Declares a body whose members are not fixed.
macro_rules! any_object {
    (#[doc = $about:literal] $name:ident) => {
        #[doc = $about]
        #[derive(Debug)]
        struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
                ObjectBuilder::new()
                    .schema_type(SchemaType::new(Type::Object))
                    .description(Some($about.trim()))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(super) use any_object;

/// A request that has passed the gate.
pub(super) struct Call {
    /// The edge that it came to.
    pub(super) edge: Arc<Edge>,
    /// Who sends it.
    pub(super) caller: Caller,
    /// Its body, read.
    pub(super) body: Bytes,
    /// Its `Content-Type` is that of JSON.
    pub(super) is_json: bool,
    /// Its address, for the query.
    pub(super) uri: Uri,
    /// The parameters of its path, by name.
    pub(super) parameters: Vec<(String, String)>,
}

impl Call {
    /// The body.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        read_json(&self.body, self.is_json)
    }

    /// The body; when there is none, as if it were an empty object.
    pub(super) fn body_or_empty<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return read_json(b"{}", true);
        }
        self.body()
    }

    /// A parameter of the path.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// A parameter of the path as a value of its type; what is none is not found.
    pub(super) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<T, Problem> {
        self.parameter(name).parse().map_err(|_| not_found())
    }

    /// The parameters of the query.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let read = Query::<T>::try_from_uri(&self.uri);
        read.map(|Query(query)| query).map_err(|_| {
            let words = "A parameter of the query is not as it must be; see /docs.";
            Problem::new(Code::ValidationFailed, words)
        })
    }
}

/// There is nothing of this name.
pub(super) fn not_found() -> Problem {
    Problem::new(Code::NotFound, "There is nothing of this name.")
}

/// How many items a page has.
pub(super) fn page_length(limit: Option<&str>) -> Result<u32, Problem> {
    let Some(limit) = limit else {
        return Ok(50);
    };
    let number = limit.parse().ok();
    number
        .filter(|number| (1..=100).contains(number))
        .ok_or_else(|| {
            Problem::new(Code::ValidationFailed, "Write a number from 1 to 100.").in_field("limit")
        })
}

/// Whether this is the media type of JSON, in UTF-8.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let is_utf8 = |parameter: &str| {
        let charset = parameter
            .split_once('=')
            .filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charset.is_none_or(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    };
    media.eq_ignore_ascii_case("application/json") && parts.all(is_utf8)
}

fn read_json<T: DeserializeOwned>(body: &[u8], is_json: bool) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Code::BadRequest, "Send a JSON object."));
    }
    if !is_json {
        let words = "Send JSON in UTF-8, with 'Content-Type: application/json'.";
        return Err(Problem::new(Code::UnsupportedMedia, words));
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| Problem::new(Code::BadRequest, "The body is not JSON in UTF-8."))?;
    if !value.is_object() {
        return Err(Problem::new(Code::ValidationFailed, "Send a JSON object."));
    }
    if holds_nul(&value) {
        let words = "A text must not hold the character NUL.";
        return Err(Problem::new(Code::ValidationFailed, words));
    }
    T::deserialize(value).map_err(|error| wrong_field(&error.to_string()))
}

/// What serde says of a field, without what the client wrote in it: that may be a password.
fn wrong_field(said: &str) -> Problem {
    let missing = said
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match missing {
        Some(field) => Problem::new(Code::ValidationFailed, "This field must be there.")
            .in_field(field.to_owned()),
        None => Problem::new(
            Code::ValidationFailed,
            "A field is of another type than it must be; see /docs.",
        ),
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a handler answers.
pub(super) struct Reply {
    /// The status.
    pub(super) status: StatusCode,
    /// JSON, or nothing.
    pub(super) body: Bytes,
    /// The body where it is made while it is read, instead of `body`.
    /// The mutex is never locked: it makes the record one that threads may share.
    stream: Option<Mutex<Body>>,
    /// Whether all answers share the body, so that it costs nothing more.
    is_shared: bool,
    /// `Set-Cookie`.
    pub(super) cookies: Vec<HeaderValue>,
    /// Where the new thing is.
    pub(super) location: Option<HeaderValue>,
    /// Whether the body is a problem that was kept.
    pub(super) is_problem: bool,
    /// Whether it is the answer to the same request before.
    pub(super) is_replay: bool,
}

impl Reply {
    /// A body.
    pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body)
            .map_err(|_| Problem::new(Code::Internal, "The answer could not be written."))?;
        Ok(Self::raw(status, body.into()))
    }

    /// A body that is JSON already.
    pub(super) fn raw(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            body,
            stream: None,
            is_shared: false,
            cookies: Vec::new(),
            location: None,
            is_problem: false,
            is_replay: false,
        }
    }

    /// A body that every such answer shares.
    pub(super) fn shared(status: StatusCode, body: Bytes) -> Self {
        let mut reply = Self::raw(status, body);
        reply.is_shared = true;
        reply
    }

    /// A body that is made while it is read.
    pub(super) fn streamed(status: StatusCode, body: Body) -> Self {
        let mut reply = Self::raw(status, Bytes::new());
        reply.stream = Some(Mutex::new(body));
        reply
    }

    /// The same with a lease for its body, unless that is shared or leases for itself.
    pub(super) fn leased(mut self, lease: impl FnOnce() -> Lease) -> Result<Self, Refused> {
        if !self.is_shared {
            self.body = leased(self.body, lease)?;
        }
        Ok(self)
    }

    /// Done, and nothing to say.
    pub(super) fn nothing() -> Self {
        Self::raw(StatusCode::NO_CONTENT, Bytes::new())
    }

    /// The same with a cookie.
    pub(super) fn with_cookie(mut self, cookie: &str) -> Self {
        self.cookies.extend(HeaderValue::from_str(cookie).ok());
        self
    }

    /// The same with where the new thing is.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.location = HeaderValue::from_str(path).ok();
        self
    }

    /// As an answer of HTTP.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = reply::json(self.status, &Value::Null);
        let headers = response.headers_mut();
        if self.body.is_empty() && self.stream.is_none() {
            headers.remove(CONTENT_TYPE);
        }
        if self.is_problem {
            let media = HeaderValue::from_static("application/problem+json");
            headers.insert(CONTENT_TYPE, media);
        }
        if self.is_replay {
            headers.insert(REPLAY.clone(), HeaderValue::from_static("true"));
        }
        for cookie in self.cookies {
            headers.append(SET_COOKIE, cookie);
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        *response.body_mut() = match self.stream {
            None => Body::from(self.body),
            Some(stream) => stream.into_inner().unwrap_or_else(PoisonError::into_inner),
        };
        response
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn a_body_is_json_of_the_right_shape_or_a_problem_that_shows_nothing() {
        let check = |body: &str, is_json: bool, code: Code| {
            let problem = read_json::<Named>(body.as_bytes(), is_json).unwrap_err();
            assert_eq!(problem.code, code, "{body}");
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
            problem
        };
        check("", true, Code::BadRequest);
        check("{\"name\":", true, Code::BadRequest);
        check("{\"name\":\"\\ud800\"}", true, Code::BadRequest);
        check("{\"name\":\"secret\"}", false, Code::UnsupportedMedia);
        check("[1]", true, Code::ValidationFailed);
        check("\"secret\"", true, Code::ValidationFailed);
        check("{\"name\":[\"secret\"]}", true, Code::ValidationFailed);
        check(
            "{\"name\":\"a\\u0000secret\"}",
            true,
            Code::ValidationFailed,
        );
        let missing = check("{\"nam\":\"secret\"}", true, Code::ValidationFailed);
        assert_eq!(missing.field.as_deref(), Some("name"));
        let read = read_json::<Named>(b"{\"name\":\"n\",\"more\":1}", true).unwrap();
        assert_eq!(read.name, "n");
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        let check = |value: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_json(&headers), expected, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=UTF-8", true);
        check("application/json; charset=utf-16", false);
        check("text/plain", false);
        check("application/x-www-form-urlencoded", false);
        assert!(!is_json(&HeaderMap::new()));
    }
}
