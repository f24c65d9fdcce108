//! A route of REST: what it is, who may ask, what it takes and gives, and who answers.
//!
//! The router and the OpenAPI document are both made of these, so that they cannot differ. Not here:
//! the list of them (`table`), what every request passes before its handler (`gate`). Invariant: a
//! route says every code with which its handler refuses.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::call::{Call, Reply};
use crate::model::{Code, Problem};
use crate::policy::permission::Action;

/// The answer of a handler, on its way.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever comes; what he presents is not looked at.
    Nobody,
    /// Whoever comes; a visitor's secret is taken along when it is there.
    PerhapsVisitor,
    /// A visitor, by his secret.
    Visitor,
    /// The holder of an account, by an access token.
    Account,
    /// A visitor or the holder of an account.
    Anybody,
    /// An account that may do this.
    Permitted(Action),
}

impl Who {
    /// Whether a visitor's secret is looked at.
    pub(super) fn takes_visitors(self) -> bool {
        matches!(self, Self::PerhapsVisitor | Self::Visitor | Self::Anybody)
    }

    /// Whether an access token is looked at.
    pub(super) fn takes_accounts(self) -> bool {
        matches!(self, Self::Account | Self::Anybody | Self::Permitted(_))
    }

    /// Whether somebody who presents nothing is sent away.
    pub(super) fn is_closed(self) -> bool {
        !matches!(self, Self::Nobody | Self::PerhapsVisitor)
    }
}

/// How often a route may be asked, and who shares the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It is not counted: what an orchestrator asks every few seconds.
    Free,
    /// Nothing is tried, or what is made has a limit of its own: the larger limit, by network.
    Open,
    /// Something secret is tried: the smaller limit, by principal where one is authenticated, else
    /// by network.
    Auth,
    /// The smaller limit by the token that is presented, so that an office behind one address does
    /// not run out of it.
    Token,
    /// The larger limit, by principal.
    General,
}

/// A type of a body, as the document needs it.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Its name among the schemas.
    pub(super) name: fn() -> Cow<'static, str>,
    /// Itself.
    pub(super) schema: fn() -> RefOr<Schema>,
    /// Those that it refers to.
    pub(super) others: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Self {
        Self {
            name: T::name,
            schema: T::schema,
            others: T::schemas,
        }
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&(self.name)())
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) about: &'static str,
    /// Whether it is the number of items of a page.
    pub(super) is_limit: bool,
}

/// Where a list goes on.
pub(super) const CURSOR: Query = Query {
    name: "cursor",
    about: "The `next_cursor` of the page before. It is valid for 24 hours.",
    is_limit: false,
};

/// How long a page is.
pub(super) const LIMIT: Query = Query {
    name: "limit",
    about: "How many items a page has, 1 to 100; 50 unless given.",
    is_limit: true,
};

/// A route.
pub(super) struct Route {
    /// The method.
    pub(super) method: Method,
    /// The path, with `{parameters}`.
    pub(super) path: &'static str,
    /// What it does, in one sentence.
    pub(super) about: &'static str,
    /// More about it.
    pub(super) more: &'static str,
    /// Who may ask.
    pub(super) who: Who,
    /// How often.
    pub(super) class: Class,
    /// The body that it takes, and whether it may be left out.
    pub(super) takes: Option<(Shape, bool)>,
    /// The parameters of the query.
    pub(super) queries: &'static [Query],
    /// The status when it is done.
    pub(super) status: StatusCode,
    /// The body of the answer then.
    pub(super) gives: Option<Shape>,
    /// Another status that is no problem, and its body.
    pub(super) also: Option<(StatusCode, Shape)>,
    /// The codes with which the handler refuses, beyond those of the gate.
    pub(super) refuses: &'static [Code],
    /// Who answers.
    pub(super) handler: Box<dyn Fn(Call) -> Answering + Send + Sync>,
}

impl Route {
    fn new<F, R>(method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        Self {
            method,
            path,
            about: "",
            more: "",
            who: Who::Nobody,
            class: Class::General,
            takes: None,
            queries: &[],
            status: StatusCode::OK,
            gives: None,
            also: None,
            refuses: &[],
            handler: Box::new(move |call| Box::pin(handler(call))),
        }
    }

    /// A GET.
    pub(super) fn get<F, R>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        Self::new(Method::GET, path, handler)
    }

    /// A POST.
    pub(super) fn post<F, R>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        Self::new(Method::POST, path, handler)
    }

    /// A PUT.
    pub(super) fn put<F, R>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        Self::new(Method::PUT, path, handler)
    }

    /// A DELETE.
    pub(super) fn delete<F, R>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        Self::new(Method::DELETE, path, handler)
    }

    /// What it does, in one sentence.
    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// More about it, in a paragraph.
    pub(super) fn more(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    /// Who may ask, and how often.
    pub(super) fn by(mut self, who: Who, class: Class) -> Self {
        (self.who, self.class) = (who, class);
        self
    }

    /// The body that it needs.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some((Shape::of::<T>(), false));
        self
    }

    /// The body that it takes, and can do without.
    pub(super) fn may_take<T: ToSchema>(mut self) -> Self {
        self.takes = Some((Shape::of::<T>(), true));
        self
    }

    /// The parameters of its query.
    pub(super) fn queries(mut self, queries: &'static [Query]) -> Self {
        self.queries = queries;
        self
    }

    /// What it answers when it is done.
    pub(super) fn gives<T: ToSchema>(mut self, status: StatusCode) -> Self {
        (self.status, self.gives) = (status, Some(Shape::of::<T>()));
        self
    }

    /// Another answer that is no problem.
    pub(super) fn or_gives<T: ToSchema>(mut self, status: StatusCode) -> Self {
        self.also = Some((status, Shape::of::<T>()));
        self
    }

    /// It answers 204, without a body.
    pub(super) fn gives_nothing(mut self) -> Self {
        self.status = StatusCode::NO_CONTENT;
        self
    }

    /// The codes with which its handler refuses.
    pub(super) fn refuses(mut self, codes: &'static [Code]) -> Self {
        self.refuses = codes;
        self
    }

    /// The names of the parameters in its path.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &'static str> {
        let segments = self.path.split('/');
        segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Under which heading it stands: the first word after the base.
    pub(super) fn group(&self) -> &'static str {
        let rest = self.path.strip_prefix(super::BASE);
        let word = rest.and_then(|rest| rest.split('/').nth(1));
        match word {
            Some("auth" | "me" | "admin") => word.unwrap_or_default(),
            _ => "service",
        }
    }

    /// Its name for programs: `post_auth_login`.
    pub(super) fn name(&self) -> String {
        let path = self.path.strip_prefix(super::BASE).unwrap_or(self.path);
        let words = path.split(['/', '.', '-', '{', '}']);
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!(
            "{}_{}",
            self.method.as_str().to_lowercase(),
            words.join("_")
        )
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Shared by all requests that it answers.
pub(super) type SharedRoute = Arc<Route>;
