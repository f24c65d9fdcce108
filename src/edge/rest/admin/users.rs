//! Accounts, as those see them who look after the service.
//!
//! Invariant: no hash of a password is in an answer.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ADMIN, CLASS};
use crate::edge::rest::call::{Call, Reply, not_found, page_length};
use crate::edge::rest::cursor::List;
use crate::edge::rest::route::{CURSOR, LIMIT, Route};
use crate::model::{Code, Problem, UserId};
use crate::store::accounts::{Account, Role};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/admin/users", list)
            .about("The accounts, in the order of their ids.")
            .by(ADMIN, CLASS)
            .queries(&[CURSOR, LIMIT])
            .gives::<Users>(StatusCode::OK),
        Route::post("/api/v1/admin/users", create)
            .about("Make an account for somebody.")
            .by(ADMIN, CLASS)
            .takes::<Create>()
            .gives::<User>(StatusCode::CREATED)
            .refuses(&[Code::EmailTaken, Code::Overloaded]),
        Route::get("/api/v1/admin/users/{id}", show)
            .about("One account.")
            .by(ADMIN, CLASS)
            .gives::<User>(StatusCode::OK),
        Route::delete("/api/v1/admin/users/{id}", erase)
            .about(
                "Forget an account or a visitor: the row, the secrets, the words of the messages.",
            )
            .by(ADMIN, CLASS)
            .gives_nothing(),
        Route::put("/api/v1/admin/users/{id}/role", set_role)
            .about("Change what an account may do.")
            .by(ADMIN, CLASS)
            .takes::<NewRole>()
            .gives::<User>(StatusCode::OK),
        Route::post("/api/v1/admin/users/{id}/sign_out", sign_out)
            .about("End every sign-in of an account.")
            .by(ADMIN, CLASS)
            .gives::<SignedOut>(StatusCode::OK),
    ]
}

/// An account.
#[derive(Serialize, ToSchema)]
struct User {
    /// The address.
    #[schema(example = "user_0123456789abc")]
    user_id: String,
    /// The name that is shown.
    name: String,
    /// The e-mail.
    email: String,
    /// `member`, `bot`, `admin`.
    role: &'static str,
    /// Who may begin to write to it.
    dm_policy: &'static str,
    /// When it was made.
    created_at: String,
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
struct Users {
    /// The accounts.
    items: Vec<User>,
    /// Where it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Whether there is another page.
    has_more: bool,
}

/// An account that somebody gets.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateUser)]
struct Create {
    /// The e-mail.
    #[schema(example = "kim@example.com", format = Email)]
    email: String,
    /// The password.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    password: String,
    /// The name that is shown.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// `member` unless given, `bot`, `admin`.
    role: Option<String>,
}

/// Another role.
#[derive(Deserialize, ToSchema)]
struct NewRole {
    /// `member`, `bot`, `admin`.
    role: String,
}

/// Sign-ins that ended.
#[derive(Serialize, ToSchema)]
struct SignedOut {
    /// How many.
    ended: u64,
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<String>,
}

impl User {
    fn of(account: Account) -> Self {
        Self {
            user_id: account.user_id.to_string(),
            name: account.name,
            email: account.email,
            role: account.role.as_str(),
            dm_policy: account.dm_policy.as_str(),
            created_at: account.created_at.to_string(),
        }
    }
}

async fn list(call: Call) -> Result<Reply, Problem> {
    let page: Page = call.query()?;
    let limit = page_length(page.limit.as_deref())?;
    let (edge, actor) = (&call.edge, call.caller.principal()?);
    let (key, now) = (&edge.rest.key, edge.visitors.now());
    let list = List {
        name: "users",
        of: actor.user_id.as_str(),
    };
    let after: Option<UserId> = list.place(key, now, page.cursor.as_deref())?;
    let mut accounts = edge.app.accounts()?.accounts(after, limit + 1).await?;
    let has_more = accounts.len() > limit as usize;
    accounts.truncate(limit as usize);
    let last = accounts.last().filter(|_| has_more);
    let body = Users {
        next_cursor: last.map(|last| list.cursor(key, now, last.user_id.as_str())),
        has_more,
        items: accounts.into_iter().map(User::of).collect(),
    };
    Reply::json(StatusCode::OK, &body)
}

async fn create(call: Call) -> Result<Reply, Problem> {
    let asked: Create = call.body()?;
    let role = asked.role.as_deref().map_or(Ok(Role::Member), read_role)?;
    let (accounts, actor) = (call.edge.app.accounts()?, call.caller.principal()?);
    let created = accounts.create(actor, &asked.email, &asked.password, &asked.name, role);
    let user = created.await?;
    let path = format!("/api/v1/admin/users/{user}");
    Ok(Reply::json(StatusCode::CREATED, &found(&call, &user).await?)?.at(&path))
}

async fn show(call: Call) -> Result<Reply, Problem> {
    let user: UserId = call.id("id")?;
    Reply::json(StatusCode::OK, &found(&call, &user).await?)
}

async fn found(call: &Call, user: &UserId) -> Result<User, Problem> {
    let account = call.edge.app.accounts()?.profile(user).await?;
    account.map(User::of).ok_or_else(not_found)
}

async fn erase(call: Call) -> Result<Reply, Problem> {
    let user: UserId = call.id("id")?;
    let (app, actor) = (&call.edge.app, call.caller.principal()?);
    if actor.user_id == user {
        let words = "Nobody forgets himself here; ask DELETE /api/v1/me.";
        return Err(Problem::new(Code::Forbidden, words));
    }
    let accounts = app.accounts()?;
    accounts
        .standing(&user, None)
        .await?
        .ok_or_else(not_found)?;
    app.erase(actor, &user).await?;
    tracing::info!(user_id = %user, "a user was erased by an admin");
    Ok(Reply::nothing())
}

async fn set_role(call: Call) -> Result<Reply, Problem> {
    let asked: NewRole = call.body()?;
    let user: UserId = call.id("id")?;
    let (app, actor) = (&call.edge.app, call.caller.principal()?);
    let role = read_role(&asked.role)?;
    app.accounts()?.set_role(actor, &user, role).await?;
    app.review(&user).await;
    Reply::json(StatusCode::OK, &found(&call, &user).await?)
}

async fn sign_out(call: Call) -> Result<Reply, Problem> {
    let user: UserId = call.id("id")?;
    let (app, actor) = (&call.edge.app, call.caller.principal()?);
    found(&call, &user).await?;
    let ended = app.accounts()?.end_all(actor, &user).await?;
    app.review(&user).await;
    Reply::json(StatusCode::OK, &SignedOut { ended })
}

fn read_role(word: &str) -> Result<Role, Problem> {
    Role::from_word(word).ok_or_else(|| {
        Problem::new(Code::ValidationFailed, "Write member, bot or admin.").in_field("role")
    })
}
