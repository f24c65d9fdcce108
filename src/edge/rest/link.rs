//! REST of a visitor who goes on in another browser: a link, and what it opens.
//!
//! Not here: the link's life (`identity::accounts`). Invariant: the token stands behind the `#` of the
//! link, so that no server and no referrer sees it.

use axum::http::StatusCode;
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::route::{Class, Route, Who};
use super::visitor::Visitor;
use crate::identity::Accounts;
use crate::model::{Code, Problem};

/// The side of the picture, in pixels; it is drawn without loss at any size.
const PICTURE_PIXELS: u32 = 240;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/link", link)
            .about("A link that opens this visitor in another browser, once, within ten minutes.")
            .by(Who::Visitor, Class::Auth)
            .gives::<Link>(StatusCode::CREATED),
        Route::post("/api/v1/auth/link/redeem", redeem)
            .about("Open the visitor of a link here.")
            .more(
                "Gives the visitor a new secret, and sets the cookie; every secret that he had \
                 before ends, and so does every session. A page asks first: a preview must not use the link up.",
            )
            .by(Who::Nobody, Class::Auth)
            .takes::<Redeem>()
            .gives::<Visitor>(StatusCode::OK)
            .refuses(&[Code::Expired, Code::Banned]),
    ]
}

/// A link that carries a visitor to another browser.
#[derive(Serialize, ToSchema)]
struct Link {
    /// The token, for `/auth/link/redeem`.
    link_token: String,
    /// The page with the token: where the page that asks is, else at `PUBLIC_URL`.
    url: String,
    /// In how many seconds it ends.
    expires_in: u64,
    /// The link as a QR code, an SVG document.
    qr_svg: String,
}

/// The token of a link.
#[derive(Deserialize, ToSchema)]
struct Redeem {
    /// The token.
    link_token: String,
}

async fn link(call: Call) -> Result<Reply, Problem> {
    let accounts = call.edge.app.accounts()?;
    let link_token = accounts
        .link(&call.caller.handshake, call.caller.secret()?)
        .await?;
    // The page is where its browser has found it, on a phone in the same network too.
    let origin = call.caller.own_page.as_deref();
    let origin = origin.unwrap_or(&accounts.settings().public_url);
    let url = format!("{origin}/#link={link_token}");
    let code = QrCode::new(url.as_bytes())
        .map_err(|_| Problem::new(Code::Internal, "The link is too long for a QR code."))?;
    let qr_svg = code
        .render::<svg::Color<'_>>()
        .min_dimensions(PICTURE_PIXELS, PICTURE_PIXELS)
        .build();
    let body = Link {
        link_token,
        url,
        expires_in: Accounts::LINK_SECONDS,
        qr_svg,
    };
    Reply::json(StatusCode::CREATED, &body)
}

async fn redeem(call: Call) -> Result<Reply, Problem> {
    let asked: Redeem = call.body()?;
    let (edge, caller) = (&call.edge, &call.caller);
    let accounts = edge.app.accounts()?;
    let opened = accounts
        .redeem(&caller.handshake, &asked.link_token)
        .await?;
    // Whoever had the visitor until now sees at once that he is somewhere else.
    edge.app.sign_out(&opened.principal.user_id).await;
    // The cookie is for pages: others keep what the answer tells.
    let secret = opened
        .secret_to_tell
        .as_deref()
        .filter(|_| caller.handshake.from_page);
    let cookies = edge.visitors.cookies();
    let cookie = secret.and_then(|secret| cookies.set_cookie_of(secret, caller.secure));
    let reply = Reply::json(StatusCode::OK, &Visitor::of(edge, opened))?;
    Ok(match cookie {
        Some(cookie) => reply.with_cookie(&cookie),
        None => reply,
    })
}
