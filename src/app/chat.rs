//! `/app/chat.send`: a direct message.
//!
//! Rate, size, permission, recipient, append, RECEIPT, route, echo, in this order. Not here: how it
//! reaches anybody (`broker`). Invariant: what is refused has left no trace, and what is receipted is
//! committed.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::rates::bytes_of;
use super::{App, Live, Pending, refused};
use crate::broker::{AppendError, Committed};
use crate::identity::{RECIPIENT_LIFE, Recipient};
use crate::model::{ClientId, CloseReason, Code, EveryMinute, Kind, Principal, Problem, UserId};
use crate::policy::{may_reach, recipient_offline};
use crate::session::{Reply, Send};
use crate::store::{Append, StoreError};

/// What a client writes.
#[derive(Deserialize)]
struct Body {
    to: String,
    message: String,
    client_id: Option<String>,
}

/// A direct message that is as it must be.
#[derive(Debug, PartialEq, Eq)]
struct Draft {
    to: UserId,
    text: String,
    client_id: Option<ClientId>,
}

/// How much of a `client_id` is repeated to its writer.
const CLIENT_ID_BYTES_MAX: usize = 64;

/// So long what was read of a recipient counts as read now, where nobody looks once more.
const MOMENT: Duration = Duration::from_secs(1);

/// The header of a SEND by which the sending session asks for no copy of its message.
const ECHO: (&str, &str) = ("echo", "none");

impl App {
    pub(super) async fn chat_send(self: &Arc<Self>, live: &Live, send: &Send) -> Pending {
        match self.prepare(live, send).await {
            Ok((append, remaining)) => {
                let reserved = match self.reserve(live, &append) {
                    Ok(reserved) => reserved,
                    Err(mut problem) => {
                        problem.client_id = append.client_id.map(|id| id.to_string());
                        return refused(problem);
                    }
                };
                let (client_id, live) = (append.client_id.clone(), live.clone());
                let kept = (!append.visitors.is_empty())
                    .then(|| (Arc::clone(&self.visitors), append.to.clone()));
                let no_echo = send.headers.iter().any(|(n, v)| (&**n, &**v) == ECHO);
                let without_echo = no_echo.then_some(live.session);
                let committed = self.broker.append(append, without_echo, Some(reserved));
                Box::pin(async move {
                    let committed = committed.await.map_err(|error| {
                        let mut problem = refusal(&error, &live);
                        problem.client_id = client_id.map(|id| id.to_string());
                        problem
                    })?;
                    if let Some((visitors, to)) = kept {
                        live.activity.set_kept();
                        visitors.forget(&to);
                    }
                    Ok(receipt(&committed, remaining))
                })
            }
            Err(mut problem) => {
                let named = serde_json::from_slice::<Body>(&send.body).ok();
                // As it was written, but never longer than one may be.
                let client_id = named.and_then(|body| body.client_id);
                problem.client_id = client_id.filter(|id| id.len() <= CLIENT_ID_BYTES_MAX);
                refused(problem)
            }
        }
    }

    /// Whether a SEND would be taken, apart from what the store says when it commits.
    pub(super) async fn check_chat_send(&self, live: &Live, send: &Send) -> Result<(), Problem> {
        self.prepare(live, send).await.map(|_| ())
    }

    async fn prepare(&self, live: &Live, send: &Send) -> Result<(Append, u32), Problem> {
        let remaining = self.take_message(live, bytes_of(send)).await?;
        let draft = draft(&send.body, &self.settings)?;
        let sender = &*live.principal();
        let mut visitors = Vec::new();
        if !live.activity.is_kept() {
            visitors.extend(self.visitors.row_of_principal(sender));
        }
        let (to, to_holder) = if draft.to == sender.user_id {
            (draft.to, None)
        } else {
            let to = self.check_reach(sender, &draft.to, true).await?;
            visitors.extend(to.keep.map(|keep| *keep));
            (to.user_id, to.standing.holder())
        };
        let room = live.activity.room_with(&sender.user_id, &to);
        let now = (self.clock)();
        let keep = match sender.kind {
            Kind::Anonymous => Some(now.after(self.settings.visitor_history)),
            Kind::Member | Kind::Bot | Kind::Admin => None,
        };
        let append = Append {
            room,
            id: self.ids.next(now),
            from: sender.user_id.clone(),
            from_name: sender.name.clone(),
            to,
            client_id: draft.client_id,
            text: draft.text,
            timestamp: now,
            expires_at: keep,
            // A session that location lost sight of may have lost its identity to a neighbour. What
            // it writes then would pass for the neighbour's words, and an answer to it for one to
            // the neighbour, who may be written to from then on.
            from_holder: sender.standing.holder(),
            to_holder,
            visitors,
        };
        Ok((append, remaining))
    }

    /// The recipient, who exists and may be written to: with another address than was written when
    /// he has become a part of an account since. That holds only while he is in the hands
    /// that are returned, which the store looks at once more when it commits: then, and where every
    /// change of hands goes through this process, what is remembered of him is good enough for a yes.
    pub(super) async fn check_reach(
        &self,
        sender: &Principal,
        to: &UserId,
        is_checked_again: bool,
    ) -> Result<Recipient, Problem> {
        let life = match is_checked_again || self.broker.is_alone() {
            true => RECIPIENT_LIFE,
            false => MOMENT,
        };
        let known = self.visitors.remembered(to, life);
        // Whether somebody has written to the sender before only the store knows.
        if let Some(known) = known.filter(|known| known.lets_write(sender)) {
            let standing = known.standing;
            let is_live = !standing.is_loose() || self.broker.was_connected(to);
            if may_reach(&sender.user_id, to, standing, false, is_live).is_ok() {
                return Ok(known);
            }
        }
        let Some(recipient) = self.visitors.recipient(to).await? else {
            return Err(self.visitors.unknown_recipient());
        };
        let is_live = !recipient.standing.is_loose() || self.broker.is_connected(to).await;
        self.visitors
            .check_reach(sender, &recipient, is_live)
            .await?;
        Ok(recipient)
    }
}

/// Reads and checks what the client wrote.
fn draft(body: &[u8], settings: &super::AppSettings) -> Result<Draft, Problem> {
    let invalid =
        |field, words: String| Problem::new(Code::ValidationFailed, words).in_field(field);
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        let words = format!(
            "The body is JSON such as {{\"to\":\"user_...\",\"message\":\"...\"}}: {error}"
        );
        Problem::new(Code::BadRequest, words)
    })?;
    let to = body
        .to
        .parse()
        .map_err(|error| invalid("to", format!("`to` is {error}.")))?;
    let client_id = body.client_id.as_deref().map(str::parse).transpose();
    let client_id = client_id.map_err(|error| invalid("client_id", format!("This is {error}.")))?;
    let text = if body.message.is_ascii() || is_nfc(&body.message) {
        body.message
    } else {
        body.message.nfc().collect()
    };
    if text.trim().is_empty() {
        return Err(invalid(
            "message",
            "`message` must have more than white space.".to_owned(),
        ));
    }
    let (bytes_max, chars_max) = (settings.message_bytes_max, settings.message_chars_max);
    if text.len() > bytes_max || text.chars().count() > chars_max {
        let words = format!("`message` has at most {chars_max} characters and {bytes_max} octets.");
        return Err(invalid("message", words));
    }
    Ok(Draft {
        to,
        text,
        client_id,
    })
}

/// What the sender is told of a committed message.
fn receipt(committed: &Committed, remaining: u32) -> Reply {
    let message = &committed.delivery.message;
    let mut headers = vec![
        ("message-id", message.id.to_string()),
        ("seq", message.seq.to_string()),
    ];
    if committed.duplicate {
        headers.push(("duplicate", "true".to_owned()));
    }
    if remaining != u32::MAX {
        headers.push(("x-rate-remaining", remaining.to_string()));
    }
    let result = json!({
        "id": message.id.to_string(),
        "room_id": message.room.to_string(),
        "seq": message.seq,
        "epoch": format!("{:x}", message.epoch),
        "timestamp": message.timestamp.to_string(),
        "duplicate": committed.duplicate,
    });
    Reply {
        headers,
        result: Some(result),
    }
}

/// What the sender is told when his message was not appended. The session of one whose identity has
/// passed to somebody else ends.
fn refusal(error: &AppendError, live: &Live) -> Problem {
    match error {
        AppendError::Store(StoreError::ChangedHands(user)) if *user == live.hub.user => {
            live.outbox.cut(CloseReason::IDENTITY_LOST);
            let words =
                "This address was claimed by another client. Reconnect to get one of your own.";
            Problem::new(Code::Unauthorized, words)
        }
        AppendError::Fenced => {
            let words = "This node is cut off from the others. Send again with the same client_id.";
            Problem::new(Code::BrokerUnavailable, words).retry_after_ms(1_000)
        }
        AppendError::Ending => {
            let words = "This node is ending. Connect again and send with the same client_id.";
            Problem::new(Code::Draining, words).retry_after_ms(1_000)
        }
        AppendError::Store(error) => store_problem(error.clone()),
    }
}

/// Requests that the store refused, for the log.
static REFUSED: EveryMinute = EveryMinute::new();

/// What a client is told when the store does not do its work; the cause stays in the log.
pub(super) fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Overloaded => {
            let words =
                "More is being written than can be stored. Send again with the same client_id.";
            Problem::new(Code::TryLater, words).retry_after_ms(500)
        }
        StoreError::ChangedHands(_) => recipient_offline(),
        error @ StoreError::Unavailable(_) => {
            if let Some(requests) = REFUSED.due(std::time::Instant::now()) {
                tracing::warn!(%error, requests, "refused, because the store does not do its work");
            }
            let words = "The store cannot be reached. Send again with the same client_id.";
            Problem::new(Code::StoreUnavailable, words).retry_after_ms(1_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AppSettings;
    use super::*;
    use crate::app::rates::Activity;
    use crate::app::speaker::Speaker;
    use crate::app::tests::somebody;
    use crate::hub::{HubSession, Outbox, Pulled};
    use crate::model::{SessionId, Standing, UnixMillis};

    fn check(body: &str, expected: Result<&str, (Code, Option<&str>)>) {
        let settings = AppSettings {
            message_chars_max: 5,
            message_bytes_max: 12,
            ..AppSettings::default()
        };
        let found = draft(body.as_bytes(), &settings);
        let found = found
            .as_ref()
            .map(|d| d.text.as_str())
            .map_err(|p| (p.code, p.field.as_deref()));
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn a_recipient_who_changed_hands_is_refused_in_the_words_of_one_who_is_away() {
        let live = session_of("a");
        let refused = |user: &str| {
            let user = user.parse().unwrap();
            refusal(&StoreError::ChangedHands(user).into(), &live)
        };
        let (from, to) = ("a".parse().unwrap(), "b".parse().unwrap());
        let loose = Standing::Loose { taken_at: None };
        let away = may_reach(&from, &to, loose, false, false).unwrap_err();
        assert_eq!(refused("b"), away);
        assert!(live.outbox.try_pull().is_none());
        // The writer himself: his session is over.
        assert_eq!(refused("a").code, Code::Unauthorized);
        let cut = live.outbox.try_pull();
        assert_eq!(cut, Some(Pulled::Cut(CloseReason::IDENTITY_LOST)));
    }

    fn session_of(user: &str) -> Live {
        let user_id: UserId = user.parse().unwrap();
        let outbox = Arc::new(Outbox::new(AppSettings::default().outbox));
        let session = SessionId(1);
        let since = UnixMillis(0);
        let hub = HubSession::new(
            session,
            user_id.clone(),
            "".into(),
            since,
            Arc::clone(&outbox),
        );
        let mut principal = somebody(user);
        principal.standing = Standing::Loose { taken_at: None };
        let speaker = Speaker::new(Arc::new(principal), None);
        Live {
            session,
            outbox,
            hub,
            activity: Arc::new(Activity::new(
                speaker,
                [192, 0, 2, 1].into(),
                &AppSettings::default(),
            )),
        }
    }

    #[test]
    fn a_message_is_checked_before_anything_happens() {
        let field = |field| Err((Code::ValidationFailed, Some(field)));
        check(r#"{"to":"user_a","message":"hello"}"#, Ok("hello"));
        check(r#"{"to":"user_a","message":"hello","x":1}"#, Ok("hello"));
        check(r#"{"to":"user_a","message":"hello!"}"#, field("message"));
        check(
            r#"{"to":"user_a","message":"안녕하세요"}"#,
            field("message"),
        );
        check(r#"{"to":"user_a","message":"안녕"}"#, Ok("안녕"));
        // Decomposed letters are composed before they are counted.
        check(
            "{\"to\":\"user_a\",\"message\":\"e\u{301}e\u{301}e\u{301}e\u{301}\"}",
            Ok("éééé"),
        );
        for empty in ["", " ", "\\n\\t", "\u{3000}"] {
            check(
                &format!(r#"{{"to":"user_a","message":"{empty}"}}"#),
                field("message"),
            );
        }
        check(r#"{"to":"a/b","message":"x"}"#, field("to"));
        check(
            r#"{"to":"user_a","message":"x","client_id":"a b"}"#,
            field("client_id"),
        );
        for broken in ["", "{}", "[]", "{\"to\":1,\"message\":\"x\"}", "\u{0}"] {
            check(broken, Err((Code::BadRequest, None)));
        }
    }
}
