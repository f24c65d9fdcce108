//! What the OpenAPI document refers to: schemas, ways to say who asks, the shape of every error.
//!
//! Not here: the routes (`openapi`). Invariant: what is referred to is there.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ComponentsBuilder, RefOr, Schema};

use super::text_of;
use crate::edge::rest::route::Route;
use crate::model::Code;

/// Everything that the routes refer to.
pub(super) fn components(routes: &[Route]) -> Components {
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    schemas.insert("Problem".to_owned(), problem());
    let bodies = routes.iter().flat_map(|route| {
        let takes = route.takes.map(|(shape, _)| shape);
        [takes, route.gives, route.also.map(|(_, shape)| shape)]
    });
    for shape in bodies.flatten() {
        schemas.insert((shape.name)().into_owned(), (shape.schema)());
        let mut others = Vec::new();
        (shape.others)(&mut others);
        schemas.extend(others);
    }
    let in_header = |name: &str, words: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, words)))
    };
    let cookie = ApiKeyValue::with_description(
        "sb_vid",
        "The visitor's cookie, which the WebSocket handshake of a page sets.",
    );
    let account = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The access token of an account."));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("account", SecurityScheme::Http(account.build()))
        .security_scheme(
            "visitor",
            in_header("Authorization", "`Visitor <visitor-token>`"),
        )
        .security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)))
        .security_scheme(
            "csrf",
            in_header("X-CSRF-Token", "The value of the cookie `sb_csrf`."),
        )
        .build()
}

/// The shape of every error.
fn problem() -> RefOr<Schema> {
    let codes = Code::ALL.iter().map(|code| code.as_str());
    let text = |words: &str| text_of(ObjectBuilder::new()).description(Some(words));
    let whole = |words: &str| {
        let schema = ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer));
        schema.description(Some(words))
    };
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Object))
        .description(Some("An error, as RFC 9457 has it."))
        .property("type", text("`urn:stompbox:problem:` and the code."))
        .property("title", text("A short sentence for people."))
        .property("status", whole("The status."))
        .property("code", text("The stable code.").enum_values(Some(codes)))
        .property("detail", text("What was wrong and what to do."))
        .property("retry_after_ms", whole("When trying again makes sense."))
        .property("until", text("Until when it stays so."))
        .property(
            "upgrade_url",
            text("Where a visitor becomes the holder of an account."),
        )
        .property(
            "trace_id",
            text("The name of the request, as in `X-Request-Id`."),
        )
        .examples([json!({
            "type": "urn:stompbox:problem:rate_limited", "title": Code::RateLimited.title(),
            "status": 429, "code": "rate_limited", "retry_after_ms": 5900,
            "detail": "Too many requests; wait as long as Retry-After says.",
        })]);
    ["type", "title", "status", "code", "detail"]
        .into_iter()
        .fold(schema, ObjectBuilder::required)
        .build()
        .into()
}
