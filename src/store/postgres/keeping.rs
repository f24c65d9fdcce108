//! The rows of visitors who are kept from now on, because a message of a batch is theirs.
//!
//! Not here: which visitors these are (`identity`). Invariant: rows are written in the order of their
//! addresses, so that two nodes wait for one another instead of meeting in a deadlock; a row that is
//! there stays as it is; an address that was given up gets none.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Object;
use futures_util::future::try_join;
use tokio_postgres::{Error, Statement};

use crate::store::rows::millis;
use crate::store::{Append, Keep, NewVisitor};

const PUT: &str = "WITH w AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], \
    $5::text[], $6::bigint[], $7::bytea[], $8::bigint[]) \
    AS w (user_id, is_loose, taken_at, name, client_identifier, seen, token, expires_at)), \
    put AS (INSERT INTO users (user_id, kind, is_loose, taken_at, name, client_identifier, \
        created_at, last_seen, is_kept) \
    SELECT w.user_id, 0, w.is_loose, w.taken_at, w.name, w.client_identifier, w.seen, w.seen, 1 \
    FROM w WHERE NOT EXISTS (SELECT 1 FROM ended_visitors e WHERE e.user_id = w.user_id) \
    AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.old_id = w.user_id) \
    ORDER BY w.user_id ON CONFLICT (user_id) DO NOTHING RETURNING user_id) \
    INSERT INTO visitor_tokens (token, user_id, expires_at) \
    SELECT w.token, w.user_id, w.expires_at FROM w JOIN put ON put.user_id = w.user_id \
    ON CONFLICT (token) DO NOTHING";
const KEEP: &str = "UPDATE users SET is_kept = 1 WHERE user_id = ANY($1) AND is_kept = 0";

/// What is to be written; nothing for most batches, which costs nothing.
pub(super) struct Keeping<'a> {
    new: Vec<&'a NewVisitor>,
    users: Vec<&'a str>,
    statements: Option<(Statement, Statement)>,
}

impl<'a> Keeping<'a> {
    /// What these appends ask for.
    pub(super) async fn of(appends: &[&'a Append], client: &Object) -> Result<Self, Error> {
        let mut new = BTreeMap::new();
        let mut users = BTreeSet::new();
        for keep in appends.iter().flat_map(|append| &append.visitors) {
            match keep {
                Keep::Known(user) => users.insert(user.as_str()),
                Keep::New(visitor) => {
                    new.entry(&visitor.user_id).or_insert(visitor);
                    users.insert(visitor.user_id.as_str())
                }
            };
        }
        let statements = match users.is_empty() {
            true => None,
            false => Some((
                client.prepare_cached(PUT).await?,
                client.prepare_cached(KEEP).await?,
            )),
        };
        Ok(Self {
            new: new.into_values().collect(),
            users: users.into_iter().collect(),
            statements,
        })
    }

    /// Writes it. What is written is sent when the future is first polled.
    pub(super) async fn write(&self, client: &Object) -> Result<(), Error> {
        let Some((put, keep)) = &self.statements else {
            return Ok(());
        };
        let users: Vec<&str> = self.new.iter().map(|it| it.user_id.as_str()).collect();
        let loose: Vec<i64> = self.new.iter().map(|it| i64::from(it.loose)).collect();
        let taken: Vec<_> = self.new.iter().map(|it| it.taken_at.map(millis)).collect();
        let names: Vec<&str> = self.new.iter().map(|it| it.name.as_str()).collect();
        let clients = self.new.iter().map(|it| it.client_identifier.as_str());
        let clients: Vec<&str> = clients.collect();
        let seen: Vec<i64> = self.new.iter().map(|it| millis(it.now)).collect();
        let tokens: Vec<&[u8]> = self.new.iter().map(|it| it.token.as_slice()).collect();
        let ends = self.new.iter().map(|it| millis(it.token_expires_at));
        let ends: Vec<i64> = ends.collect();
        let put_params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &users, &loose, &taken, &names, &clients, &seen, &tokens, &ends,
        ];
        let keep_params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&self.users];
        let put = client.execute(put, &put_params);
        try_join(put, client.execute(keep, &keep_params))
            .await
            .map(drop)
    }
}
