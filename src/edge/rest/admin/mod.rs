//! REST of those who look after the service.
//!
//! Not here: who may (`policy::permission`, asked by the gate and by `identity::accounts` once more).
//! Invariant: whoever changed by a request is looked at again on every node before its answer goes out.

mod bans;
mod paths;
mod records;
mod tokens;
mod users;

use super::route::{Class, Route, Who};
use crate::policy::permission::Action;

/// Who may ask here.
const ADMIN: Who = Who::Permitted(Action::Administer);
const MODERATOR: Who = Who::Permitted(Action::Moderate);

/// How often.
const CLASS: Class = Class::General;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = users::routes();
    routes.extend(tokens::routes());
    routes.extend(bans::routes());
    routes.extend(records::routes());
    routes.extend(paths::routes());
    routes
}
