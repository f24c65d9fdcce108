//! Visitors without a row, as Redis remembers them for an hour.
//!
//! Not here: the names of the keys (`keys`), who is forgotten for whom (`scripts`). Invariants: what cannot be read
//! counts as not there; beside those who are connected at most `visits_max` visitors are remembered.

use std::sync::Arc;

use super::{RedisLocation, keys};
use crate::location::{LocationError, TOUCH_LIFE};
use crate::model::{ClientIdentifier, NamedNetworks, Unkept, UserId};

impl RedisLocation {
    pub(super) async fn note_visitor(
        &self,
        user: &UserId,
        visitor: &Unkept,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        // A script counts to one network: the widest, which contains the others.
        let network = from.levels.last();
        let network = network.map_or("", |(name, _)| name.as_str());
        let mut call = self.scripts.introduce.prepare_invoke();
        call.key(keys::visitor(user))
            .key(keys::visits_of(network))
            .key(keys::VISITS_RANKS)
            .key(keys::VISITS_COUNTS)
            .key(keys::VISITS_TIMES);
        if visitor.standing.is_loose() {
            call.key(keys::fingerprint(&visitor.client_identifier));
        }
        call.arg(keys::visitor_value(visitor))
            .arg(TOUCH_LIFE.as_secs())
            .arg(user.as_str())
            .arg(keys::FINGERPRINT_PREFIX)
            .arg(keys::VISITOR_PREFIX)
            .arg(keys::SESSIONS_PREFIX)
            .arg(keys::VISITS_PREFIX)
            .arg(network)
            .arg(from.multiple.max(1))
            .arg(self.settings.visits_max);
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
