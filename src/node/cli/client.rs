//! Asks a running node over REST, with a token that the service's own secret makes.
//!
//! Not here: what is asked (`service`). Invariant: whoever has the secret of the service may do
//! everything, and nobody else anything; the token lives for a minute and is shown to nobody.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

use super::super::config::Config;
use super::super::{accounts, kept};
use crate::model::UnixMillis;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer, in octets.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer, each with an exit code of its own.
#[derive(Debug)]
pub(super) enum Failure {
    /// 1: it was refused, or could not be asked.
    Failed(String),
    /// 2: what was written cannot be asked.
    Usage(String),
    /// 3: nobody answers.
    Unreachable(String),
    /// 4: whoever asks may not.
    Forbidden(String),
}

impl Failure {
    /// Says it in one line, and gives the exit code.
    pub(super) fn tell(self) -> ExitCode {
        let (code, words) = match self {
            Self::Failed(words) => (1, words),
            Self::Usage(words) => (2, words),
            Self::Unreachable(words) => (3, words),
            Self::Forbidden(words) => (4, words),
        };
        let _ = writeln!(io::stderr().lock(), "stompbox: {words}");
        ExitCode::from(code)
    }
}

/// A question.
#[derive(Debug)]
pub(super) struct Question {
    /// The method.
    pub(super) method: &'static str,
    /// The path below `/api/v1`.
    pub(super) path: String,
    /// The body.
    pub(super) body: Option<Value>,
}

/// A node to be asked.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Client {
    /// The node of this configuration, or the one at `url`.
    pub(super) fn new(config: &Config, url: Option<&str>) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let base = match url {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                url.trim_end_matches('/').to_owned()
            }
            Some(_) => {
                let words = "--url: write it as https://chat.example.com";
                return Err(Failure::Usage(words.to_owned()));
            }
            None => {
                let s = if config.settings.tls_cert.is_some() {
                    "s"
                } else {
                    ""
                };
                format!("http{s}://{}", super::address(config))
            }
        };
        let kept = kept::known(config).map_err(|error| failed(&error))?;
        let jwt = accounts::jwt(config, &kept).map_err(|error| failed(&error))?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let token = jwt.system_token(UnixMillis(now));
        let token = token.map_err(|problem| failed(&problem.detail))?;
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("stompbox")
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base,
            authorization: format!("Bearer {token}"),
        })
    }

    /// Asks, and gives the body of the answer.
    pub(super) fn ask(&self, question: &Question) -> Result<Value, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::Unreachable(format!("{}: {error}; is the node running?", self.base))
        };
        let request = Request::builder()
            .method(question.method)
            .uri(format!("{}/api/v1{}", self.base, question.path))
            .header("authorization", &self.authorization);
        let answer = match &question.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                request
                    .body(body.to_string())
                    .map(|request| self.agent.run(request))
            }
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        let answer = answer.map_err(|error| Failure::Usage(error.to_string()))?;
        let mut answer = answer.map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(|error| unreachable(&error))?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match status {
            200..=299 => Ok(body),
            401 | 403 => Err(Failure::Forbidden(words_of(&body, status))),
            _ => Err(Failure::Failed(words_of(&body, status))),
        }
    }
}

/// The words of a problem, with its code, by which it can be looked up.
fn words_of(problem: &Value, status: u16) -> String {
    let text = |name: &str| problem[name].as_str();
    match (text("code"), text("detail")) {
        (Some(code), Some(detail)) => format!("{detail} ({code})"),
        _ => format!("the node answers {status}"),
    }
}
