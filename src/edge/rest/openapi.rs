//! The OpenAPI 3.1 document of the table of routes.
//!
//! Not here: the schemas, which stand at their types. Invariant: every status that a route can answer
//! is in the document: those of its handler from the table, those of the gate from [`codes`].

mod components;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response,
    ResponseBuilder, Responses,
};

use self::components::components;
use super::route::{Class, Route, Shape, Who};
use super::table;
use crate::model::Code;

/// The groups of routes and what they are.
const GROUPS: [(&str, &str); 4] = [
    ("service", "The service itself."),
    ("auth", "Coming in: visitors, accounts, tokens."),
    ("me", "What somebody may ask about himself."),
    ("admin", "Looking after the service."),
];

const ABOUT: &str = "The REST API of Stompbox. Messages travel over STOMP at `/ws-chat`; here people \
    come in, look after themselves, and look after the service. Errors are \
    `application/problem+json` (RFC 9457) with a stable `code`. Fields that are not known are \
    ignored.";

/// The document as text.
pub(super) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| openapi().to_string())
}

/// The document of every route under `/api/v1`.
#[must_use]
pub fn openapi() -> Value {
    let routes = table::routes();
    let mut paths = PathsBuilder::new().build();
    for route in &routes {
        let methods = method(&route.method).into_iter().collect();
        paths.add_path_operation(route.path, methods, operation(route));
    }
    let tags = GROUPS.map(|(name, about)| {
        TagBuilder::new()
            .name(name)
            .description(Some(about))
            .build()
    });
    let info = InfoBuilder::new()
        .title("Stompbox")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT));
    let document: OpenApi = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths)
        .components(Some(components(&routes)))
        .tags(Some(tags))
        .build();
    // A document of strings and numbers is always JSON.
    serde_json::to_value(&document).unwrap_or_default()
}

fn method(method: &Method) -> Option<HttpMethod> {
    match method.as_str() {
        "GET" => Some(HttpMethod::Get),
        "POST" => Some(HttpMethod::Post),
        "PUT" => Some(HttpMethod::Put),
        "DELETE" => Some(HttpMethod::Delete),
        "PATCH" => Some(HttpMethod::Patch),
        _ => None,
    }
}

fn operation(route: &Route) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name()))
        .tag(route.group())
        .summary(Some(route.about))
        .responses(responses(route));
    if !route.more.is_empty() {
        operation = operation.description(Some(route.more));
    }
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    if let Some((shape, may_be_absent)) = route.takes {
        let required = match may_be_absent {
            true => Required::False,
            false => Required::True,
        };
        let body = RequestBodyBuilder::new()
            .content("application/json", content(shape))
            .required(Some(required));
        operation = operation.request_body(Some(body.build()));
    }
    operation.securities(Some(securities(route.who))).build()
}

fn content(shape: Shape) -> utoipa::openapi::Content {
    let schema = Ref::from_schema_name((shape.name)());
    ContentBuilder::new().schema(Some(schema)).build()
}

/// Who may ask: one of these, each of which may be several things together.
fn securities(who: Who) -> Vec<SecurityRequirement> {
    let none = Vec::<String>::new;
    let mut ways = Vec::new();
    if !who.is_closed() {
        ways.push(SecurityRequirement::default());
    }
    if who.takes_accounts() {
        ways.push(SecurityRequirement::new("account", none()));
    }
    if who.takes_visitors() {
        ways.push(SecurityRequirement::new("visitor", none()));
        ways.push(SecurityRequirement::new("cookie", none()).add("csrf", none()));
    }
    ways
}

fn text_of(schema: ObjectBuilder) -> ObjectBuilder {
    schema.schema_type(SchemaType::new(Type::String))
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let in_path = route.parameters().map(|name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text_of(ObjectBuilder::new()).min_length(Some(1))))
            .build()
    });
    let in_query = route.queries.iter().map(|query| {
        let schema: Object = match query.is_limit {
            true => ObjectBuilder::new()
                .schema_type(SchemaType::new(Type::Integer))
                .minimum(Some(1))
                .maximum(Some(100))
                .build(),
            false => text_of(ObjectBuilder::new()).build(),
        };
        ParameterBuilder::new()
            .name(query.name)
            .parameter_in(ParameterIn::Query)
            .description(Some(query.about))
            .required(Required::False)
            .schema(Some(schema))
            .build()
    });
    let key = (route.method == Method::POST).then(idempotency_key);
    in_path.chain(in_query).chain(key).collect()
}

fn idempotency_key() -> Parameter {
    let schema = text_of(ObjectBuilder::new()).pattern(Some("^[!-~]{1,255}$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The request is done once: the same key gives the same answer for 24 hours.",
        ))
        .required(Required::False)
        .schema(Some(schema))
        .build()
}

/// The codes with which a route refuses: its own, and those of the gate.
fn codes(route: &Route) -> Vec<Code> {
    let mut codes = vec![Code::Forbidden, Code::Internal];
    codes.extend(route.refuses);
    if route.class != Class::Free {
        codes.extend([Code::RateLimited, Code::StoreUnavailable, Code::TryLater]);
        codes.push(Code::Overloaded);
    }
    if route.who.is_closed() {
        codes.extend([Code::Unauthorized, Code::TokenExpired, Code::Banned]);
        codes.push(Code::AnonymousNotAllowed);
    }
    if route.who.takes_visitors() {
        codes.push(Code::IdentityMoved);
    }
    if route.takes.is_some() {
        codes.extend([
            Code::BadRequest,
            Code::PayloadTooLarge,
            Code::UnsupportedMedia,
        ]);
        codes.push(Code::ValidationFailed);
    }
    if !route.queries.is_empty() {
        codes.push(Code::ValidationFailed);
    }
    if route.parameters().next().is_some() {
        codes.push(Code::NotFound);
    }
    if route.method == Method::POST {
        codes.extend([
            Code::BadRequest,
            Code::IdempotencyInProgress,
            Code::IdempotencyMismatch,
        ]);
    }
    codes.sort();
    codes.dedup();
    codes
}

fn responses(route: &Route) -> Responses {
    let mut responses = Responses::new();
    let done = match route.gives {
        Some(shape) => ResponseBuilder::new()
            .description("Done.")
            .content("application/json", content(shape)),
        None => ResponseBuilder::new().description("Done; there is no body."),
    };
    let done = with_headers(done, route.class, false).build();
    responses
        .responses
        .insert(route.status.as_str().to_owned(), RefOr::T(done));
    let mut refusals: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes(route) {
        refusals.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in refusals {
        let response = RefOr::T(refusal(route.class, &codes));
        responses.responses.insert(status.to_string(), response);
    }
    if let Some((status, shape)) = route.also {
        let other = ResponseBuilder::new()
            .description("Not at the moment.")
            .content("application/json", content(shape));
        responses
            .responses
            .insert(status.as_str().to_owned(), RefOr::T(other.build()));
    }
    for (status, words) in [
        ("431", "The head of the request is too large."),
        ("504", "The answer took too long."),
    ] {
        let response = ResponseBuilder::new().description(words).build();
        responses
            .responses
            .insert(status.to_owned(), RefOr::T(response));
    }
    responses
}

fn refusal(class: Class, codes: &[Code]) -> Response {
    let words: Vec<_> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let response = ResponseBuilder::new()
        .description(words.join(" "))
        .content("application/problem+json", content);
    let waits = codes.iter().any(|code| matches!(code.status(), 429 | 503));
    with_headers(response, class, waits).build()
}

/// The headers of an answer.
fn with_headers(response: ResponseBuilder, class: Class, waits: bool) -> ResponseBuilder {
    let header = |words: &str, kind: Type| {
        let schema = ObjectBuilder::new().schema_type(SchemaType::new(kind));
        HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(words))
            .build()
    };
    let mut response = response.header(
        "X-Request-Id",
        header("The name of the request.", Type::String),
    );
    if class != Class::Free {
        let words = "What is left in the bucket (`r`) and in how many seconds it is full (`t`).";
        response = response
            .header("RateLimit", header(words, Type::String))
            .header(
                "RateLimit-Policy",
                header("How many (`q`) in how many seconds (`w`).", Type::String),
            );
    }
    if waits {
        response = response.header("Retry-After", header("Seconds to wait.", Type::Integer));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_with_what_it_can_answer() {
        let document = openapi();
        assert_eq!(document["openapi"], "3.1.0");
        let mut names = std::collections::BTreeSet::new();
        for route in table::routes() {
            let method = route.method.as_str().to_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|words| words.len() > 5),
                "{route:?}"
            );
            assert!(names.insert(route.name()), "{route:?} has another's name");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key(route.status.as_str()), "{route:?}");
            for code in codes(&route) {
                assert!(
                    responses.contains_key(&code.status().to_string()),
                    "{route:?} {code:?}"
                );
            }
        }
        let operations: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|item| item.as_object().unwrap().len())
            .sum();
        assert_eq!(operations, names.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = openapi();
        let text = document.to_string();
        for part in text.split("\"#/").skip(1) {
            let pointer = format!("/{}", part.split('"').next().unwrap());
            assert!(document.pointer(&pointer).is_some(), "{pointer}");
        }
    }
}
