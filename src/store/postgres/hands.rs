//! Whose hands the identities of a batch are in, for appends that ask for it.
//!
//! Invariant: once read, it stays so until the batch has ended. The rows are locked against
//! UPDATE, so a take-over comes before the reading or after the commit.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Object;
use futures_util::future::try_join;
use tokio_postgres::{Error, Row, Statement};

use super::keeping::Keeping;
use crate::model::{Holder, UserId};
use crate::store::rows::{holder, user};
use crate::store::{Append, StoreError};

/// FOR KEY SHARE would not do: a take-over changes no key, so the two would pass each other. Waiting
/// for a take-over, PostgreSQL reads the row again when that has ended.
const HOLD: &str = "SELECT user_id, taken_at FROM users WHERE user_id = ANY($1) \
    ORDER BY user_id FOR SHARE";

/// The question: whose hands are these in? A batch that asks for nobody's costs nothing.
pub(super) struct Question<'a> {
    /// The rows that are written first: a visitor's may be among those that are asked about.
    keeping: Keeping<'a>,
    users: Vec<&'a str>,
    statement: Option<Statement>,
}

impl<'a> Question<'a> {
    /// What these appends ask for.
    pub(super) async fn of(appends: &[&'a Append], client: &Object) -> Result<Self, Error> {
        let hands = appends.iter().flat_map(|append| append.hands());
        let users: BTreeSet<&str> = hands.map(|(user, _)| user.as_str()).collect();
        let statement = if users.is_empty() {
            None
        } else {
            Some(client.prepare_cached(HOLD).await?)
        };
        Ok(Self {
            keeping: Keeping::of(appends, client).await?,
            users: users.into_iter().collect(),
            statement,
        })
    }

    /// Asks it. What is asked is sent when the future is first polled.
    pub(super) async fn ask(&self, client: &Object) -> Result<Vec<Row>, Error> {
        let asked = async {
            match &self.statement {
                Some(statement) => client.query(statement, &[&self.users]).await,
                None => Ok(Vec::new()),
            }
        };
        let ((), rows) = try_join(self.keeping.write(client), asked).await?;
        Ok(rows)
    }
}

/// The answer.
pub(super) struct Hands(BTreeMap<UserId, Holder>);

impl Hands {
    pub(super) fn of(rows: &[Row]) -> Result<Self, StoreError> {
        let read = |row: &Row| Ok((user(row.try_get(0)?)?, holder(row.try_get(1)?)));
        rows.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The first identity of an append that is not in the hands that it must be in.
    pub(super) fn changed<'a>(&self, append: &'a Append) -> Option<&'a UserId> {
        let mut hands = append.hands();
        let changed = hands.find(|(user, holder)| self.0.get(*user) != Some(holder));
        changed.map(|(user, _)| user)
    }
}
