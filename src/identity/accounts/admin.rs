//! What those do who look after the service: accounts, roles, tokens, bans, the audit.
//!
//! Invariant: each act is asked of the permission table again, here, and is noted with who did it.

use std::time::Duration;

use super::email::{read_email, read_name};
use super::entering::{email_taken, holder_of};
use super::strength::NewPassword;
use super::{Accounts, no_account, no_random, random, store_away};
use crate::model::{
    Code, Kind, MessageId, NamedNetworks, Principal, Problem, UnixMillis, UserId, Width,
};
use crate::policy::{Action, permit};
use crate::store::accounts::{Account, Audit, Ban, BanAct, NewAccount, Registered, Role, Subject};

/// The longest life of a token that is made for somebody.
const MINT_LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The longest reason of a ban, in characters.
const REASON_CHARS_MAX: usize = 500;

/// The longest page.
const PAGE_MAX: u32 = 1_000;

impl Accounts {
    /// Makes an account for somebody.
    ///
    /// # Errors
    /// `forbidden`, `validation_failed`, `email_taken`, `store_unavailable`.
    pub async fn create(
        &self,
        actor: &Principal,
        email: &str,
        password: &str,
        name: &str,
        role: Role,
    ) -> Result<UserId, Problem> {
        permit(actor.kind, Action::Administer)?;
        let email = read_email(email)?;
        let name = read_name(name)?;
        let password = NewPassword {
            password,
            email: &email.key,
            name: &name,
        };
        let from = NamedNetworks {
            levels: [(actor.network.clone(), Width::Address)]
                .into_iter()
                .collect(),
            multiple: 1,
        };
        let password = self.passwords.hash(&from, password).await?;
        let user_id = UserId::from_random(random().map_err(no_random)?);
        let new = NewAccount {
            user_id: user_id.clone(),
            name: Some(name),
            email: email.written,
            password,
            role,
            client_identifier: actor.client_identifier.clone(),
            now: self.now(),
            sign_in: None,
        };
        match self.store.register(new).await.map_err(store_away)? {
            Registered::Done => {}
            Registered::EmailTaken | Registered::NoVisitor => return Err(email_taken()),
        }
        self.acted(actor, "create", &user_id, role.as_str().to_owned())
            .await;
        Ok(user_id)
    }

    /// The accounts in the order of their ids.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Account>, Problem> {
        let page = self.store.accounts(after, limit.min(PAGE_MAX)).await;
        page.map_err(store_away)
    }

    /// Changes what an account may do.
    ///
    /// # Errors
    /// `forbidden`, also for one's own account, so that the last one who looks after the service
    /// does not lock everybody out; `not_found`, `store_unavailable`.
    pub async fn set_role(
        &self,
        actor: &Principal,
        user: &UserId,
        role: Role,
    ) -> Result<(), Problem> {
        permit(actor.kind, Action::Administer)?;
        if actor.user_id == *user {
            let words = "Nobody changes his own role; ask another admin, or use the command line.";
            return Err(Problem::new(Code::Forbidden, words));
        }
        let set = self.store.set_role(user.clone(), role).await;
        if !set.map_err(store_away)? {
            return Err(no_account());
        }
        self.visitors.recipients().forget(user);
        self.acted(actor, "role", user, role.as_str().to_owned())
            .await;
        Ok(())
    }

    /// An access token for an account, such as a program's. It belongs to a sign-in of its own, with
    /// which it can be ended.
    ///
    /// # Errors
    /// `forbidden`, `validation_failed` for a life of more than a year, `not_found`,
    /// `store_unavailable`.
    pub async fn mint(
        &self,
        actor: &Principal,
        user: &UserId,
        ttl: Duration,
    ) -> Result<String, Problem> {
        permit(actor.kind, Action::Administer)?;
        if ttl > MINT_LIFE_MAX || ttl.is_zero() {
            let words = "A token lives for a second at least and for a year at most.";
            return Err(Problem::new(Code::ValidationFailed, words).in_field("ttl"));
        }
        let account = self.store.account(user.clone()).await.map_err(store_away)?;
        let account = account.ok_or_else(no_account)?;
        let now = self.now();
        let device = format!("token made by {}", actor.user_id);
        let (mut sign_in, _nobody_knows_it) = self.new_sign_in(user, &device, now)?;
        sign_in.refresh_expires_at = now.after(ttl);
        let id = sign_in.id;
        self.store.sign_in(sign_in).await.map_err(store_away)?;
        let kind = holder_of(&account).kind;
        let token = self.jwt.sign(user, kind, id, now, ttl)?;
        self.acted(actor, "mint", user, format!("{id}, {} s", ttl.as_secs()))
            .await;
        Ok(token)
    }

    /// Bans or mutes, on this node at once; the caller tells the others.
    ///
    /// # Errors
    /// `forbidden`, `validation_failed`, `store_unavailable`.
    pub async fn put_ban(
        &self,
        actor: &Principal,
        subject: Subject,
        act: BanAct,
        until: Option<UnixMillis>,
        reason: &str,
    ) -> Result<(), Problem> {
        permit(actor.kind, Action::Moderate)?;
        let now = self.now();
        if until.is_some_and(|until| until <= now) {
            let words = "A ban ends in the future, or never.";
            return Err(Problem::new(Code::ValidationFailed, words).in_field("until"));
        }
        if reason.chars().count() > REASON_CHARS_MAX {
            let words = "A reason has at most 500 characters.";
            return Err(Problem::new(Code::ValidationFailed, words).in_field("reason"));
        }
        if subject == Subject::User(actor.user_id.clone()) {
            return Err(Problem::new(Code::Forbidden, "Nobody bans himself."));
        }
        let detail = format!("{} {}: {reason}", act.as_str(), subject.kind());
        let text = subject.as_str().to_owned();
        let ban = Ban {
            subject,
            act,
            until,
            reason: reason.to_owned(),
            by: actor.user_id.to_string(),
            created_at: now,
        };
        self.store.put_ban(ban).await.map_err(store_away)?;
        self.note(actor.user_id.as_str(), act.as_str(), &text, detail)
            .await;
        self.reload_bans().await
    }

    /// Lifts a ban or a mute.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `store_unavailable`.
    pub async fn lift(
        &self,
        actor: &Principal,
        subject: Subject,
        act: BanAct,
    ) -> Result<(), Problem> {
        permit(actor.kind, Action::Moderate)?;
        let text = subject.as_str().to_owned();
        let detail = format!("{} {}", act.as_str(), subject.kind());
        let lifted = self.store.lift(subject, act).await;
        if !lifted.map_err(store_away)? {
            return Err(Problem::new(Code::NotFound, "There is no such ban."));
        }
        self.note(actor.user_id.as_str(), "lift", &text, detail)
            .await;
        self.reload_bans().await
    }

    /// The bans and mutes that stand.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn bans(&self) -> Result<Vec<Ban>, Problem> {
        self.store.bans(self.now()).await.map_err(store_away)
    }

    /// What was done, latest first, before `before`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn audit(
        &self,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Audit>, Problem> {
        let page = self.store.audit(before, limit.min(PAGE_MAX)).await;
        page.map_err(store_away)
    }

    /// Ends all sign-ins of a user. Returns how many.
    ///
    /// # Errors
    /// `forbidden`, `store_unavailable`.
    pub async fn end_all(&self, actor: &Principal, user: &UserId) -> Result<u64, Problem> {
        permit(actor.kind, Action::Administer)?;
        let ended = self.store.end_all(user.clone(), self.now()).await;
        let ended = ended.map_err(store_away)?;
        self.acted(actor, "end_all", user, format!("{ended} sign-ins"))
            .await;
        Ok(ended)
    }

    /// Notes that a user was erased, by themselves or by an admin, after `Visitors::begin_erasure`.
    pub async fn note_erasure(&self, actor: &Principal, user: &UserId) {
        self.admitted.forget(user);
        self.acted(actor, "erase", user, String::new()).await;
    }

    async fn acted(&self, actor: &Principal, act: &str, user: &UserId, detail: String) {
        debug_assert!(actor.kind == Kind::Admin || actor.user_id == *user);
        self.note(actor.user_id.as_str(), act, user.as_str(), detail)
            .await;
    }
}
