//! Questions to a site over HTTP: its keys, and what it says of a token.
//!
//! Not a client for anything else. Invariant: an answer is waited for two seconds at most and read
//! to 64 KiB at most, no redirect is followed, no proxy of the environment is used, and nothing goes
//! out unencrypted but to this machine.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use ureq::Agent;

/// How long the whole of a question may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer, in octets.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// How many questions are open at a time: each has a thread.
const QUESTIONS_MAX: usize = 16;

/// A site did not answer as it must. What it said stands in the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the site does not answer")]
pub(super) struct Away;

/// Asks sites.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    /// Made when it is first needed: most nodes ask nobody.
    agent: Arc<OnceLock<Agent>>,
    permits: Arc<Semaphore>,
}

impl Fetch {
    pub(super) fn new() -> Self {
        Self {
            agent: Arc::default(),
            permits: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// The answer to a GET.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, Away> {
        let url = url.to_owned();
        self.ask(move |agent| agent.get(&url).call()).await
    }

    /// The answer to a form with a token in it, asked as somebody who may.
    pub(super) async fn introspect(
        &self,
        url: &str,
        secret: &str,
        token: &str,
    ) -> Result<Vec<u8>, Away> {
        let (url, token) = (url.to_owned(), token.to_owned());
        let authorization = format!("Bearer {secret}");
        self.ask(move |agent| {
            agent
                .post(&url)
                .header("authorization", authorization)
                .header("accept", "application/json")
                .send_form([("token", token.as_str())])
        })
        .await
    }

    async fn ask(
        &self,
        question: impl FnOnce(&Agent) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>
        + Send
        + 'static,
    ) -> Result<Vec<u8>, Away> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(TIMEOUT, permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Away);
        };
        let agent = Arc::clone(&self.agent);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(agent.get_or_init(new_agent)).and_then(|mut answer| {
                let body = answer.body_mut().with_config();
                body.limit(ANSWER_BYTES_MAX).read_to_vec()
            });
            drop(permit);
            answer
        });
        match asked.await {
            Ok(Ok(octets)) => Ok(octets),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a site does not answer");
                Err(Away)
            }
            Err(_) => Err(Away),
        }
    }
}

fn new_agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(true)
        .http_status_as_error(true)
        .proxy(None)
        .user_agent("stompbox")
        .max_idle_connections(QUESTIONS_MAX)
        .build()
        .new_agent()
}

/// Whether something may be asked there: encrypted, or on this machine.
pub(super) fn may_be_asked(url: &str) -> bool {
    let clean = |rest: &str| {
        !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if let Some(rest) = url.strip_prefix("https://") {
        return clean(rest);
    }
    let Some(rest) = url.strip_prefix("http://").filter(|rest| clean(rest)) else {
        return false;
    };
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    };
    // A name before an `@` is a user, whatever it looks like.
    let is_local = host
        .parse::<IpAddr>()
        .map_or(host == "localhost", |it| it.is_loopback());
    is_local && !place.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_or_local_places_are_asked() {
        for url in [
            "https://example.com/jwks",
            "http://127.0.0.1:9/x",
            "http://[::1]:9/",
            "http://localhost/x",
        ] {
            assert!(may_be_asked(url), "{url}");
        }
        for url in [
            "",
            "http://example.com/",
            "file:///etc/passwd",
            "https://",
            "http://127.0.0.1@example.com/",
            "http://localhost.example.com/",
            "https://a b",
            "ftp://localhost/",
            "http://localhost@example.com",
        ] {
            assert!(!may_be_asked(url), "{url}");
        }
    }
}
