//! The bans and mutes that stand, in memory: asked for each message and each connection.
//!
//! Not here: who may ban (`admin`). Invariant: a ban that has ended is none, also before the table is
//! read again; and a table that could not be read leaves the one before it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::types::Banned;
use crate::model::{Principal, UnixMillis};
use crate::store::accounts::{Ban, BanAct, Subject};

type Rows = BTreeMap<(Subject, BanAct), Ban>;

/// The bans.
#[derive(Debug, Default)]
pub(super) struct BanTable {
    /// A std lock: it guards one pointer and is never held across an await.
    rows: RwLock<Arc<Rows>>,
}

impl BanTable {
    /// Takes these instead of those before.
    pub(super) fn replace(&self, bans: Vec<Ban>) {
        let rows = bans.into_iter();
        let rows: Rows = rows
            .map(|ban| ((ban.subject.clone(), ban.act), ban))
            .collect();
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rows);
    }

    /// What keeps this principal out, or from writing.
    pub(super) fn verdict(&self, principal: &Principal, now: UnixMillis) -> Banned {
        let rows = Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner));
        if rows.is_empty() {
            return Banned::default();
        }
        let subjects = [
            Subject::User(principal.user_id.clone()),
            Subject::Client(principal.client_identifier.clone()),
            Subject::Network(principal.network.clone()),
        ];
        let of = |act: BanAct| {
            let mut standing = subjects.iter().filter_map(|subject| {
                let ban = rows.get(&(subject.clone(), act))?;
                ban.until.is_none_or(|until| now < until).then_some(ban)
            });
            standing.next().cloned()
        };
        Banned {
            ban: of(BanAct::Ban),
            mute: of(BanAct::Mute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClientIdentifier, Kind, Standing};

    fn ban(subject: Subject, act: BanAct, until: Option<u64>) -> Ban {
        Ban {
            subject,
            act,
            until: until.map(UnixMillis),
            reason: "spam".to_owned(),
            by: "user_admin".to_owned(),
            created_at: UnixMillis(0),
        }
    }

    #[test]
    fn somebody_is_banned_by_himself_his_browser_or_his_network_until_it_ends() {
        let identifier = |octet| ClientIdentifier::from_mac(&[octet; 32]);
        let kim = Principal {
            user_id: "user_kim".parse().unwrap(),
            kind: Kind::Member,
            standing: Standing::FIRM,
            name: "Kim".to_owned(),
            client_identifier: identifier(1),
            network: identifier(2),
            sign_in: None,
            made_at: None,
            expires_at: None,
        };
        let check = |bans: Vec<Ban>, banned: bool, muted: bool| {
            let table = BanTable::default();
            table.replace(bans.clone());
            let found = table.verdict(&kim, UnixMillis(100));
            let found = (found.ban.is_some(), found.mute.is_some());
            assert_eq!(found, (banned, muted), "{bans:?}");
        };
        let user = |name: &str| Subject::User(name.parse().unwrap());
        check(vec![], false, false);
        check(vec![ban(user("user_kim"), BanAct::Ban, None)], true, false);
        check(vec![ban(user("user_kim"), BanAct::Mute, None)], false, true);
        check(
            vec![ban(user("user_kim"), BanAct::Ban, Some(101))],
            true,
            false,
        );
        check(
            vec![ban(user("user_kim"), BanAct::Ban, Some(100))],
            false,
            false,
        );
        check(vec![ban(user("user_lee"), BanAct::Ban, None)], false, false);
        check(
            vec![ban(Subject::Client(identifier(1)), BanAct::Ban, None)],
            true,
            false,
        );
        check(
            vec![ban(Subject::Client(identifier(2)), BanAct::Ban, None)],
            false,
            false,
        );
        check(
            vec![ban(Subject::Network(identifier(2)), BanAct::Mute, None)],
            false,
            true,
        );
        check(
            vec![ban(Subject::Network(identifier(1)), BanAct::Ban, None)],
            false,
            false,
        );
    }
}
