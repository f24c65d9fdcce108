//! Looks at somebody again who is connected, because something about him has changed: his account, his
//! sign-ins, a ban.
//!
//! What is so now says the store; a notice says only whom to ask about. Not here: who changes something
//! (`identity`, by REST and by `auth`), how the nodes hear of it (`broker::notices`). Invariant: after a
//! review a session does what its user may do now, or it is closed with the reason.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::speaker::{Mute, Speaker};
use super::{App, Live};
use crate::broker::Reviews;
use crate::identity::accounts::Accounts;
use crate::model::{
    CloseReason, Destination, Kind, Principal, SessionId, SignInId, Standing, UserId,
};
use crate::store::accounts::{BanAct, UserState};

/// How long to wait when the store did not answer.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// How many sessions are looked at before others have their turn, when everybody is.
const TURN: usize = 200;

/// How long that turn is.
const REST: Duration = Duration::from_millis(50);

impl App {
    /// Something about this user has changed: his sessions on every node follow within a moment.
    pub async fn review(self: &Arc<Self>, user: &UserId) {
        self.visitors.forget(user);
        self.broker.review(user).await;
    }

    /// A ban or a mute was made or lifted: everybody who is connected to any node is held against it.
    pub async fn review_bans(self: &Arc<Self>) {
        self.broker.review_bans().await;
    }

    /// The sign-ins of a user that have a session on this node.
    #[must_use]
    pub fn sign_ins_here(&self, user: &UserId) -> BTreeSet<SignInId> {
        let sessions = self.broker.hub.sessions_of(user).into_iter();
        let live = sessions.filter_map(|session| self.live(session.id));
        live.filter_map(|live| live.principal().sign_in).collect()
    }

    pub(super) async fn review_loop(self: Arc<Self>, accounts: Arc<Accounts>) {
        loop {
            let Reviews { users, bans, all } = self.broker.reviews().await;
            if (bans || all)
                && let Err(problem) = accounts.reload_bans().await
            {
                tracing::warn!(code = problem.code.as_str(), "bans are read again soon");
                self.look_again(Reviews {
                    bans,
                    all,
                    ..Reviews::default()
                });
            }
            for user in &users {
                self.visitors.forget(user);
                for session in self.broker.hub.sessions_of(user) {
                    self.review_session(&accounts, session.id).await;
                }
            }
            if bans || all {
                self.review_everybody(&accounts, all).await;
            }
        }
    }

    /// Looks at every session here; in every respect, or only at bans.
    async fn review_everybody(self: &Arc<Self>, accounts: &Accounts, in_every_respect: bool) {
        let sessions = self.broker.hub.sessions();
        for some in sessions.chunks(TURN) {
            for session in some {
                if in_every_respect {
                    self.review_session(accounts, session.id).await;
                } else if let Some(live) = self.live(session.id) {
                    self.hold_against_bans(accounts, &live);
                }
            }
            if in_every_respect {
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// The store has not answered.
    fn look_again(self: &Arc<Self>, reviews: Reviews) {
        let app = Arc::clone(self);
        self.broker.spawn(async move {
            tokio::time::sleep(STORE_RETRY).await;
            app.broker.want_reviews(reviews);
        });
    }

    async fn review_session(self: &Arc<Self>, accounts: &Accounts, session: SessionId) {
        let Some(live) = self.live(session) else {
            return;
        };
        let principal = live.principal();
        let standing = accounts.standing(&principal.user_id, principal.sign_in);
        let standing = match standing.await {
            Ok(standing) => standing,
            Err(problem) => {
                tracing::debug!(code = problem.code.as_str(), "a review waits for the store");
                self.look_again(Reviews::of(&principal.user_id));
                return;
            }
        };
        match standing {
            Some(standing) if standing.is_signed_in => {
                if let Some(changed) = changed(&principal, &standing) {
                    self.change(&live, &principal, changed);
                }
                self.hold_against_bans(accounts, &live);
            }
            None if principal.made_at.is_some() => {
                self.review_without_row(accounts, &live, &principal).await;
            }
            // Signed out, or not there any more: forgotten, or a part of somebody else.
            Some(_) | None => live.outbox.cut(CloseReason::SIGNED_OUT),
        }
    }

    /// A visitor of whom nothing is stored: the address may have been given up all the same.
    async fn review_without_row(
        self: &Arc<Self>,
        accounts: &Accounts,
        live: &Live,
        principal: &Principal,
    ) {
        match self.visitors.is_holder(principal).await {
            Ok(true) => self.hold_against_bans(accounts, live),
            Ok(false) => live.outbox.cut(CloseReason::SIGNED_OUT),
            Err(_) => self.look_again(Reviews::of(&principal.user_id)),
        }
    }

    /// Closes a session whose user is banned, and notes whether he may write.
    fn hold_against_bans(&self, accounts: &Accounts, live: &Live) {
        let speaker = live.activity.speaker();
        let found = accounts.verdict(&speaker.principal);
        if found.ban.is_some() {
            live.outbox.cut(CloseReason::BANNED);
            return;
        }
        let mute = found.mute.map(|ban| Mute {
            until: ban.until,
            reason: ban.reason.into(),
        });
        if mute.as_ref() != speaker.mute.as_deref() {
            let is_muted = mute.is_some();
            let principal = Arc::clone(&speaker.principal);
            let body = json!({
                "type": "NOTIFICATION",
                "kind": if is_muted { BanAct::Mute.as_str() } else { "unmute" },
                "until": mute.as_ref().and_then(|mute| mute.until).map(|at| at.to_string()),
                "reason": mute.as_ref().map(|mute| mute.reason.to_string()),
                "timestamp": (self.clock)().to_string(),
            });
            live.activity.speak_for(Speaker::new(principal, mute));
            self.notify(live.session, &body);
        }
    }

    /// From now on the session speaks for the same address as somebody who may do something else.
    fn change(&self, live: &Live, before: &Principal, after: Principal) {
        let (user_id, kind, name) = (after.user_id.clone(), after.kind, after.name.clone());
        let mute = live.activity.speaker().mute.as_deref().cloned();
        live.activity.speak_for(Speaker::new(Arc::new(after), mute));
        let event = match (before.kind, kind) {
            (Kind::Anonymous, kind) if kind.has_account() => "UPGRADED",
            _ => "MEMBER",
        };
        if before.kind != kind {
            self.shares.identify(live.session, &live.claimant());
            self.drop_what_is_not_allowed(live);
        }
        let body = json!({
            "type": event,
            "user_id": user_id.as_str(),
            "kind": kind.as_str(),
            "name": name,
            "timestamp": (self.clock)().to_string(),
        });
        self.notify(live.session, &body);
    }

    /// Takes away the subscriptions that the user may not have any more, each with its reason.
    fn drop_what_is_not_allowed(&self, live: &Live) {
        let topics = self.broker.hub.topics.of_session(live.session);
        let topics = topics
            .into_iter()
            .filter(|(topic, _)| !topic.starts_with("/user/") && !topic.starts_with("/session/"))
            .map(|(topic, id)| (Destination::Topic(topic), id));
        let queues = self.shares.queues_of(live.session);
        for (destination, id) in topics.chain(queues) {
            let Err(problem) = self.may_subscribe(live, &destination) else {
                continue;
            };
            match &destination {
                Destination::Topic(topic) => self.topic_unsubscribe(live, topic, &id),
                Destination::Queue(_)
                | Destination::App(_)
                | Destination::User(_)
                | Destination::UserQueue(_)
                | Destination::TempQueue(_)
                | Destination::ReplyQueue(_) => {}
            }
            live.hub.close_windows(&id);
            self.shares.ended(live.session, &id);
            self.notify_unsubscribed(live.session, &destination, &id, &problem);
        }
    }
}

/// Who the session speaks for after a review, if that is another than before. What a site says of its
/// own users stands in their tokens, not in the store.
fn changed(principal: &Principal, standing: &UserState) -> Option<Principal> {
    let is_sites_own = principal.kind.has_account() && principal.sign_in.is_none();
    if is_sites_own || (principal.kind == standing.kind && principal.name == standing.name) {
        return None;
    }
    let mut after = principal.clone();
    after.kind = standing.kind;
    after.name.clone_from(&standing.name);
    if !principal.kind.has_account() && standing.kind.has_account() {
        after.sign_in = standing.upgraded_by;
        after.made_at = None;
        // Nobody but its holder can have made an account of it.
        after.standing = Standing::Firm {
            taken_at: principal.standing.taken_at(),
        };
    }
    Some(after)
}
