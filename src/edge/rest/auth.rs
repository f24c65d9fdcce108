//! REST of coming in with an account: registering, signing in and out, tokens.
//!
//! Not here: what is right (`identity::accounts`), passwords (`passwords`). Invariant: a user who changed by a request
//! is looked at again on every node before its answer goes out.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::caller::Caller;
use super::device;
use super::route::{Class, Route, Who};
use crate::identity::accounts::{Login, Pair, Registration, Upgrade};
use crate::model::{Code, Problem};

/// The codes of everything that hashes a password.
const HASHING: &[Code] = &[
    Code::EmailTaken,
    Code::Banned,
    Code::Overloaded,
    Code::ProofRequired,
    Code::IdentityMoved,
];

/// The routes of those who come in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/register", register)
            .about("Make an account, and sign in.")
            .more(
                "A password has 10 to 128 characters, is not easy to guess, and is not the e-mail.",
            )
            .by(Who::Nobody, Class::Auth)
            .takes::<Register>()
            .gives::<Tokens>(StatusCode::CREATED)
            .refuses(HASHING),
        Route::post("/api/v1/auth/login", login)
            .about("Sign in.")
            .more(
                "With `merge_visitor` and the visitor's secret, that visitor's conversations become \
                 a part of the account first. Which of e-mail and password was wrong is not said.",
            )
            .by(Who::PerhapsVisitor, Class::Auth)
            .takes::<SignInRequest>()
            .gives::<Tokens>(StatusCode::OK)
            .refuses(&[
                Code::Unauthorized,
                Code::ProofRequired,
                Code::Banned,
                Code::Overloaded,
            ]),
        Route::post("/api/v1/auth/upgrade", upgrade)
            .about("A visitor becomes the holder of an account, with the same address.")
            .more(
                "Needs the visitor's secret, which ends by it. His live sessions go on as those of \
                 the account, without connecting again.",
            )
            .by(Who::PerhapsVisitor, Class::Auth)
            .takes::<UpgradeRequest>()
            .gives::<Tokens>(StatusCode::OK)
            .refuses(HASHING),
        Route::post("/api/v1/auth/site", site)
            .about("A site's visitor becomes the site's user, by both proofs.")
            .by(Who::PerhapsVisitor, Class::Auth)
            .takes::<SiteRequest>()
            .gives::<SiteUser>(StatusCode::OK)
            .refuses(&[
                Code::Unauthorized,
                Code::TokenExpired,
                Code::ProofRequired,
                Code::Banned,
            ]),
        Route::post("/api/v1/auth/refresh", refresh)
            .about("Exchange a refresh token for the next one and another access token.")
            .more(
                "A refresh token is good once. Within ten seconds it gives the same successor \
                 again; later it ends the sign-in.",
            )
            .by(Who::Nobody, Class::Token)
            .takes::<RefreshRequest>()
            .gives::<Tokens>(StatusCode::OK)
            .refuses(&[Code::Unauthorized, Code::TokenReused, Code::Banned]),
        Route::post("/api/v1/auth/logout", logout)
            .about("Sign out: here, or everywhere.")
            .by(Who::Anybody, Class::Auth)
            .may_take::<LogoutRequest>()
            .gives_nothing(),
    ]
}

/// A new account.
#[derive(Deserialize, ToSchema)]
struct Register {
    /// The e-mail, of at most 254 octets.
    #[schema(example = "kim@example.com", format = Email)]
    email: String,
    /// The password.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    password: String,
    /// The name that is shown.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// The client's own name for the device.
    device_id: Option<String>,
    /// A name of the device for people.
    device_name: Option<String>,
}

/// Signing in.
#[derive(Deserialize, ToSchema)]
#[schema(as = Login)]
struct SignInRequest {
    /// The e-mail.
    #[schema(example = "kim@example.com")]
    email: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
    /// The client's own name for the device.
    device_id: Option<String>,
    /// A name of the device for people.
    device_name: Option<String>,
    /// Whether the visitor whose secret comes along becomes a part of the account.
    #[serde(default)]
    merge_visitor: bool,
}

/// A visitor wants an account.
#[derive(Deserialize, ToSchema)]
#[schema(as = Upgrade)]
struct UpgradeRequest {
    /// The e-mail, of at most 254 octets.
    #[schema(example = "kim@example.com", format = Email)]
    email: String,
    /// The password.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    password: String,
    /// The name that is shown; the visitor's own stays without one.
    name: Option<String>,
    /// The client's own name for the device.
    device_id: Option<String>,
    /// A name of the device for people.
    device_name: Option<String>,
}

/// A site's token.
#[derive(Deserialize, ToSchema)]
#[schema(as = SiteToken)]
struct SiteRequest {
    /// The token that the site gave its user.
    token: String,
}

/// A site's user, and the visitor who became a part of him.
#[derive(Serialize, ToSchema)]
struct SiteUser {
    /// The site's user.
    user_id: String,
    /// The visitor's address, which leads to the user from now on.
    merged: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[schema(as = Refresh)]
struct RefreshRequest {
    /// The refresh token.
    refresh_token: String,
}

/// Signing out.
#[derive(Deserialize, ToSchema)]
#[schema(as = Logout)]
struct LogoutRequest {
    /// Whether every sign-in ends rather than this one.
    #[serde(default)]
    all: bool,
}

/// The tokens of a sign-in.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// The address.
    #[schema(example = "user_0123456789abc")]
    user_id: String,
    /// `member`, `bot` or `admin`.
    kind: &'static str,
    /// The name that is shown.
    name: String,
    /// For the header `Authorization`, and for CONNECT.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In how many seconds the access token ends.
    expires_in: u64,
    /// For one use at `/auth/refresh`.
    refresh_token: String,
    /// In how many seconds the refresh token ends.
    refresh_expires_in: u64,
    /// The sign-in, as `/me/sessions` lists it.
    sign_in: String,
    /// The visitor who became a part of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    merged: Option<String>,
}

impl Tokens {
    fn of(pair: Pair) -> Self {
        Self {
            user_id: pair.user_id.to_string(),
            kind: pair.kind.as_str(),
            name: pair.name,
            access_token: pair.access_token,
            token_type: "Bearer",
            expires_in: pair.expires_in,
            refresh_token: pair.refresh_token,
            refresh_expires_in: pair.refresh_expires_in,
            sign_in: pair.sign_in.to_string(),
            merged: None,
        }
    }
}

async fn register(call: Call) -> Result<Reply, Problem> {
    let asked: Register = call.body()?;
    let registration = Registration {
        email: asked.email,
        password: asked.password,
        name: asked.name,
        device: device::name(&call.caller, asked.device_name, asked.device_id),
    };
    let accounts = call.edge.app.accounts()?;
    let pair = accounts
        .register(&call.caller.handshake, registration)
        .await?;
    Reply::json(StatusCode::CREATED, &Tokens::of(pair))
}

async fn login(call: Call) -> Result<Reply, Problem> {
    let asked: SignInRequest = call.body()?;
    let (edge, caller) = (&call.edge, &call.caller);
    let merge = match asked.merge_visitor {
        true => Some(proof(caller)?.to_owned()),
        false => None,
    };
    let login = Login {
        email: asked.email,
        password: asked.password,
        device: device::name(caller, asked.device_name, asked.device_id),
        merge,
    };
    let logged_in = edge.app.accounts()?.login(&caller.handshake, login).await?;
    let mut tokens = Tokens::of(logged_in.pair);
    let Some(visitor) = logged_in.merged else {
        return Reply::json(StatusCode::OK, &tokens);
    };
    edge.app.review(&visitor).await;
    tokens.merged = Some(visitor.to_string());
    Ok(without_cookie(&call, Reply::json(StatusCode::OK, &tokens)?))
}

async fn upgrade(call: Call) -> Result<Reply, Problem> {
    let asked: UpgradeRequest = call.body()?;
    let (edge, caller) = (&call.edge, &call.caller);
    let upgrade = Upgrade {
        email: asked.email,
        password: asked.password,
        name: asked.name,
        device: device::name(caller, asked.device_name, asked.device_id),
    };
    let accounts = edge.app.accounts()?;
    let pair = accounts
        .upgrade(&caller.handshake, proof(caller)?, upgrade)
        .await?;
    edge.app.review(&pair.user_id).await;
    let reply = Reply::json(StatusCode::OK, &Tokens::of(pair))?;
    Ok(without_cookie(&call, reply))
}

async fn site(call: Call) -> Result<Reply, Problem> {
    let asked: SiteRequest = call.body()?;
    let (edge, caller) = (&call.edge, &call.caller);
    let accounts = edge.app.accounts()?;
    let merged = accounts.site_upgrade(&caller.handshake, proof(caller)?, &asked.token);
    let (user, visitor) = merged.await?;
    edge.app.review(&visitor).await;
    let body = SiteUser {
        user_id: user.to_string(),
        merged: visitor.to_string(),
    };
    Ok(without_cookie(&call, Reply::json(StatusCode::OK, &body)?))
}

async fn refresh(call: Call) -> Result<Reply, Problem> {
    let asked: RefreshRequest = call.body()?;
    let app = &call.edge.app;
    let refreshed = app
        .accounts()?
        .refresh(&call.caller.handshake, &asked.refresh_token);
    match refreshed.await {
        Ok(pair) => Reply::json(StatusCode::OK, &Tokens::of(pair)),
        Err(refused) => {
            if let Some(user) = &refused.ended {
                app.review(user).await;
            }
            Err(refused.problem)
        }
    }
}

async fn logout(call: Call) -> Result<Reply, Problem> {
    let asked: LogoutRequest = call.body_or_empty()?;
    let (edge, principal) = (&call.edge, call.caller.principal()?);
    edge.app.accounts()?.logout(principal, asked.all).await?;
    edge.app.review(&principal.user_id).await;
    let cookie = edge.visitors.cookies().clear_cookie(call.caller.secure);
    Ok(Reply::nothing().with_cookie(&cookie))
}

/// The visitor's secret where nothing else stands for it.
fn proof(caller: &Caller) -> Result<&str, Problem> {
    caller.secret().map_err(|problem| {
        // A cookie that does not count has its own words.
        if problem.code != Code::Unauthorized {
            return problem;
        }
        Problem::new(
            Code::ProofRequired,
            "This needs the visitor's own secret: send it as 'Authorization: Visitor <secret>'.",
        )
    })
}

/// The visitor's secret has ended; the cookie goes where it holds that very one.
pub(super) fn without_cookie(call: &Call, reply: Reply) -> Reply {
    if !call.caller.came_by_cookie() {
        return reply;
    }
    let cookies = call.edge.visitors.cookies();
    reply.with_cookie(&cookies.clear_cookie(call.caller.secure))
}
