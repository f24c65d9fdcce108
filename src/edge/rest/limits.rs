//! How often a client may ask: the buckets of REST, and the headers that tell how full they are.
//!
//! Not here: the arithmetic (`policy::bucket`), the levels (`quota`). Invariant: no request reaches the
//! store or a hash of passwords without a token from a bucket of its network; a header that a client
//! writes (`X-Forwarded-For` of a peer that is no trusted proxy) chooses no bucket.
//!
//! ```text
//! http:net:<network>     every request of REST                          HTTP_PER_NET
//! http:open:<network>    class open                                     a fifth of HTTP_PER_NET
//! http:auth:<network>    class auth, and clients without a token        HTTP_AUTH_PER_NET
//! http:refresh:<network> class token, without a known caller              a fifth of HTTP_PER_NET
//! http:auth:<user>       class auth of a user with a token              HTTP_AUTH_PER_MIN
//! http:token:<hash>      class token                                    HTTP_AUTH_PER_MIN
//! http:user:<user>       class general                                  HTTP_PER_MIN
//! ```
//!
//! Each `<network>` stands for three buckets when the address is IPv6 (`quota::Networks`).

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::caller::{Caller, Credential};
use super::route::Class;
use crate::edge::Edge;
use crate::model::{Code, Network, Problem};
use crate::policy::bucket::{Rate, Verdict};
use crate::quota::refused::{NETWORK_REQUESTS, RateOf, USER_REQUESTS};

static LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What has no secret is this part of what a network may ask.
const OPEN_PART: u32 = 5;

/// A network may ask this part of its minute at once.
const BURST_PART: u32 = 6;

/// A bucket, and what is left in it for the one who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    name: &'static str,
    rate: Rate,
    remaining: u32,
}

impl Counted {
    /// The headers of draft-ietf-httpapi-ratelimit-headers-10: what is left (`r`) and in how many
    /// seconds the bucket is full again (`t`), of how many (`q`) in how many seconds (`w`).
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if self.rate.is_off() {
            return;
        }
        let Self {
            name,
            rate,
            remaining,
        } = self;
        let missing = u64::from(rate.capacity.saturating_sub(remaining));
        let seconds = (missing * 600).div_ceil(u64::from(rate.per_10_min.max(1)));
        let limit = format!("\"{name}\";r={remaining};t={seconds}");
        let policy = format!("\"{name}\";q={};w=60", rate.per_10_min / 10);
        headers.extend(
            HeaderValue::from_str(&limit)
                .ok()
                .map(|value| (LIMIT.clone(), value)),
        );
        headers.extend(
            HeaderValue::from_str(&policy)
                .ok()
                .map(|value| (POLICY.clone(), value)),
        );
    }
}

/// So many in a minute, and as many at once.
fn per_minute(number: u32) -> Rate {
    Rate {
        capacity: number,
        per_10_min: number.saturating_mul(10),
    }
}

/// So many in a minute of all those in a network, and a part of them at once.
fn of_many(number: u32) -> Rate {
    Rate {
        capacity: number.div_ceil(BURST_PART),
        ..per_minute(number)
    }
}

/// The bucket that all requests of a network share.
pub(super) async fn of_network(edge: &Edge, caller: &Caller) -> Result<(), (Problem, Counted)> {
    let rate = of_many(edge.settings.http_per_net);
    take(edge, (caller, "network"), From::Networks("http:net"), rate)
        .await
        .map(|_| ())
}

/// The bucket of those who could not be authenticated.
pub(super) async fn of_strangers(
    edge: &Edge,
    caller: &Caller,
) -> Result<Counted, (Problem, Counted)> {
    let rate = per_minute(edge.settings.http_auth_per_net);
    take(edge, (caller, "auth"), From::Networks("http:auth"), rate).await
}

/// The bucket of a request, once it is known who sends it.
pub(super) async fn of_class(
    edge: &Edge,
    caller: &Caller,
    class: Class,
    body: &[u8],
) -> Result<Counted, (Problem, Counted)> {
    let few = per_minute(edge.settings.http_auth_per_min);
    let many = per_minute(edge.settings.http_per_min);
    let known = caller.known().map(|principal| &principal.user_id);
    if (class, known) == (Class::Token, None) {
        // Each exchange of a refresh token brings another token, so that its own bucket is always full. Everybody of a
        // crowd does one when the page is loaded.
        let rate = of_many(edge.settings.http_per_net.div_ceil(OPEN_PART));
        let from = From::Networks("http:refresh");
        take(edge, (caller, "token"), from, rate).await?;
    }
    let (name, key, rate) = match (class, known) {
        (Class::Open | Class::Free, _) => {
            let rate = of_many(edge.settings.http_per_net.div_ceil(OPEN_PART));
            return take(edge, (caller, "open"), From::Networks("http:open"), rate).await;
        }
        (Class::Token, _) => (
            "token",
            format!("http:token:{}", presented(caller, body)),
            few,
        ),
        (Class::Auth, Some(user)) => ("auth", format!("http:auth:{user}"), few),
        (Class::General, Some(user)) => ("user", format!("http:user:{user}"), many),
        (Class::Auth | Class::General, None) => return of_strangers(edge, caller).await,
    };
    take(edge, (caller, name), From::Key(key), rate).await
}

/// The hash of what is presented: of a token in the header, else of the body that holds one.
fn presented(caller: &Caller, body: &[u8]) -> String {
    let hash = match &caller.credential {
        Credential::Visitor(token) | Credential::Bearer(token) => Sha256::digest(token.reveal()),
        Credential::Nothing => Sha256::digest(body),
    };
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

/// Where a token is taken.
enum From {
    /// One bucket.
    Key(String),
    /// The buckets of the caller's network and the wider ones, under this name.
    Networks(&'static str),
}

async fn take(
    edge: &Edge,
    (caller, name): (&Caller, &'static str),
    from: From,
    rate: Rate,
) -> Result<Counted, (Problem, Counted)> {
    let counted = |remaining| Counted {
        name,
        rate,
        remaining,
    };
    let quota = edge.rest.quota.as_ref();
    let rate_of = match &from {
        From::Networks(_) => &NETWORK_REQUESTS,
        From::Key(_) => &USER_REQUESTS,
    };
    let verdict = match from {
        From::Key(key) => quota.take(&key, rate).await,
        From::Networks(what) => caller.networks.take(quota, what, rate).await,
    };
    match verdict {
        Verdict::Allowed { remaining } => Ok(counted(remaining)),
        Verdict::Refused { retry_after_ms } => {
            rate_of.note(Network::of(caller.handshake.address));
            let words = match rate_of.of() {
                RateOf::Network => {
                    "Too many requests of your network; wait as long as Retry-After says."
                }
                RateOf::User => "Too many requests; wait as long as Retry-After says.",
            };
            let problem = Problem::new(Code::RateLimited, words).retry_after_ms(retry_after_ms);
            Err((problem, counted(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_structured_fields() {
        let mut headers = HeaderMap::new();
        let rate = per_minute(10);
        Counted {
            name: "auth",
            rate,
            remaining: 7,
        }
        .write(&mut headers);
        assert_eq!(headers["ratelimit"], "\"auth\";r=7;t=18");
        assert_eq!(headers["ratelimit-policy"], "\"auth\";q=10;w=60");
        let mut headers = HeaderMap::new();
        let rate = per_minute(0);
        Counted {
            name: "auth",
            rate,
            remaining: u32::MAX,
        }
        .write(&mut headers);
        assert!(headers.is_empty());
    }
}
