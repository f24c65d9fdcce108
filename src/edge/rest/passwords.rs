//! REST of passwords, and of the keys by which others verify access tokens.
//!
//! Not here: what is right (`identity::accounts`). Invariant: no answer tells whether an e-mail has an
//! account; whoever changed by a request is looked at again on every node before its answer goes out.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::call::{Call, Reply, Value};
use super::route::{Class, Route, Who};
use crate::model::{Code, Problem};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/password", change_password)
            .about("Change the password; every other sign-in ends.")
            .by(Who::Account, Class::Auth)
            .takes::<PasswordRequest>()
            .gives_nothing()
            .refuses(&[Code::Overloaded]),
        Route::post("/api/v1/auth/password/forgot", forgot)
            .about("Ask for a letter with a link for a new password.")
            .more("The answer is the same whether there is such an account or not.")
            .by(Who::Nobody, Class::Auth)
            .takes::<ForgotRequest>()
            .gives_nothing()
            .refuses(&[Code::Overloaded]),
        Route::post("/api/v1/auth/password/reset", reset)
            .about("Set a new password by the token of a letter; every sign-in ends.")
            .by(Who::Nobody, Class::Auth)
            .takes::<ResetRequest>()
            .gives_nothing()
            .refuses(&[Code::Expired, Code::Overloaded]),
        Route::get("/api/v1/auth/jwks", jwks)
            .about("The public keys of access tokens.")
            .more("None where tokens are signed with a shared secret.")
            .by(Who::Nobody, Class::Open)
            .gives::<KeySet>(StatusCode::OK),
        Route::get("/.well-known/jwks.json", jwks)
            .about("The same at the place where libraries look.")
            .by(Who::Nobody, Class::Open)
            .gives::<KeySet>(StatusCode::OK),
    ]
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangePassword)]
struct PasswordRequest {
    /// The password until now.
    #[schema(format = Password)]
    old: String,
    /// The password from now on.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    new: String,
}

/// Who has forgotten his password.
#[derive(Deserialize, ToSchema)]
#[schema(as = ForgotPassword)]
struct ForgotRequest {
    /// The e-mail.
    #[schema(example = "kim@example.com")]
    email: String,
}

/// A new password by the token of a letter.
#[derive(Deserialize, ToSchema)]
#[schema(as = ResetPassword)]
struct ResetRequest {
    /// The token of the letter.
    token: String,
    /// The password from now on.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    new: String,
}

super::call::any_object! {
    /// A JWK set (RFC 7517).
    KeySet
}

async fn change_password(call: Call) -> Result<Reply, Problem> {
    let asked: PasswordRequest = call.body()?;
    let (app, principal) = (&call.edge.app, call.caller.principal()?);
    let accounts = app.accounts()?;
    let from = &call.caller.handshake;
    accounts
        .change_password(from, principal, &asked.old, &asked.new)
        .await?;
    app.review(&principal.user_id).await;
    Ok(Reply::nothing())
}

async fn forgot(call: Call) -> Result<Reply, Problem> {
    let asked: ForgotRequest = call.body()?;
    let language = call.caller.language.as_deref();
    let accounts = call.edge.app.accounts()?;
    accounts
        .forgot(&call.caller.handshake, &asked.email, language)
        .await?;
    Ok(Reply::nothing())
}

async fn reset(call: Call) -> Result<Reply, Problem> {
    let asked: ResetRequest = call.body()?;
    let app = &call.edge.app;
    let from = &call.caller.handshake;
    let user = app
        .accounts()?
        .reset(from, &asked.token, &asked.new)
        .await?;
    app.review(&user).await;
    Ok(Reply::nothing())
}

async fn jwks(call: Call) -> Result<Reply, Problem> {
    let keys: Value = call.edge.app.accounts()?.jwks();
    Reply::json(StatusCode::OK, &keys)
}
