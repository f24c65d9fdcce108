//! Visitors without a row, as Redis remembers them for an hour.
//!
//! Not here: the names of the keys (`keys`). Invariant: what cannot be read counts as not there.

use std::sync::Arc;

use super::{RedisLocation, keys};
use crate::location::{LocationError, TOUCH_LIFE};
use crate::model::{ClientIdentifier, Unkept, UserId};

impl RedisLocation {
    pub(super) async fn note_visitor(
        &self,
        user: &UserId,
        visitor: &Unkept,
    ) -> Result<(), LocationError> {
        let (key, value) = (keys::visitor(user), keys::visitor_value(visitor));
        if !visitor.standing.is_loose() {
            let mut commands = redis::pipe();
            commands.set_ex(key, value, TOUCH_LIFE.as_secs()).ignore();
            return self.link.pipeline("introduce", &commands).await;
        }
        let mut call = self.scripts.introduce.prepare_invoke();
        call.key(key)
            .key(keys::fingerprint(&visitor.client_identifier))
            .arg(value)
            .arg(TOUCH_LIFE.as_secs())
            .arg(user.as_str())
            .arg(keys::FINGERPRINT_PREFIX);
        self.link.script("introduce", &call).await
    }

    pub(super) async fn noted_visitor(
        &self,
        user: &UserId,
    ) -> Result<Option<Arc<Unkept>>, LocationError> {
        let mut commands = redis::pipe();
        commands.get(keys::visitor(user));
        let (value,): (Option<String>,) = self.link.pipeline("introduced", &commands).await?;
        let visitor = value.as_deref().and_then(keys::read_visitor);
        Ok(visitor.map(Arc::new))
    }

    pub(super) async fn noted_loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        let mut commands = redis::pipe();
        commands.get(keys::fingerprint(client));
        let (users,): (Option<String>,) = self.link.pipeline("loose", &commands).await?;
        let users = users.unwrap_or_default();
        let users = users.split(' ').filter_map(|user| user.parse().ok());
        let users: Vec<UserId> = users.collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = redis::pipe();
        commands.mget(users.iter().map(keys::visitor).collect::<Vec<_>>());
        let (values,): (Vec<Option<String>>,) = self.link.pipeline("loose", &commands).await?;
        let visitor = |value: Option<String>| keys::read_visitor(&value?).map(Arc::new);
        let noted = users.into_iter().zip(values);
        // One that is firm by now, or elsewhere, is not found by this fingerprint any more.
        let is_here = |it: &Unkept| it.standing.is_loose() && it.client_identifier == *client;
        Ok(noted
            .filter_map(|(user, value)| Some((user, visitor(value)?)))
            .filter(|(_, visitor)| is_here(visitor))
            .collect())
    }
}
