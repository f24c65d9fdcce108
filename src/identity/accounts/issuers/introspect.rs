//! Sites that are asked about each token (RFC 7662).
//!
//! Not here: who the user is (`claims`). Invariant: an answer is remembered for a minute at most and
//! never beyond the end of the token, under the hash of the token, never the token.

use std::time::Duration;

use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::claims::site_user;
use super::{IssuerSettings, SiteUser, away};
use crate::identity::accounts::fetch::Fetch;
use crate::identity::accounts::jwt::refused;
use crate::model::{Problem, UnixMillis};

/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many answers.
const ANSWERS_MAX: usize = 10_000;

/// How long a token counts whose end the site does not say: then it is asked again.
const WITHOUT_END: Duration = Duration::from_secs(60 * 60);

/// An answer; fields that we do not need are kept for the claims that the settings name.
#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    exp: Option<u64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A site that is asked.
pub(super) struct Asked {
    url: String,
    secret: String,
    fetch: Fetch,
    known: Cache<[u8; 32], (Option<SiteUser>, UnixMillis)>,
}

impl Asked {
    pub(super) fn new(url: String, secret: String, fetch: Fetch) -> Self {
        Self {
            url,
            secret,
            fetch,
            known: Cache::new(ANSWERS_MAX),
        }
    }

    /// Whom the site says that the token speaks for.
    pub(super) async fn read(
        &self,
        settings: &IssuerSettings,
        is_only: bool,
        token: &str,
        now: UnixMillis,
    ) -> Result<SiteUser, Problem> {
        // What no token of HTTP looks like is not sent on.
        if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(refused());
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some((user, until)) = self.known.get(&hash)
            && now < until
        {
            return user.ok_or_else(refused);
        }
        let answer = self.fetch.introspect(&self.url, &self.secret, token).await;
        let answer = answer.map_err(|_| away())?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| away())?;
        let user = user_of(answer, settings, is_only, now);
        let until = now.after(REMEMBERED);
        let until = user
            .as_ref()
            .map_or(until, |user| until.min(user.expires_at));
        self.remember(hash, user.clone(), until);
        user.ok_or_else(refused)
    }

    /// Remembers the answer about the token with this hash.
    pub(super) fn remember(&self, hash: [u8; 32], user: Option<SiteUser>, until: UnixMillis) {
        self.known.insert(hash, (user, until));
    }

    /// How many answers are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.known.len()
    }
}

fn user_of(
    answer: Answer,
    settings: &IssuerSettings,
    is_only: bool,
    now: UnixMillis,
) -> Option<SiteUser> {
    let sub = answer.sub.filter(|_| answer.active)?;
    let expires_at = match answer.exp {
        None => now.after(WITHOUT_END),
        Some(exp) => UnixMillis(exp.checked_mul(1_000)?),
    };
    if expires_at <= now {
        return None;
    }
    site_user(settings, is_only, &sub, &answer.others, expires_at).ok()
}
