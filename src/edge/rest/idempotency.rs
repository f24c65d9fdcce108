//! `Idempotency-Key`: a POST that comes again is not done again, and gets the same answer.
//!
//! Not here: what is known of a key (`store::accounts`). Invariant: of requests with one key of one
//! caller one is done; what is kept of an answer is sealed under the key itself, so that a reader of
//! the store reads no token; an answer that a retry may change (429, 5xx, or with a time to wait) is not
//! kept, nor a refusal of a client who is not known: nothing has happened then. What is kept counts to the share
//! of the caller; a retry needs no share, and the request of a client who is not known is done without one, but its
//! answer is not kept.
//!
//! ```text
//! row    = SHA-256(caller | method | path | key)       caller: user, visitor's secret, or fingerprint
//! answer = ChaCha20-Poly1305(HKDF(service, key | caller), head and body)
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::call::{Call, Reply};
use super::caller::{Caller, Credential};
use super::keys::RestKey;
use super::route::SharedRoute;
use crate::budget::{Claimant, Reservation};
use crate::model::{Code, Problem};
use crate::store::accounts::{Begun, KeyedRequest};
use crate::store::{AccountStore, StoreError, TokenHash};

/// The header.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long an answer is kept.
const LIFE: Duration = Duration::from_secs(86_400);

/// The longest key.
const LENGTH_MAX: usize = 255;

/// The longest answer that is kept, sealed. All routes answer a POST with less.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// How soon a client may ask again whose request is being done.
const AGAIN_MS: u64 = 1_000;

/// A request that is done once.
pub(super) struct Keyed {
    store: Arc<dyn AccountStore>,
    key: RestKey,
    row: TokenHash,
    request: TokenHash,
    /// What the answer is sealed for.
    word: Vec<u8>,
    /// Whether the client is not known: then a refusal is not kept.
    is_stranger: bool,
    /// The caller's share of what is stored, once it was begun.
    reserved: Option<Reservation>,
}

impl Keyed {
    /// The request, if it brings a key.
    pub(super) fn of(
        store: &Arc<dyn AccountStore>,
        key: &RestKey,
        caller: &Caller,
        (method, uri, body): (&Method, &Uri, &[u8]),
        headers: &HeaderMap,
    ) -> Result<Option<Self>, Problem> {
        let Some(given) = read_key(method, headers)? else {
            return Ok(None);
        };
        let who = match &caller.credential {
            // The secret and not whom it opens: it may have ended by what is asked for again here.
            Credential::Visitor(secret) => format!("secret {}", secret.reveal()),
            Credential::Bearer(_) | Credential::Nothing => match caller.known() {
                Some(principal) => format!("user {}", principal.user_id),
                None => format!("client {}", caller.client),
            },
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let asked = [method.as_str().as_bytes(), path.as_bytes()];
        let parts = [who.as_bytes(), asked[0], asked[1], given.as_bytes()];
        Ok(Some(Self {
            store: Arc::clone(store),
            key: key.clone(),
            row: hash(&parts),
            request: hash(&[asked[0], asked[1], body]),
            word: hash(&[given.as_bytes(), who.as_bytes()]).to_vec(),
            is_stranger: matches!(caller.credential, Credential::Nothing)
                && caller.known().is_none(),
            reserved: None,
        }))
    }

    /// Does the request and keeps its answer, or answers it as before. Runs to its end even when the client has
    /// gone, so that nothing that was begun stays in the store without an answer.
    pub(super) async fn run(mut self, route: SharedRoute, call: Call) -> Result<Reply, Problem> {
        let tracker = call.edge.tracker.clone();
        let row = (Arc::clone(&self.store), self.row);
        let done = tracker.spawn(async move {
            if let Some(reply) = self.begin(&call).await? {
                return Ok(reply);
            }
            self.reserve(&call).await?;
            let answered = (route.handler)(call).await;
            self.keep(&answered).await;
            answered
        });
        match done.await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::error!(%error, "a request with a key was broken off");
                let _later = row.0.abandon(row.1).await;
                Err(Problem::new(Code::Internal, "The request was broken off."))
            }
        }
    }

    /// The answer that was kept, if there is one, to a request that is refused otherwise.
    pub(super) async fn replay(mut self, call: Call, otherwise: Problem) -> Result<Reply, Problem> {
        let tracker = call.edge.tracker.clone();
        let found = tracker.spawn(async move {
            let begun = self.begin(&call).await;
            if matches!(begun, Ok(None)) {
                self.abandon().await;
            }
            begun
        });
        match found.await {
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None) | Err(_)) | Err(_) => Err(otherwise),
        }
    }

    /// Finds out whether the request is new. `Ok(None)` says that it is to be done.
    async fn begin(&mut self, call: &Call) -> Result<Option<Reply>, Problem> {
        let now = call.edge.visitors.now();
        let request = KeyedRequest {
            key: self.row,
            request: self.request,
            expires_at: now.after(LIFE),
            now,
        };
        match self.store.begin(request).await.map_err(store_away)? {
            Begun::New => Ok(None),
            Begun::InProgress => Err(Problem::new(
                Code::IdempotencyInProgress,
                "The same request is being done; ask again in a moment.",
            )
            .retry_after_ms(AGAIN_MS)),
            Begun::Mismatch => Err(Problem::new(
                Code::IdempotencyMismatch,
                "This Idempotency-Key was used for another request; take a new one.",
            )),
            Begun::Done { status, answer } => self.open(status, &answer).map(Some),
        }
    }

    /// Sets aside what the answer will occupy. Others may have used up what strangers of a network have: their
    /// request, a login for one, is done all the same, and its answer is not kept.
    async fn reserve(&mut self, call: &Call) -> Result<(), Problem> {
        let now = call.edge.visitors.now();
        match call.edge.app.stored().reserve_answer(&claimant(call), now) {
            Ok(reserved) => self.reserved = Some(reserved),
            Err(_) if call.caller.known().is_none() => {}
            Err(problem) => {
                self.abandon().await;
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Forgets what was begun.
    async fn abandon(&self) {
        if let Err(error) = self.store.abandon(self.row).await {
            tracing::warn!(%error, "a request with a key is forgotten later");
        }
    }

    async fn keep(&mut self, answered: &Result<Reply, Problem>) {
        let kept = match answered {
            _ if self.reserved.is_none() => None,
            Ok(reply) => Some(Kept::of(reply)),
            Err(problem) if matches!(problem.code.status(), 429 | 500..) => None,
            Err(problem) if problem.retry_after_ms.is_some() => None,
            Err(_) if self.is_stranger => None,
            Err(problem) => Some(Kept::of_problem(problem)),
        };
        let sealed = kept.and_then(|(status, kept)| {
            let octets = kept.to_bytes()?;
            Some((status, self.key.seal(&self.word, &octets)?))
        });
        let Some((status, sealed)) = sealed else {
            return self.abandon().await;
        };
        let bytes = sealed.len() as u64;
        if let Err(error) = self.store.finish(self.row, status, sealed).await {
            tracing::warn!(%error, "an answer was not kept");
            return self.abandon().await;
        }
        if let Some(reserved) = self.reserved.take() {
            reserved.keep_with(bytes);
        }
    }

    fn open(&self, status: u16, sealed: &[u8]) -> Result<Reply, Problem> {
        let octets = self.key.open(&self.word, sealed);
        let kept = octets.and_then(|octets| serde_json::from_slice::<Kept>(&octets).ok());
        let status = StatusCode::from_u16(status).ok();
        match (kept, status) {
            (Some(kept), Some(status)) => Ok(kept.into_reply(status)),
            (Some(_) | None, _) => Err(Problem::new(
                Code::Internal,
                "The answer that was kept cannot be read any more; take a new key.",
            )),
        }
    }
}

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Kept {
    body: String,
    is_problem: bool,
    cookies: Vec<String>,
    location: Option<String>,
}

impl Kept {
    fn of(reply: &Reply) -> (u16, Self) {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let kept = Self {
            body: String::from_utf8_lossy(&reply.body).into_owned(),
            is_problem: false,
            cookies: reply.cookies.iter().filter_map(text).collect(),
            location: reply.location.as_ref().and_then(text),
        };
        (reply.status.as_u16(), kept)
    }

    fn of_problem(problem: &Problem) -> (u16, Self) {
        let kept = Self {
            body: serde_json::Value::Object(problem.to_json()).to_string(),
            is_problem: true,
            cookies: Vec::new(),
            location: None,
        };
        (problem.code.status(), kept)
    }

    /// As it is sealed; nothing when that is longer than what is kept.
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(self).ok()?;
        if bytes.len() > ANSWER_BYTES_MAX {
            tracing::warn!(bytes = bytes.len(), "an answer is too long to be kept");
            return None;
        }
        Some(bytes)
    }

    fn into_reply(self, status: StatusCode) -> Reply {
        let mut reply = Reply::raw(status, Bytes::from(self.body));
        reply.is_problem = self.is_problem;
        reply.is_replay = true;
        for cookie in &self.cookies {
            reply = reply.with_cookie(cookie);
        }
        match &self.location {
            Some(location) => reply.at(location),
            None => reply,
        }
    }
}

/// The key of a POST: 1 to 255 visible characters of ASCII. Other methods need none.
fn read_key<'a>(method: &Method, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    let mut lines = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next().filter(|_| *method == Method::POST) else {
        return Ok(None);
    };
    let key = line.to_str().ok().filter(|_| lines.next().is_none());
    let is_key = |key: &&str| {
        (1..=LENGTH_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    };
    key.filter(is_key).map(Some).ok_or_else(|| {
        let words = "An Idempotency-Key has 1 to 255 visible characters of ASCII.";
        Problem::new(Code::BadRequest, words)
    })
}

/// To whose share a kept answer counts.
fn claimant(call: &Call) -> Claimant {
    let stranger = call
        .edge
        .app
        .multiples()
        .stranger(call.caller.handshake.address);
    match call.caller.known() {
        None => stranger,
        Some(principal) => Claimant {
            user: Some(principal.user_id.clone()),
            kind: principal.kind,
            ..stranger
        },
    }
}

fn hash(parts: &[&[u8]]) -> TokenHash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn store_away(error: StoreError) -> Problem {
    tracing::warn!(%error, "a request with a key could not be begun");
    let words = "The store does not answer at the moment.";
    Problem::new(Code::StoreUnavailable, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_comes_once() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            let key = read_key(&Method::POST, &headers).map(|key| key.map(str::to_owned));
            key.map_err(|problem| problem.code)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"\"8e03\""]), Ok(Some("\"8e03\"".to_owned())));
        assert!(read(&[&[b'k'; 255]]).is_ok());
        for bad in [&b""[..], b"a b", b"\xc3\xa9", &[b'k'; 256]] {
            assert_eq!(read(&[bad]), Err(Code::BadRequest), "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), Err(Code::BadRequest));
    }

    #[test]
    fn a_longer_answer_is_not_kept() {
        let kept = |length: usize| {
            let body = Bytes::from(vec![b'x'; length]);
            Kept::of(&Reply::raw(StatusCode::OK, body)).1.to_bytes()
        };
        assert!(kept(250 << 10).is_some());
        assert!(kept(256 << 10).is_none());
    }

    #[test]
    fn an_answer_is_kept_whole() {
        let reply = Reply::raw(StatusCode::CREATED, Bytes::from_static(b"{\"a\":1}"))
            .with_cookie("sb_vid=x")
            .at("/api/v1/me");
        let (status, kept) = Kept::of(&reply);
        let text = serde_json::to_string(&kept).unwrap();
        let again: Kept = serde_json::from_str(&text).unwrap();
        let again = again.into_reply(StatusCode::from_u16(status).unwrap());
        assert!(again.is_replay);
        assert_eq!((again.body, again.cookies), (reply.body, reply.cookies));
        assert_eq!(
            (again.status, again.location),
            (reply.status, reply.location)
        );
    }
}
