//! What somebody does with his own account: the password, the name, who may write to him.
//!
//! Not here: what others may do with it (`admin`). Invariant: a new password ends every other
//! sign-in; asking for a letter takes the same time and gets the same answer for every address.

use std::sync::Arc;
use std::time::Duration;

use super::email::{read_email, read_name};
use super::letters::reset_letter;
use super::strength::NewPassword;
use super::tokens::{Opaque, Use};
use super::{Accounts, no_account, only_for_accounts, store_away};
use crate::identity::handshake::Handshake;
use crate::model::{Code, Principal, Problem, UserId};
use crate::policy::bucket::{Rate, Verdict};
use crate::store::accounts::{Account, DmPolicy, Once, Purpose};

/// How long a link for a new password can be used.
const RESET_LIFE: Duration = Duration::from_secs(60 * 60);

/// How many letters one person gets.
const LETTERS: Rate = Rate {
    capacity: 3,
    per_10_min: 2,
};

impl Accounts {
    /// Replaces the password; every other sign-in ends.
    ///
    /// # Errors
    /// `unauthorized` when the old one is not right (it counts as a failure), `validation_failed`,
    /// `rate_limited`, `overloaded`, `store_unavailable`.
    pub async fn change_password(
        &self,
        from: &Handshake,
        principal: &Principal,
        old: &str,
        new: &str,
    ) -> Result<(), Problem> {
        self.take("login", from, self.settings.logins_per_net)
            .await?;
        let account = self.own(principal).await?;
        let email = account.email.to_lowercase();
        let counters = self.counters(from, &email);
        let may_go_on = || self.failures.check(&counters, self.now());
        may_go_on()?;
        let new = NewPassword {
            password: new,
            email: &email,
            name: &account.name,
        };
        new.check()?;
        let networks = self.networks(from);
        let verified = self
            .passwords
            .verify(&networks, (old, &account.password), may_go_on);
        if !verified.await? {
            let quota = self.visitors.quota();
            self.failures.note(&counters, quota, self.now()).await;
            let words = "The old password is not right.";
            return Err(Problem::new(Code::Unauthorized, words).in_field("old"));
        }
        let hash = self.passwords.hash(&networks, new).await?;
        let user = account.user_id;
        let set = self
            .store
            .set_password(user.clone(), hash, principal.sign_in, self.now());
        if !set.await.map_err(store_away)? {
            return Err(no_account());
        }
        self.note(user.as_str(), "password", user.as_str(), String::new())
            .await;
        Ok(())
    }

    /// Sends a letter with a link for a new password, if there is such an account. The answer says
    /// nothing of that, and does not wait for it.
    ///
    /// # Errors
    /// `rate_limited` per network, and `overloaded`, both without regard to the address.
    pub async fn forgot(
        self: &Arc<Self>,
        from: &Handshake,
        email: &str,
        language: Option<&str>,
    ) -> Result<(), Problem> {
        self.take("letter", from, self.settings.registrations_per_net)
            .await?;
        let Ok(email) = read_email(email) else {
            return Ok(());
        };
        let Ok(permit) = Arc::clone(&self.letters).try_acquire_owned() else {
            let words = "Too many letters are on their way; try again in a moment.";
            return Err(Problem::new(Code::Overloaded, words).retry_after_ms(2_000));
        };
        let accounts = Arc::clone(self);
        let language = language.map(str::to_owned);
        self.work.spawn(async move {
            if let Err(problem) = accounts.send_reset(email.key, language.as_deref()).await {
                tracing::warn!(code = problem.code.as_str(), "a letter was not sent");
            }
            drop(permit);
        });
        Ok(())
    }

    async fn send_reset(&self, email: String, language: Option<&str>) -> Result<(), Problem> {
        let key = self.visitors.key().account(&email);
        // One person gets few letters, however many networks ask for them; nobody is told.
        let bucket = format!("letter:acct:{key}");
        let taken = self.visitors.quota().take(&bucket, LETTERS).await;
        if let Verdict::Refused { .. } = taken {
            return Ok(());
        }
        let account = self
            .store
            .account_by_email(email)
            .await
            .map_err(store_away)?;
        let Some(account) = account else {
            return Ok(());
        };
        let token = Opaque::random(Use::Reset)?;
        let once = Once {
            token: token.hash(),
            purpose: Purpose::Reset,
            user_id: account.user_id,
            expires_at: self.now().after(RESET_LIFE),
        };
        self.store.put_once(once).await.map_err(store_away)?;
        // After the `#`, so that no server and no referrer sees it.
        let link = format!("{}/#reset={}", self.settings.public_url, token.tell());
        let letter = reset_letter(account.email, &link, language);
        if let Err(error) = self.mail.send(letter).await {
            tracing::warn!(%error, "a letter for a new password was not sent");
        }
        Ok(())
    }

    /// Sets a new password by the token of a letter; every sign-in ends. Returns whose.
    ///
    /// # Errors
    /// `expired` when the token is none, was used or has ended; `validation_failed`, `overloaded`,
    /// `store_unavailable`.
    pub async fn reset(&self, from: &Handshake, token: &str, new: &str) -> Result<UserId, Problem> {
        self.take("login", from, self.settings.logins_per_net)
            .await?;
        let new = NewPassword {
            password: new,
            email: "",
            name: "",
        };
        // What the request says wrong is told before what the server knows of it.
        new.check()?;
        let token = Opaque::parse(Use::Reset, token).ok_or_else(used)?;
        // Before the token is used up: after a refused password the client may send another one.
        let hash = self.passwords.hash(&self.networks(from), new).await?;
        let now = self.now();
        let user = self.store.use_once(token.hash(), Purpose::Reset, now);
        let user = user.await.map_err(store_away)?.ok_or_else(used)?;
        let set = self.store.set_password(user.clone(), hash, None, now).await;
        if !set.map_err(store_away)? {
            return Err(used());
        }
        self.note(
            user.as_str(),
            "password_reset",
            user.as_str(),
            String::new(),
        )
        .await;
        Ok(user)
    }

    /// Changes the name that is shown.
    ///
    /// # Errors
    /// `validation_failed`, `anonymous_not_allowed`, `store_unavailable`.
    pub async fn set_name(&self, principal: &Principal, name: &str) -> Result<(), Problem> {
        let name = read_name(name)?;
        let account = self.own(principal).await?;
        let set = self.store.set_name(account.user_id, name).await;
        set.map_err(store_away)?
            .then_some(())
            .ok_or_else(no_account)
    }

    /// Changes who may begin to write to the account.
    ///
    /// # Errors
    /// `anonymous_not_allowed`, `store_unavailable`.
    pub async fn set_dm_policy(
        &self,
        principal: &Principal,
        policy: DmPolicy,
    ) -> Result<(), Problem> {
        let account = self.own(principal).await?;
        let user = account.user_id;
        let set = self.store.set_dm_policy(user.clone(), policy).await;
        let set = set.map_err(store_away)?;
        self.visitors.recipients().forget(&user);
        set.then_some(()).ok_or_else(no_account)
    }

    /// The principal's own account.
    async fn own(&self, principal: &Principal) -> Result<Account, Problem> {
        if !principal.kind.has_account() {
            return Err(only_for_accounts());
        }
        let account = self.store.account(principal.user_id.clone()).await;
        account.map_err(store_away)?.ok_or_else(only_for_accounts)
    }
}

fn used() -> Problem {
    Problem::new(
        Code::Expired,
        "This link has expired or was used before; ask for another one.",
    )
}
