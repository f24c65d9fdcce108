//! REST of somebody about himself: who he is, what he may do, his devices, his own copy, and being
//! forgotten.
//!
//! Invariant: nothing of somebody is shown or changed without his own proof; an account is forgotten
//! only with its password once more.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::export;
use super::route::{CURSOR, Class, Route, Who};
use crate::model::{Code, Kind, Principal, Problem, SignInId};
use crate::policy::permission::{Action, grant};
use crate::store::accounts::DmPolicy;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/me", profile)
            .about("Who I am.")
            .by(Who::Anybody, Class::General)
            .gives::<Profile>(StatusCode::OK),
        Route::put("/api/v1/me", change)
            .about("Change my name, or who may begin to write to me.")
            .by(Who::Account, Class::General)
            .takes::<Change>()
            .gives::<Profile>(StatusCode::OK),
        Route::delete("/api/v1/me", erase)
            .about("Forget me: the row, the secrets, the words of the messages.")
            .more("An account needs its password once more; a visitor sends no body.")
            .by(Who::Anybody, Class::General)
            .may_take::<Erase>()
            .gives_nothing()
            .refuses(&[Code::Overloaded]),
        Route::get("/api/v1/me/export", export::export)
            .about("Everything that is stored of me, oldest first, in pages.")
            .more(
                "Ask again with `cursor` until `has_more` is false. A page has at most 1,000 messages \
                 or about 4 MiB. One export at a time: a second one is `rate_limited`.",
            )
            .by(Who::Anybody, Class::General)
            .queries(&[CURSOR])
            .gives::<export::Export>(StatusCode::OK),
        Route::get("/api/v1/me/permissions", permissions)
            .about("What I may do.")
            .by(Who::Anybody, Class::General)
            .gives::<Permissions>(StatusCode::OK),
        Route::get("/api/v1/me/sessions", sessions)
            .about("Where I am signed in, the latest first.")
            .by(Who::Account, Class::General)
            .gives::<Devices>(StatusCode::OK),
        Route::delete("/api/v1/me/sessions/{id}", end_session)
            .about("Sign out one device.")
            .by(Who::Account, Class::General)
            .gives_nothing(),
    ]
}

/// Who somebody is.
#[derive(Serialize, ToSchema)]
struct Profile {
    /// His address.
    #[schema(example = "user_0123456789abc")]
    user_id: String,
    /// `anonymous`, `member`, `bot`, `admin`.
    kind: &'static str,
    /// The name that is shown.
    name: String,
    /// The e-mail of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Who may begin to write to an account: `everyone`, `members`, `contacts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    dm_policy: Option<&'static str>,
    /// When the account was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// What changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeProfile)]
struct Change {
    /// The name that is shown.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Who may begin to write to me: `everyone`, `members`, `contacts`.
    dm_policy: Option<String>,
}

/// The password of the account that is to be forgotten.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = Forget)]
struct Erase {
    /// The password.
    #[schema(format = Password)]
    password: Option<String>,
}

/// What somebody may do.
#[derive(Serialize, ToSchema)]
struct Permissions {
    /// `anonymous`, `member`, `bot`, `admin`.
    kind: &'static str,
    /// Each action with its grant.
    permissions: Vec<Permission>,
}

/// One action.
#[derive(Serialize, ToSchema)]
struct Permission {
    /// Its word.
    action: &'static str,
    /// `yes`, `limited`, `no`.
    grant: &'static str,
    /// What it is.
    about: &'static str,
}

/// Where somebody is signed in.
#[derive(Serialize, ToSchema)]
struct Devices {
    /// The sign-ins.
    items: Vec<Device>,
    /// Always `false`: there are few.
    has_more: bool,
}

/// A sign-in on a device.
#[derive(Serialize, ToSchema)]
struct Device {
    /// Its name for `DELETE /me/sessions/{id}`.
    #[schema(example = "dev_01j9zzzzzzzzzzzzzzzzzzzzzz")]
    id: String,
    /// What the device is called.
    device: String,
    /// When it began.
    created_at: String,
    /// When it was last used.
    last_seen: String,
    /// Whether it is the one that asks.
    current: bool,
    /// Whether it has a connection to this node.
    online: bool,
}

async fn profile(call: Call) -> Result<Reply, Problem> {
    Reply::json(
        StatusCode::OK,
        &shown(&call, call.caller.principal()?).await?,
    )
}

async fn shown(call: &Call, principal: &Principal) -> Result<Profile, Problem> {
    let account = match principal.kind.has_account() {
        true => {
            call.edge
                .app
                .accounts()?
                .profile(&principal.user_id)
                .await?
        }
        false => None,
    };
    let name = account
        .as_ref()
        .map_or(&principal.name, |account| &account.name);
    Ok(Profile {
        user_id: principal.user_id.to_string(),
        kind: principal.kind.as_str(),
        name: name.clone(),
        dm_policy: account.as_ref().map(|account| account.dm_policy.as_str()),
        created_at: account
            .as_ref()
            .map(|account| account.created_at.to_string()),
        email: account.map(|account| account.email),
    })
}

async fn change(call: Call) -> Result<Reply, Problem> {
    let asked: Change = call.body()?;
    let (app, principal) = (&call.edge.app, call.caller.principal()?);
    let policy = asked.dm_policy.as_deref().map(|word| {
        DmPolicy::from_word(word).ok_or_else(|| {
            let words = "Write everyone, members or contacts.";
            Problem::new(Code::ValidationFailed, words).in_field("dm_policy")
        })
    });
    let policy = policy.transpose()?;
    let accounts = app.accounts()?;
    if let Some(name) = &asked.name {
        accounts.set_name(principal, name).await?;
    }
    if let Some(policy) = policy {
        accounts.set_dm_policy(principal, policy).await?;
    }
    app.review(&principal.user_id).await;
    Reply::json(StatusCode::OK, &shown(&call, principal).await?)
}

async fn erase(call: Call) -> Result<Reply, Problem> {
    let asked: Erase = call.body_or_empty()?;
    let (edge, principal) = (&call.edge, call.caller.principal()?);
    let user_id = &principal.user_id;
    if principal.kind != Kind::Anonymous {
        check_password(&call, principal, asked.password.as_deref()).await?;
    }
    edge.app.erase(principal, user_id).await?;
    tracing::info!(%user_id, "a user was erased at their own request");
    let cookie = edge.visitors.cookies().clear_cookie(call.caller.secure);
    Ok(Reply::nothing().with_cookie(&cookie))
}

/// Whoever found an open browser must not be able to forget its owner.
async fn check_password(
    call: &Call,
    principal: &Principal,
    password: Option<&str>,
) -> Result<(), Problem> {
    let accounts = call.edge.app.accounts()?;
    let (from, user_id) = (&call.caller.handshake, &principal.user_id);
    // A site's own user has no password here: his token is all the proof that there is.
    if accounts.profile(user_id).await?.is_none() {
        return Ok(());
    }
    let password = password.ok_or_else(|| {
        let words = "Send the password of the account once more.";
        Problem::new(Code::ValidationFailed, words).in_field("password")
    })?;
    let checked = accounts
        .password(from, user_id.as_str(), password, "")
        .await;
    checked.map(drop)
}

async fn permissions(call: Call) -> Result<Reply, Problem> {
    let kind = call.caller.principal()?.kind;
    let permissions = Action::ALL.iter().map(|action| Permission {
        action: action.as_str(),
        grant: grant(kind, *action).as_str(),
        about: action.about(),
    });
    let body = Permissions {
        kind: kind.as_str(),
        permissions: permissions.collect(),
    };
    Reply::json(StatusCode::OK, &body)
}

async fn sessions(call: Call) -> Result<Reply, Problem> {
    let (app, principal) = (&call.edge.app, call.caller.principal()?);
    let online = app.sign_ins_here(&principal.user_id);
    let sign_ins = app.accounts()?.sign_ins(&principal.user_id).await?;
    let items = sign_ins.into_iter().map(|sign_in| Device {
        id: sign_in.id.to_string(),
        device: sign_in.device,
        created_at: sign_in.created_at.to_string(),
        last_seen: sign_in.last_seen.to_string(),
        current: principal.sign_in == Some(sign_in.id),
        online: online.contains(&sign_in.id),
    });
    let body = Devices {
        items: items.collect(),
        has_more: false,
    };
    Reply::json(StatusCode::OK, &body)
}

async fn end_session(call: Call) -> Result<Reply, Problem> {
    let id: SignInId = call.id("id")?;
    let (app, principal) = (&call.edge.app, call.caller.principal()?);
    app.accounts()?.end_sign_in(&principal.user_id, id).await?;
    app.review(&principal.user_id).await;
    Ok(Reply::nothing())
}
