//! What a site says of one of its users, and who he is here.
//!
//! Not here: whether the site has said it (`super`). Invariant: two users of sites never have one
//! address here, and none has an address of ours.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{IssuerSettings, SiteUser};
use crate::identity::accounts::email::read_name;
use crate::identity::accounts::jwt::{Times, refused};
use crate::model::{Kind, Problem, UnixMillis, UserId};

/// How many roles are looked at.
const ROLES_MAX: usize = 64;

/// The claims that every token of a site must have, and those that it may have. Their types are
/// checked by reading them: a time that is no whole number is no time.
#[derive(Deserialize)]
pub(super) struct SiteClaims {
    pub(super) iss: String,
    pub(super) aud: Audience,
    pub(super) sub: String,
    pub(super) jti: String,
    pub(super) exp: u64,
    #[serde(default)]
    pub(super) iat: Option<u64>,
    #[serde(default)]
    pub(super) nbf: Option<u64>,
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

/// One audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl SiteClaims {
    /// Whether the token is of this issuer and for this service.
    pub(super) fn are_of(&self, settings: &IssuerSettings) -> bool {
        let is_for_us = match &self.aud {
            Audience::One(aud) => *aud == settings.aud,
            Audience::Several(all) => all.contains(&settings.aud),
        };
        is_for_us && self.iss == settings.iss && !self.jti.is_empty()
    }

    pub(super) fn times(&self) -> Times {
        // A token that does not say when it was made was made when it began, or always.
        let iat = self.iat.or(self.nbf).unwrap_or_default();
        Times {
            iat,
            nbf: self.nbf,
            exp: self.exp,
        }
    }
}

/// The user of a token that is genuine.
pub(super) fn site_user(
    settings: &IssuerSettings,
    is_only: bool,
    sub: &str,
    others: &Map<String, Value>,
    expires_at: UnixMillis,
) -> Result<SiteUser, Problem> {
    let user_id = address(&settings.name, is_only, sub).ok_or_else(refused)?;
    let name = others.get(&settings.name_claim).and_then(Value::as_str);
    let name = name.and_then(|name| read_name(name).ok());
    let name = name.unwrap_or_else(|| sub.chars().take(64).collect());
    let roles = others.get(&settings.roles_claim);
    Ok(SiteUser {
        user_id,
        name,
        kind: kind_of(roles, settings.may_make_admins),
        expires_at,
    })
}

/// The address of a site's user: its `sub`, under the site's name when there are several sites, when
/// it looks like an address of ours, or when it looks as if it were under the name already.
fn address(name: &str, is_only: bool, sub: &str) -> Option<UserId> {
    // The sub itself must be an address: prefixes do not make anything valid.
    sub.parse::<UserId>().ok()?;
    let folded = sub.to_ascii_lowercase();
    let is_ours = ["user_", "bot_", "dev_", "room_", "system"]
        .iter()
        .any(|ours| folded.starts_with(ours));
    let is_under_name = folded.starts_with(&format!("{name}."));
    if is_only && !is_ours && !is_under_name {
        return sub.parse().ok();
    }
    format!("{name}.{sub}").parse().ok()
}

/// The kind that roles make: a list of words, or words with spaces between.
fn kind_of(roles: Option<&Value>, may_make_admins: bool) -> Kind {
    let words: Vec<&str> = match roles {
        Some(Value::String(text)) => text.split_whitespace().take(ROLES_MAX).collect(),
        Some(Value::Array(all)) => all
            .iter()
            .take(ROLES_MAX)
            .filter_map(Value::as_str)
            .collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    };
    if may_make_admins && words.contains(&"admin") {
        Kind::Admin
    } else if words.contains(&"bot") {
        Kind::Bot
    } else {
        Kind::Member
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_site_never_speaks_for_an_address_of_ours() {
        let check = |is_only: bool, sub: &str, expected: Option<&str>| {
            let found = address("shop", is_only, sub);
            let found = found.as_ref().map(UserId::as_str);
            assert_eq!(found, expected, "{sub}");
        };
        check(true, "42", Some("42"));
        check(true, "kim@example.com", Some("kim@example.com"));
        check(true, "user_0123456789abc", Some("shop.user_0123456789abc"));
        check(true, "USER_0123456789abc", Some("shop.USER_0123456789abc"));
        check(true, "system", Some("shop.system"));
        check(true, "shop.42", Some("shop.shop.42"));
        check(false, "42", Some("shop.42"));
        check(true, "a/b", None);
        check(true, "", None);
        check(true, &"x".repeat(128), Some(&"x".repeat(128)));
        check(true, &"x".repeat(129), None);
        check(false, &"x".repeat(124), None);
    }

    #[test]
    fn roles_make_an_admin_only_where_the_settings_say_so() {
        let check = |roles: Value, may: bool, kind: Kind| {
            assert_eq!(kind_of(Some(&roles), may), kind, "{roles} {may}");
        };
        check(json!(["admin", "x"]), true, Kind::Admin);
        check(json!(["admin", "x"]), false, Kind::Member);
        check(json!("x admin"), true, Kind::Admin);
        check(json!("administrator"), true, Kind::Member);
        check(json!(["bot"]), false, Kind::Bot);
        check(json!({"admin": true}), true, Kind::Member);
        check(json!(7), true, Kind::Member);
        assert_eq!(kind_of(None, true), Kind::Member);
    }
}
