//! Who there is: accounts, the site's own users, and where somebody stands.
//!
//! Not here: sign-ins and their tokens (`devices`, `refresh`). Invariant: an address that has an
//! account, or whose kind is that of an account's holder, is no visitor's any more, and no site's
//! token makes it somebody else's.

use super::devices::put_sign_in;
use super::sql::{Row, Sql, damaged, params};
use super::{Account, Admitted, DmPolicy, External, NewAccount, Registered, Role, UserState};
use crate::model::{Kind, SignInId, UnixMillis, UserId};
use crate::store::rows::KIND_VISITOR;
use crate::store::{StoreError, TokenHash};

/// The columns of an account, in the order in which [`account_of`] reads them.
macro_rules! account_columns {
    () => {
        "SELECT a.user_id, u.name, a.email, a.password, a.role, a.dm_policy, a.created_at, \
         u.taken_at FROM accounts a JOIN users u ON u.user_id = a.user_id "
    };
}

const ACCOUNT: &str = concat!(account_columns!(), "WHERE a.user_id = $1");
const ACCOUNT_BY_EMAIL: &str = concat!(account_columns!(), "WHERE a.email_key = $1");
const ACCOUNTS: &str = concat!(
    account_columns!(),
    "WHERE a.user_id > $1 ORDER BY a.user_id LIMIT $2"
);
const STANDING: &str = "SELECT u.kind, u.name, a.role, a.dm_policy, a.upgraded_by, s.id, \
    u.taken_at FROM users u LEFT JOIN accounts a ON a.user_id = u.user_id \
    LEFT JOIN sign_ins s ON s.id = $1 AND s.user_id = u.user_id WHERE u.user_id = $2";
const FOLLOW: &str = "SELECT new_id FROM aliases WHERE old_id = $1";
const PUT_USER: &str = "INSERT INTO users \
    (user_id, kind, is_loose, taken_at, name, client_identifier, created_at, last_seen) \
    VALUES ($1, 1, 0, NULL, $2, $3, $4, $4) ON CONFLICT (user_id) DO NOTHING";
const DROP_USER: &str = "DELETE FROM users WHERE user_id = $1";
const PUT_ACCOUNT: &str = "INSERT INTO accounts \
    (user_id, email, email_key, password, role, dm_policy, upgraded_by, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
const HIS_TOKEN: &str =
    "SELECT 1 FROM visitor_tokens WHERE token = $1 AND user_id = $2 AND expires_at > $3";
const RAISE_VISITOR: &str = "UPDATE users SET kind = 1, is_loose = 0, is_kept = 1, name = coalesce($1, name), \
    last_seen = CASE WHEN last_seen < $2 THEN $2 ELSE last_seen END WHERE user_id = $3";
const DROP_TOKENS: &str = "DELETE FROM visitor_tokens WHERE user_id = $1";
const DROP_ONCE_TOKENS: &str = "DELETE FROM once_tokens WHERE user_id = $1";
const KNOWN: &str = "SELECT u.kind, u.name, a.user_id FROM users u \
    LEFT JOIN accounts a ON a.user_id = u.user_id WHERE u.user_id = $1";
const DROP_OTHER_SIGN_INS: &str = "DELETE FROM sign_ins WHERE user_id = $1 AND id <> $2";

/// The fingerprint of a user whom nobody has seen: a site speaks for him.
const NO_FINGERPRINT: &str = "00000000000000000000000000";

pub(super) async fn account<S: Sql>(
    sql: &mut S,
    user: &UserId,
) -> Result<Option<Account>, StoreError> {
    let rows = sql.query(ACCOUNT, params![user]).await?;
    rows.first().map(account_of).transpose()
}

pub(super) async fn account_by_email<S: Sql>(
    sql: &mut S,
    email: &str,
) -> Result<Option<Account>, StoreError> {
    let rows = sql.query(ACCOUNT_BY_EMAIL, params![&key(email)]).await?;
    rows.first().map(account_of).transpose()
}

pub(super) async fn accounts<S: Sql>(
    sql: &mut S,
    after: &Option<UserId>,
    limit: &u32,
) -> Result<Vec<Account>, StoreError> {
    // Nothing is smaller than no octets.
    let after = after.as_ref().map_or("", UserId::as_str);
    let rows = sql.query(ACCOUNTS, params![after, *limit]).await?;
    rows.iter().map(account_of).collect()
}

pub(super) async fn standing<S: Sql>(
    sql: &mut S,
    user: &UserId,
    sign_in: &Option<SignInId>,
) -> Result<Option<UserState>, StoreError> {
    let rows = sql.query(STANDING, params![*sign_in, user]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let role = row.optional_text(2)?;
    let kind = match role {
        Some(word) => Role::from_word(&word).ok_or_else(damaged)?.kind(),
        None if row.int(0)? == KIND_VISITOR => Kind::Anonymous,
        None => Kind::Member,
    };
    let policy = row.optional_text(3)?;
    let dm_policy = match policy {
        Some(word) => DmPolicy::from_word(&word).ok_or_else(damaged)?,
        None => DmPolicy::default(),
    };
    let upgraded_by = row.optional_text(4)?;
    Ok(Some(UserState {
        kind,
        name: row.text(1)?,
        dm_policy,
        is_signed_in: sign_in.is_none() || row.optional_text(5)?.is_some(),
        upgraded_by: upgraded_by
            .map(|text| text.parse().map_err(|_| damaged()))
            .transpose()?,
        taken_at: row.optional_time(6)?,
    }))
}

pub(super) async fn follow<S: Sql>(sql: &mut S, user: &UserId) -> Result<UserId, StoreError> {
    let rows = sql.query(FOLLOW, params![user]).await?;
    rows.first()
        .map_or_else(|| Ok(user.clone()), |row| row.user(0))
}

pub(super) async fn register<S: Sql>(
    sql: &mut S,
    new: &NewAccount,
) -> Result<Registered, StoreError> {
    let name = new.name.as_deref().unwrap_or(new.user_id.as_str());
    let fingerprint = new.client_identifier.as_str();
    let params = params![&new.user_id, name, fingerprint, new.now];
    if sql.execute(PUT_USER, params).await? == 0 {
        // Addresses are random, so this is no user's doing.
        let words = "the address of a new account is somebody's already";
        return Err(StoreError::Unavailable(words.to_owned()));
    }
    if !put_account(sql, new, None).await? {
        sql.execute(DROP_USER, params![&new.user_id]).await?;
        return Ok(Registered::EmailTaken);
    }
    if let Some(sign_in) = &new.sign_in {
        put_sign_in(sql, sign_in).await?;
    }
    Ok(Registered::Done)
}

pub(super) async fn upgrade<S: Sql>(
    sql: &mut S,
    new: &NewAccount,
    token: &TokenHash,
) -> Result<Registered, StoreError> {
    let user = &new.user_id;
    if locked_visitor(sql, user).await?.is_none() {
        return Ok(Registered::NoVisitor);
    }
    let his = sql.query(HIS_TOKEN, params![token, user, new.now]).await?;
    if his.is_empty() {
        return Ok(Registered::NoVisitor);
    }
    let sign_in = new.sign_in.as_ref().map(|sign_in| sign_in.id);
    if !put_account(sql, new, sign_in).await? {
        return Ok(Registered::EmailTaken);
    }
    let raised = params![new.name.as_deref(), new.now, user];
    sql.execute(RAISE_VISITOR, raised).await?;
    // What they wrote is kept from now on: retention looks whose it is (`sql::is_of_account`), so that a long
    // history does not hold everybody up here.
    sql.execute(DROP_TOKENS, params![user]).await?;
    sql.execute(DROP_ONCE_TOKENS, params![user]).await?;
    if let Some(sign_in) = &new.sign_in {
        put_sign_in(sql, sign_in).await?;
    }
    Ok(Registered::Done)
}

pub(super) async fn admit_external<S: Sql>(
    sql: &mut S,
    external: &External,
) -> Result<Admitted, StoreError> {
    let user = &external.user_id;
    if !sql.query(FOLLOW, params![user]).await?.is_empty() {
        return Ok(Admitted::Taken);
    }
    let params = params![user, &external.name, NO_FINGERPRINT, external.now];
    if sql.execute(PUT_USER, params).await? > 0 {
        return Ok(Admitted::New);
    }
    let rows = sql.query(KNOWN, params![user]).await?;
    let row = rows.first().ok_or_else(damaged)?;
    if row.int(0)? == KIND_VISITOR || row.optional_text(2)?.is_some() {
        return Ok(Admitted::Taken);
    }
    if row.text(1)? != external.name {
        set_name(sql, user, &external.name).await?;
    }
    Ok(Admitted::Known)
}

pub(super) async fn set_password<S: Sql>(
    sql: &mut S,
    user: &UserId,
    password: &str,
    keep: &Option<SignInId>,
    _now: &UnixMillis,
) -> Result<bool, StoreError> {
    let statement = "UPDATE accounts SET password = $1 WHERE user_id = $2";
    if sql.execute(statement, params![password, user]).await? == 0 {
        return Ok(false);
    }
    // No id is empty.
    let keep = keep.map_or(String::new(), |keep| keep.to_string());
    sql.execute(DROP_OTHER_SIGN_INS, params![user, &keep])
        .await?;
    // A letter that was sent before must not open what was closed now.
    sql.execute(DROP_ONCE_TOKENS, params![user]).await?;
    Ok(true)
}

pub(super) async fn set_name<S: Sql>(
    sql: &mut S,
    user: &UserId,
    name: &str,
) -> Result<bool, StoreError> {
    let statement = "UPDATE users SET name = $1 WHERE user_id = $2";
    Ok(sql.execute(statement, params![name, user]).await? > 0)
}

pub(super) async fn set_role<S: Sql>(
    sql: &mut S,
    user: &UserId,
    role: &Role,
) -> Result<bool, StoreError> {
    let statement = "UPDATE accounts SET role = $1 WHERE user_id = $2";
    let changed = sql.execute(statement, params![role.as_str(), user]).await?;
    Ok(changed > 0)
}

pub(super) async fn set_dm_policy<S: Sql>(
    sql: &mut S,
    user: &UserId,
    policy: &DmPolicy,
) -> Result<bool, StoreError> {
    let statement = "UPDATE accounts SET dm_policy = $1 WHERE user_id = $2";
    let params = params![policy.as_str(), user];
    Ok(sql.execute(statement, params).await? > 0)
}

/// A visitor whom nobody else changes until the transaction ends.
pub(super) struct Visitor {
    /// Since when he is in the hands that he is in.
    pub(super) taken_at: Option<UnixMillis>,
}

/// Keeps others from changing a user; `None` when he is no visitor.
pub(super) async fn locked_visitor<S: Sql>(
    sql: &mut S,
    user: &UserId,
) -> Result<Option<Visitor>, StoreError> {
    let statement = format!(
        "SELECT kind, taken_at FROM users WHERE user_id = $1{}",
        S::LOCK
    );
    let rows = sql.query(&statement, params![user]).await?;
    match rows.first() {
        Some(row) if row.int(0)? == KIND_VISITOR => Ok(Some(Visitor {
            taken_at: row.optional_time(1)?,
        })),
        Some(_) | None => Ok(None),
    }
}

/// Whether the account was put: not when its e-mail is another's.
async fn put_account<S: Sql>(
    sql: &mut S,
    new: &NewAccount,
    upgraded_by: Option<SignInId>,
) -> Result<bool, StoreError> {
    let params = params![
        &new.user_id,
        &new.email,
        &key(&new.email),
        &new.password,
        new.role.as_str(),
        DmPolicy::default().as_str(),
        upgraded_by,
        new.now,
    ];
    Ok(sql.execute(PUT_ACCOUNT, params).await? > 0)
}

/// What makes two e-mails the same.
fn key(email: &str) -> String {
    email.to_lowercase()
}

fn account_of(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        user_id: row.user(0)?,
        name: row.text(1)?,
        email: row.text(2)?,
        password: row.text(3)?,
        role: Role::from_word(&row.text(4)?).ok_or_else(damaged)?,
        dm_policy: DmPolicy::from_word(&row.text(5)?).ok_or_else(damaged)?,
        created_at: row.time(6)?,
        taken_at: row.optional_time(7)?,
    })
}
