//! Bans and mutes: of users, of browsers by their fingerprint, of networks.
//!
//! Invariant: an address is keyed before it is kept, so that no list of bans is a list of addresses.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tokens::user_of;
use super::{CLASS, MODERATOR};
use crate::edge::Edge;
use crate::edge::rest::call::{Call, Reply, not_found, page_length};
use crate::edge::rest::cursor::List;
use crate::edge::rest::route::{CURSOR, LIMIT, Route};
use crate::identity::Handshake;
use crate::model::{ClientIdentifier, Code, Problem, UnixMillis};
use crate::store::accounts::{Ban, BanAct, Subject};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/admin/bans", list)
            .about("The bans and mutes that stand.")
            .by(MODERATOR, CLASS)
            .queries(&[CURSOR, LIMIT])
            .gives::<Bans>(StatusCode::OK),
        Route::post("/api/v1/admin/bans", put)
            .about("Ban or mute a user, a browser, or a network.")
            .more(
                "Name one of `user_id`, `client_identifier` and `network`. One that stands for the \
                 same subject is replaced. Live sessions are closed on every node within a second.",
            )
            .by(MODERATOR, CLASS)
            .takes::<NewBan>()
            .gives::<Shown>(StatusCode::CREATED),
        Route::delete("/api/v1/admin/bans/{kind}/{subject}/{act}", lift)
            .about("Lift a ban or a mute.")
            .more("`kind` is `user`, `client` or `network`; `act` is `ban` or `mute`.")
            .by(MODERATOR, CLASS)
            .gives_nothing(),
    ]
}

/// A ban or a mute to be made.
#[derive(Deserialize, ToSchema)]
struct NewBan {
    /// A user.
    #[schema(example = "user_0123456789abc")]
    user_id: Option<String>,
    /// A fingerprint, as the list of bans and the log have it.
    client_identifier: Option<String>,
    /// An address of the network, or its keyed name from the list of bans.
    network: Option<String>,
    /// `ban` unless given: may not connect; `mute`: may not write.
    act: Option<String>,
    /// For how long; for ever without this and without `until`.
    #[schema(minimum = 1)]
    seconds: Option<u64>,
    /// Until when, in RFC 3339.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Why: for the audit, and for him.
    #[schema(max_length = 500)]
    reason: String,
}

/// A ban or a mute.
#[derive(Serialize, ToSchema)]
#[schema(as = Ban)]
struct Shown {
    /// `user`, `client` or `network`.
    kind: &'static str,
    /// Whom it is about; a network by its keyed name.
    subject: String,
    /// `ban` or `mute`.
    act: &'static str,
    /// Until when; for ever without.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Why.
    reason: String,
    /// Who did it.
    by: String,
    /// When.
    created_at: String,
}

/// A page of bans.
#[derive(Serialize, ToSchema)]
struct Bans {
    /// The bans.
    items: Vec<Shown>,
    /// Where it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Whether there is another page.
    has_more: bool,
}

impl Shown {
    fn of(ban: Ban) -> Self {
        Self {
            kind: ban.subject.kind(),
            subject: ban.subject.as_str().to_owned(),
            act: ban.act.as_str(),
            until: ban.until.map(|until| until.to_string()),
            reason: ban.reason,
            by: ban.by,
            created_at: ban.created_at.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<String>,
}

async fn list(call: Call) -> Result<Reply, Problem> {
    let page: Page = call.query()?;
    let limit = page_length(page.limit.as_deref())? as usize;
    let (edge, actor) = (&call.edge, call.caller.principal()?);
    let (key, now) = (&edge.rest.key, edge.visitors.now());
    let list = List {
        name: "bans",
        of: actor.user_id.as_str(),
    };
    let first: usize = list.place(key, now, page.cursor.as_deref())?.unwrap_or(0);
    let mut bans = edge.app.accounts()?.bans().await?;
    bans.sort_by(|a, b| (&a.subject, a.act).cmp(&(&b.subject, b.act)));
    let end = first.saturating_add(limit);
    let has_more = bans.len() > end;
    let items = bans.into_iter().skip(first).take(limit).map(Shown::of);
    let body = Bans {
        items: items.collect(),
        next_cursor: has_more.then(|| list.cursor(key, now, &end.to_string())),
        has_more,
    };
    Reply::json(StatusCode::OK, &body)
}

async fn put(call: Call) -> Result<Reply, Problem> {
    let asked: NewBan = call.body()?;
    let (edge, actor) = (&call.edge, call.caller.principal()?);
    let subject = match (&asked.user_id, &asked.client_identifier, &asked.network) {
        (Some(user), None, None) => Subject::User(user_of(user)?),
        (None, Some(client), None) => Subject::Client(client.parse().map_err(|_| {
            let words = "A fingerprint has 26 characters.";
            Problem::new(Code::ValidationFailed, words).in_field("client_identifier")
        })?),
        (None, None, Some(network)) => {
            let network = network_of(edge, network).ok_or_else(|| {
                let words = "Write an address such as 192.0.2.1, or the keyed name of a network.";
                Problem::new(Code::ValidationFailed, words).in_field("network")
            })?;
            Subject::Network(network)
        }
        (Some(_) | None, _, _) => {
            let words = "Name one of 'user_id', 'client_identifier' and 'network'.";
            return Err(Problem::new(Code::ValidationFailed, words));
        }
    };
    let act = asked
        .act
        .as_deref()
        .map_or(Some(BanAct::Ban), BanAct::from_word);
    let act = act.ok_or_else(|| {
        Problem::new(Code::ValidationFailed, "Write ban or mute.").in_field("act")
    })?;
    let now = edge.visitors.now();
    let until = end_of(&asked, now)?;
    let accounts = edge.app.accounts()?;
    accounts
        .put_ban(actor, subject.clone(), act, until, &asked.reason)
        .await?;
    edge.app.review_bans().await;
    let shown = Shown::of(Ban {
        subject,
        act,
        until,
        reason: asked.reason,
        by: actor.user_id.to_string(),
        created_at: now,
    });
    let path = format!(
        "/api/v1/admin/bans/{}/{}/{}",
        shown.kind, shown.subject, shown.act
    );
    Ok(Reply::json(StatusCode::CREATED, &shown)?.at(&path))
}

fn end_of(asked: &NewBan, now: UnixMillis) -> Result<Option<UnixMillis>, Problem> {
    match (asked.seconds, &asked.until) {
        (None, None) => Ok(None),
        (Some(0), _) => Err(
            Problem::new(Code::ValidationFailed, "It lasts a second at least.").in_field("seconds"),
        ),
        (Some(seconds), None) => Ok(Some(now.after(Duration::from_secs(seconds)))),
        (None, Some(until)) => UnixMillis::from_rfc3339(until).map(Some).ok_or_else(|| {
            let words = "Write a time such as 2026-01-31T00:00:00Z.";
            Problem::new(Code::ValidationFailed, words).in_field("until")
        }),
        (Some(_), Some(_)) => {
            let words = "Send 'seconds' or 'until', not both.";
            Err(Problem::new(Code::ValidationFailed, words))
        }
    }
}

/// A network by one of its addresses, or by its keyed name.
fn network_of(edge: &Edge, text: &str) -> Option<ClientIdentifier> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(edge.visitors.network(&Handshake::without_page(address))),
        Err(_) => text.parse().ok(),
    }
}

async fn lift(call: Call) -> Result<Reply, Problem> {
    let (edge, actor) = (&call.edge, call.caller.principal()?);
    let text = call.parameter("subject");
    let subject = match call.parameter("kind") {
        "user" => Subject::User(call.id("subject")?),
        "client" => Subject::Client(call.id("subject")?),
        "network" => Subject::Network(network_of(edge, text).ok_or_else(not_found)?),
        _ => return Err(not_found()),
    };
    let act = BanAct::from_word(call.parameter("act")).ok_or_else(not_found)?;
    edge.app.accounts()?.lift(actor, subject, act).await?;
    edge.app.review_bans().await;
    Ok(Reply::nothing())
}
