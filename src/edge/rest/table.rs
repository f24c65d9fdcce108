//! The table of REST: every route, once.
//!
//! Not here: what they do. Invariant: what is not in this table is not answered by REST.

use super::route::Route;
use super::{admin, auth, link, me, passwords, service, visitor};

/// All routes, in the order of the documentation.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = service::routes();
    routes.extend(visitor::routes());
    routes.extend(auth::routes());
    routes.extend(passwords::routes());
    routes.extend(link::routes());
    routes.extend(me::routes());
    routes.extend(admin::routes());
    routes
}
