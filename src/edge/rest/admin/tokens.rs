//! Access tokens that are made for somebody, such as a program, and their end.
//!
//! Invariant: a token is shown once, to whoever had it made.

use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ADMIN, CLASS};
use crate::edge::rest::call::{Call, Reply};
use crate::edge::rest::route::Route;
use crate::model::{Code, Problem, SignInId, UserId};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/admin/tokens", mint)
            .about("Make an access token for an account.")
            .more("It belongs to a sign-in of its own, with which it can be ended.")
            .by(ADMIN, CLASS)
            .takes::<Mint>()
            .gives::<Minted>(StatusCode::CREATED)
            .refuses(&[Code::NotFound]),
        Route::post("/api/v1/admin/tokens/revoke", revoke)
            .about("End the sign-in of a token, or one by its name.")
            .by(ADMIN, CLASS)
            .takes::<Revoke>()
            .gives_nothing()
            .refuses(&[Code::NotFound]),
    ]
}

/// A token for somebody.
#[derive(Deserialize, ToSchema)]
#[schema(as = MintToken)]
struct Mint {
    /// The account.
    #[schema(example = "user_0123456789abc")]
    user_id: String,
    /// How long it lives; an hour unless given, a year at most.
    #[schema(minimum = 1, maximum = 31_536_000)]
    seconds: Option<u64>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
struct Minted {
    /// The account.
    user_id: String,
    /// The token.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In how many seconds it ends.
    expires_in: u64,
}

/// What is to end: a token, or a sign-in of an account.
#[derive(Deserialize, ToSchema)]
#[schema(as = RevokeToken)]
struct Revoke {
    /// An access token.
    token: Option<String>,
    /// The account of the sign-in.
    user_id: Option<String>,
    /// A sign-in, as `/me/sessions` lists it.
    sign_in: Option<String>,
}

const HOUR: u64 = 3_600;

async fn mint(call: Call) -> Result<Reply, Problem> {
    let asked: Mint = call.body()?;
    let user = user_of(&asked.user_id)?;
    let expires_in = asked.seconds.unwrap_or(HOUR);
    let (accounts, actor) = (call.edge.app.accounts()?, call.caller.principal()?);
    let life = Duration::from_secs(expires_in);
    let access_token = accounts.mint(actor, &user, life).await?;
    let body = Minted {
        user_id: asked.user_id,
        access_token,
        token_type: "Bearer",
        expires_in,
    };
    Reply::json(StatusCode::CREATED, &body)
}

async fn revoke(call: Call) -> Result<Reply, Problem> {
    let asked: Revoke = call.body()?;
    let app = &call.edge.app;
    let accounts = app.accounts()?;
    let (user, sign_in) = match (&asked.token, &asked.user_id, &asked.sign_in) {
        (Some(token), None, None) => {
            let spoken = accounts.authenticate(&call.caller.handshake, token).await;
            let none = || Problem::new(Code::NotFound, "This token opens nothing any more.");
            let principal = spoken.map_err(|_| none())?;
            (principal.user_id, principal.sign_in.ok_or_else(none)?)
        }
        (None, Some(user), Some(sign_in)) => {
            let sign_in: SignInId = sign_in.parse().map_err(|_| {
                let words = "A sign-in is written dev_ and 26 characters.";
                Problem::new(Code::ValidationFailed, words).in_field("sign_in")
            })?;
            (user_of(user)?, sign_in)
        }
        (Some(_) | None, _, _) => {
            let words = "Send either 'token', or 'user_id' and 'sign_in'.";
            return Err(Problem::new(Code::ValidationFailed, words));
        }
    };
    accounts.end_sign_in(&user, sign_in).await?;
    app.review(&user).await;
    Ok(Reply::nothing())
}

/// The address of somebody, in the field `user_id`.
pub(super) fn user_of(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|_| {
        let words = "An address is written user_ and 13 characters.";
        Problem::new(Code::ValidationFailed, words).in_field("user_id")
    })
}
