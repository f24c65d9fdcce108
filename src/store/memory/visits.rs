//! Visitors and their secrets in the store in memory.
//!
//! Invariant: as in `state`.

use super::state::{State, Token};
use crate::model::{ClientIdentifier, Kind, Standing, UnixMillis, UserId};
use crate::store::alike::taken_at;
use crate::store::{Found, Keep, NewVisitor, TakeOver, TokenHash, UserRecord};

impl State {
    fn live_token(&self, token: &TokenHash, now: UnixMillis) -> Option<&UserId> {
        let token = self.tokens.get(token)?;
        (token.expires_at > now).then_some(&token.user_id)
    }

    pub(super) fn visitor(
        &self,
        token: &TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Found {
        let live = self.tokens.get(token).filter(|it| it.expires_at > now);
        let open = live.and_then(|it| Some((self.user(&it.user_id)?, it.expires_at)));
        match (open, user) {
            (Some((record, expires_at)), _) => Found::Open { record, expires_at },
            (None, Some(user))
                if self.users.contains_key(user) || self.ended.contains_key(user) =>
            {
                Found::Ended
            }
            (None, _) => Found::Nobody,
        }
    }

    pub(super) fn keep_visitor(&mut self, keep: Keep) {
        let user = match keep {
            Keep::Known(user) => user,
            Keep::New(visitor) => {
                let user = visitor.user_id.clone();
                self.create_visitor(visitor);
                user
            }
        };
        if let Some(record) = self.users.get_mut(&user) {
            record.is_kept = true;
        }
    }

    pub(super) fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Vec<UserRecord> {
        let found = self.users.values().filter(|user| {
            user.client_identifier == *client
                && user.standing.is_loose()
                && user.last_seen >= seen_after
        });
        found.take(2).cloned().collect()
    }

    pub(super) fn seen(&mut self, user_id: &UserId, now: UnixMillis) {
        if let Some(user) = self.users.get_mut(user_id) {
            user.last_seen = user.last_seen.max(now);
        }
    }

    pub(super) fn create_visitor(&mut self, visitor: NewVisitor) -> bool {
        if self.live_token(&visitor.token, visitor.now).is_some()
            || self.users.contains_key(&visitor.user_id)
            || self.ended.contains_key(&visitor.user_id)
        {
            return false;
        }
        let standing = if visitor.loose {
            Standing::Loose {
                taken_at: visitor.taken_at,
            }
        } else {
            Standing::Firm {
                taken_at: visitor.taken_at,
            }
        };
        self.tokens.insert(
            visitor.token,
            Token {
                user_id: visitor.user_id.clone(),
                expires_at: visitor.token_expires_at,
            },
        );
        self.users.insert(
            visitor.user_id.clone(),
            UserRecord {
                user_id: visitor.user_id,
                kind: Kind::Anonymous,
                standing,
                name: visitor.name,
                client_identifier: visitor.client_identifier,
                created_at: visitor.now,
                last_seen: visitor.now,
                is_kept: visitor.is_kept,
            },
        );
        true
    }

    pub(super) fn confirm_token(
        &mut self,
        token: &TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) {
        let Some(token) = self.tokens.get_mut(token).filter(|t| t.expires_at > now) else {
            return;
        };
        token.expires_at = expires_at;
        if let Some(user) = self.users.get_mut(&token.user_id) {
            user.standing = Standing::Firm {
                taken_at: user.standing.taken_at(),
            };
            user.last_seen = user.last_seen.max(now);
        }
    }

    pub(super) fn take_over(&mut self, wanted: TakeOver) -> bool {
        let is_owned = self.live_token(&wanted.token, wanted.now).is_some();
        let Some(user) = self.users.get_mut(&wanted.user_id) else {
            return false;
        };
        let as_read = Standing::Loose {
            taken_at: wanted.taken_at_before,
        };
        if is_owned || user.standing != as_read || user.last_seen != wanted.last_seen_before {
            return false;
        }
        user.standing = Standing::Loose {
            taken_at: Some(taken_at(&wanted)),
        };
        user.last_seen = user.last_seen.max(wanted.now);
        self.tokens
            .retain(|_, token| token.user_id != wanted.user_id);
        self.tokens.insert(
            wanted.token,
            Token {
                user_id: wanted.user_id,
                expires_at: wanted.token_expires_at,
            },
        );
        true
    }
}
