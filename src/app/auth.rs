//! `/app/auth.refresh` and `/app/auth.upgrade`: what a session may do about its own identity without
//! connecting anew.
//!
//! Not here: tokens and passwords (`identity`), what follows for the other sessions of the user
//! (`review`). Invariant: a session never changes whom it speaks for; it brings a new token of the same
//! address, or makes an account of its own.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::speaker::Speaker;
use super::{App, Live, Pending, refused};
use crate::identity::accounts::{Accounts, Pair, Upgrade};
use crate::model::{Code, Problem};
use crate::session::{Reply, Send};

#[derive(Deserialize)]
struct RefreshBody {
    access_token: String,
}

#[derive(Deserialize)]
struct UpgradeBody {
    email: String,
    password: String,
    name: Option<String>,
    visitor_token: Option<String>,
}

impl App {
    /// A new token for the session that goes on.
    pub(super) async fn auth_refresh(self: &Arc<Self>, live: &Live, send: &Send) -> Pending {
        if let Err(problem) = self.take_frame(live) {
            return refused(problem);
        }
        let asked = async {
            let accounts = self.accounts()?;
            let body: RefreshBody = body(&send.body, "{\"access_token\":\"...\"}")?;
            self.renew(accounts, live, &body.access_token).await
        };
        match asked.await {
            Ok(reply) => Box::pin(std::future::ready(Ok(reply))),
            Err(problem) => refused(problem),
        }
    }

    async fn renew(&self, accounts: &Accounts, live: &Live, token: &str) -> Result<Reply, Problem> {
        let before = live.activity.speaker();
        let whence = live.activity.whence();
        let mut after = accounts.authenticate(&whence, token).await?;
        if after.user_id != before.principal.user_id {
            let words = "This token is of another user. Connect anew with it.";
            return Err(Problem::new(Code::Forbidden, words));
        }
        // Where it is has not changed, and is known better than from its address alone.
        after.client_identifier = before.principal.client_identifier.clone();
        after.standing = before.principal.standing;
        let expires_at = after.expires_at;
        let mute = before.mute.as_deref().cloned();
        live.activity.speak_for(Speaker::new(Arc::new(after), mute));
        self.expiries
            .forget(live.session, before.principal.expires_at);
        self.expiries.watch(live.session, expires_at);
        let in_s = expires_at.map(|at| at.since((self.clock)()).as_secs());
        Ok(Reply {
            headers: Vec::new(),
            result: Some(json!({ "expires_in": in_s })),
        })
    }

    /// A visitor makes an account of his address.
    pub(super) async fn auth_upgrade(self: &Arc<Self>, live: &Live, send: &Send) -> Pending {
        if let Err(problem) = self.take_frame(live) {
            return refused(problem);
        }
        let asked = async {
            let accounts = self.accounts()?;
            let shape = "{\"email\":\"...\",\"password\":\"...\",\"visitor_token\":\"...\"}";
            let body: UpgradeBody = body(&send.body, shape)?;
            let Some(secret) = body.visitor_token else {
                let words = "Send `visitor_token`, the secret of this visitor: the account is made for \
                             whoever has it.";
                return Err(Problem::new(Code::ProofRequired, words));
            };
            let upgrade = Upgrade {
                email: body.email,
                password: body.password,
                name: body.name,
                device: live.hub.device.to_string(),
            };
            let whence = live.activity.whence();
            accounts.upgrade(&whence, &secret, upgrade).await
        };
        match asked.await {
            Ok(pair) => {
                self.review(&pair.user_id).await;
                Box::pin(std::future::ready(Ok(told(&pair))))
            }
            Err(problem) => refused(problem),
        }
    }
}

/// The tokens go to the session that asked, and nowhere else: as the result of its SEND.
fn told(pair: &Pair) -> Reply {
    Reply {
        headers: Vec::new(),
        result: Some(json!({
            "user_id": pair.user_id.as_str(),
            "kind": pair.kind.as_str(),
            "name": pair.name,
            "access_token": pair.access_token,
            "token_type": "Bearer",
            "expires_in": pair.expires_in,
            "refresh_token": pair.refresh_token,
            "refresh_expires_in": pair.refresh_expires_in,
        })),
    }
}

fn body<T: DeserializeOwned>(octets: &[u8], shape: &str) -> Result<T, Problem> {
    serde_json::from_slice(octets).map_err(|error| {
        // What serde says of a text can repeat a part of it, which may be a password.
        let place = (error.line(), error.column());
        let words = format!(
            "The body is JSON such as {shape}; line {}, column {} is not.",
            place.0, place.1
        );
        Problem::new(Code::BadRequest, words)
    })
}
