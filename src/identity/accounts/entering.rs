//! How somebody comes to be signed in: registering, a visitor's upgrade, the password.
//!
//! Not here: what goes on with a sign-in (`sign_ins`). Invariant: an upgrade and a merge need the
//! visitor's secret, and nothing else stands for it: no e-mail, no name, no fingerprint. Every entry
//! asks its limits first, then does what is cheap, then the store, then scores and hashes.

use super::email::{read_email, read_name};
use super::hashes::DUMMY;
use super::strength::NewPassword;
use super::{
    Accounts, Holder, LoggedIn, Login, Pair, Registration, Upgrade, no_random, random, store_away,
    wrong,
};
use crate::identity::handshake::Handshake;
use crate::identity::secret::Claim;
use crate::model::{Code, Kind, Principal, Problem, UserId};
use crate::store::accounts::{Account, Merge, Merged, NewAccount, Registered, Role};

/// The longest login that is looked up: an e-mail.
const LOGIN_BYTES_MAX: usize = 254;

impl Accounts {
    /// Makes an account, and signs its holder in.
    ///
    /// # Errors
    /// `validation_failed`, `email_taken`, `banned`, `rate_limited`, `try_later`, `overloaded`,
    /// `store_unavailable`.
    pub async fn register(
        &self,
        from: &Handshake,
        registration: Registration,
    ) -> Result<Pair, Problem> {
        self.take("register", from, self.settings.registrations_per_net)
            .await?;
        let email = read_email(&registration.email)?;
        let name = read_name(&registration.name)?;
        let user_id = UserId::from_random(random().map_err(no_random)?);
        let holder = Holder {
            user_id: &user_id,
            kind: Kind::Member,
            name: &name,
            taken_at: None,
        };
        let principal = self.principal(from, &holder, None, None);
        self.admit(&principal)?;
        let password = NewPassword {
            password: &registration.password,
            email: &email.key,
            name: &name,
        };
        let password = self.passwords.hash(&self.networks(from), password).await?;
        let now = self.now();
        let (sign_in, refresh) = self.new_sign_in(&user_id, &registration.device, now)?;
        let id = sign_in.id;
        let new = NewAccount {
            user_id: user_id.clone(),
            name: Some(name.clone()),
            email: email.written,
            password,
            role: Role::Member,
            client_identifier: principal.client_identifier,
            now,
            sign_in: Some(sign_in),
        };
        match self.store.register(new).await.map_err(store_away)? {
            Registered::Done => self.pair(&holder, id, &refresh, now),
            Registered::EmailTaken => Err(email_taken()),
            Registered::NoVisitor => Err(proof_required()),
        }
    }

    /// Makes a visitor the holder of an account with the address that he has.
    ///
    /// # Errors
    /// `proof_required` when the secret opens no visitor, and as [`Accounts::register`].
    pub async fn upgrade(
        &self,
        from: &Handshake,
        secret: &str,
        upgrade: Upgrade,
    ) -> Result<Pair, Problem> {
        self.take("register", from, self.settings.registrations_per_net)
            .await?;
        let claim = Claim::read(self.visitors.key(), secret);
        let token = claim.ok_or_else(proof_required)?.token;
        let email = read_email(&upgrade.email)?;
        let name = upgrade.name.as_deref().map(read_name).transpose()?;
        let visitor = match self.visitors.authenticate(from, secret).await {
            Ok(visitor) => visitor,
            Err(problem) if problem.code == Code::Unauthorized => return Err(proof_required()),
            Err(problem) => return Err(problem),
        };
        self.admit(&visitor)?;
        let shown = name.clone().unwrap_or_else(|| visitor.name.clone());
        let password = NewPassword {
            password: &upgrade.password,
            email: &email.key,
            name: &shown,
        };
        let password = self.passwords.hash(&self.networks(from), password).await?;
        let now = self.now();
        let (sign_in, refresh) = self.new_sign_in(&visitor.user_id, &upgrade.device, now)?;
        let id = sign_in.id;
        let new = NewAccount {
            user_id: visitor.user_id.clone(),
            name,
            email: email.written,
            password,
            role: Role::Member,
            client_identifier: visitor.client_identifier.clone(),
            now,
            sign_in: Some(sign_in),
        };
        self.visitors.keep(&visitor).await?;
        let done = self.store.upgrade(new, token).await.map_err(store_away)?;
        match done {
            Registered::Done => {}
            Registered::EmailTaken => return Err(email_taken()),
            Registered::NoVisitor => return Err(proof_required()),
        }
        self.visitors.recipients().forget(&visitor.user_id);
        let who = visitor.user_id.as_str();
        self.note(who, "upgrade", who, String::new()).await;
        let holder = Holder {
            user_id: &visitor.user_id,
            kind: Kind::Member,
            name: &shown,
            taken_at: visitor.standing.taken_at(),
        };
        self.pair(&holder, id, &refresh, now)
    }

    /// A site's visitor becomes the site's user, by both proofs: the secret and the site's token.
    /// Returns the site's user and the visitor.
    ///
    /// # Errors
    /// `proof_required`, and as [`Accounts::authenticate`].
    pub async fn site_upgrade(
        &self,
        from: &Handshake,
        secret: &str,
        token: &str,
    ) -> Result<(UserId, UserId), Problem> {
        let user = self.site_user(from, token).await?;
        let visitor = self.merge(from, secret, &user.user_id).await?;
        Ok((user.user_id, visitor))
    }

    /// Signs somebody in by his password. With the secret of a visitor that one becomes a part of
    /// the account first; without a live one nobody is signed in.
    ///
    /// # Errors
    /// `unauthorized`, in the same words and after the same work whether there is such an account or
    /// not; `proof_required`, `banned`, `rate_limited`, `try_later`, `overloaded`, `store_unavailable`.
    pub async fn login(&self, from: &Handshake, login: Login) -> Result<LoggedIn, Problem> {
        let account = self.verified(from, &login.email, &login.password).await?;
        let merged = match &login.merge {
            Some(secret) => Some(self.merge(from, secret, &account.user_id).await?),
            None => None,
        };
        let now = self.now();
        let (sign_in, refresh) = self.new_sign_in(&account.user_id, &login.device, now)?;
        let id = sign_in.id;
        self.store.sign_in(sign_in).await.map_err(store_away)?;
        let pair = self.pair(&holder_of(&account), id, &refresh, now)?;
        Ok(LoggedIn { pair, merged })
    }

    /// The principal of the headers `login` and `passcode` of STOMP. The sign-in that this opens has
    /// no refresh token that anybody knows; the session ends it at its own end, and it ends by
    /// itself when a refresh token would.
    ///
    /// # Errors
    /// As [`Accounts::login`].
    pub async fn password(
        &self,
        from: &Handshake,
        login: &str,
        password: &str,
        device: &str,
    ) -> Result<Principal, Problem> {
        let account = self.verified(from, login, password).await?;
        let now = self.now();
        let (sign_in, _nobody_knows_it) = self.new_sign_in(&account.user_id, device, now)?;
        let (id, ends_at) = (sign_in.id, sign_in.refresh_expires_at);
        self.store.sign_in(sign_in).await.map_err(store_away)?;
        Ok(self.principal(from, &holder_of(&account), Some(id), Some(ends_at)))
    }

    /// The account of this login and this password.
    async fn verified(
        &self,
        from: &Handshake,
        login: &str,
        password: &str,
    ) -> Result<Account, Problem> {
        // What is too long is nobody's, and costs what nobody's costs.
        let login = login.get(..LOGIN_BYTES_MAX).unwrap_or(login);
        let folded = read_email(login).map_or_else(|_| login.to_owned(), |email| email.key);
        let counters = self.counters(from, &folded);
        self.failures.check(&counters, self.now())?;
        self.take("login", from, self.settings.logins_per_net)
            .await?;
        let account = match login.parse::<UserId>() {
            Ok(user) if login.starts_with("user_") => self.store.account(user).await,
            Ok(_) | Err(_) => self.store.account_by_email(folded).await,
        };
        let account = account.map_err(store_away)?;
        let hash = account.as_ref().map_or(DUMMY, |account| &account.password);
        let may_go_on = || self.failures.check(&counters, self.now());
        let is_right = self
            .passwords
            .verify(&self.networks(from), (password, hash), may_go_on)
            .await?;
        let Some(account) = account.filter(|_| is_right) else {
            let quota = self.visitors.quota();
            self.failures.note(&counters, quota, self.now()).await;
            return Err(wrong());
        };
        self.admit(&self.principal(from, &holder_of(&account), None, None))?;
        Ok(account)
    }

    /// The visitor of this secret becomes a part of the account.
    async fn merge(
        &self,
        from: &Handshake,
        secret: &str,
        into: &UserId,
    ) -> Result<UserId, Problem> {
        let claim = Claim::read(self.visitors.key(), secret);
        let token = claim.ok_or_else(proof_required)?.token;
        // One that opens nothing may have been merged before.
        match self.visitors.authenticate(from, secret).await {
            Ok(visitor) => self.visitors.keep(&visitor).await?,
            Err(problem) if problem.code == Code::Unauthorized => {}
            Err(problem) => return Err(problem),
        }
        let merge = Merge {
            token,
            into: into.clone(),
            now: self.now(),
        };
        let merged = self.store.merge(merge).await.map_err(store_away)?;
        if matches!(merged, Merged::Begun(_)) {
            self.gather().await;
        }
        match merged {
            Merged::Done(visitor) | Merged::Begun(visitor) => {
                self.visitors.recipients().forget(&visitor);
                let detail = format!("{visitor} is a part of it now");
                self.note(into.as_str(), "merge", into.as_str(), detail)
                    .await;
                Ok(visitor)
            }
            Merged::Already(visitor) => Ok(visitor),
            Merged::NoVisitor => Err(proof_required()),
        }
    }
}

pub(super) fn holder_of(account: &Account) -> Holder<'_> {
    Holder {
        user_id: &account.user_id,
        kind: account.role.kind(),
        name: &account.name,
        taken_at: account.taken_at,
    }
}

pub(super) fn email_taken() -> Problem {
    Problem::new(
        Code::EmailTaken,
        "This e-mail has an account; sign in, or set a new password by e-mail.",
    )
    .in_field("email")
}

fn proof_required() -> Problem {
    Problem::new(
        Code::ProofRequired,
        "This needs the visitor's own secret: send it as Authorization: Visitor <secret>.",
    )
}
