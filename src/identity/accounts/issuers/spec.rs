//! How issuers are written in the setting `JWT_ISSUERS`.
//!
//! ```text
//! name=shop,iss=https://shop.example,aud=chat,jwks_url=https://shop.example/jwks; name=...
//! ```
//!
//! Not here: reading the files (`node`). Invariant: secrets are named by file, so that the setting
//! itself holds none and may be shown.

use std::path::PathBuf;

/// Where an issuer's keys are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A file with a secret.
    SecretFile(PathBuf),
    /// A file with a JWK set.
    JwksFile(PathBuf),
    /// A URL with a JWK set.
    JwksUrl(String),
    /// A URL that is asked about tokens, and a file with the secret for it.
    Introspect {
        /// Where.
        url: String,
        /// The file.
        secret_file: PathBuf,
    },
}

/// An issuer as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSpec {
    /// What it is called here.
    pub name: String,
    /// The claim `iss`.
    pub iss: String,
    /// The claim `aud`.
    pub aud: String,
    /// Where its keys are.
    pub keys: KeyPlace,
    /// The claim with roles.
    pub roles_claim: String,
    /// The claim with the name.
    pub name_claim: String,
    /// Whether it may say who looks after this service.
    pub may_make_admins: bool,
}

/// Reads the setting; `None` when something in it is not as it must be.
#[must_use]
pub fn read_issuers(text: &str) -> Option<Vec<IssuerSpec>> {
    let entries = text.split(';').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(read_issuer)
        .collect()
}

/// The fields of one entry, each at most once.
#[derive(Default)]
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.swap_remove(at).1)
    }
}

fn read_issuer(entry: &str) -> Option<IssuerSpec> {
    let mut fields = Fields::default();
    for field in entry.split(',') {
        let (key, value) = field.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        if value.is_empty() || fields.0.iter().any(|(known, _)| *known == key) {
            return None;
        }
        fields.0.push((key, value));
    }
    let name = fields.take("name").filter(|name| is_name(name))?.to_owned();
    let mut text = |key: &str, other: &str| fields.take(key).unwrap_or(other).to_owned();
    let (iss, aud) = (text("iss", ""), text("aud", ""));
    let roles_claim = text("roles_claim", "roles");
    let name_claim = text("name_claim", "name");
    let may_make_admins = match text("admin", "false").as_str() {
        "true" => true,
        "false" => false,
        _ => return None,
    };
    let keys = [
        fields
            .take("secret_file")
            .map(|path| KeyPlace::SecretFile(path.into())),
        fields
            .take("jwks_file")
            .map(|path| KeyPlace::JwksFile(path.into())),
        fields
            .take("jwks_url")
            .map(|url| KeyPlace::JwksUrl(url.to_owned())),
        match (
            fields.take("introspect_url"),
            fields.take("introspect_secret_file"),
        ) {
            (None, None) => None,
            (Some(url), Some(path)) => Some(KeyPlace::Introspect {
                url: url.to_owned(),
                secret_file: path.into(),
            }),
            (Some(_), None) | (None, Some(_)) => return None,
        },
    ];
    let mut keys = keys.into_iter().flatten();
    let (Some(keys), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let is_complete =
        matches!(keys, KeyPlace::Introspect { .. }) || !(iss.is_empty() || aud.is_empty());
    (is_complete && fields.0.is_empty()).then_some(IssuerSpec {
        name,
        iss,
        aud,
        keys,
        roles_claim,
        name_claim,
        may_make_admins,
    })
}

/// A name stands before a `.` in addresses.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_read_as_they_are_written() {
        let text = "name=shop, iss=https://shop.example, aud=chat, jwks_url=https://shop.example/jwks?a=b; \
                    name=gate,introspect_url=https://gate.example/i,introspect_secret_file=/run/s,admin=true;";
        let read = read_issuers(text).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].iss.as_str(), read[0].aud.as_str()),
            ("https://shop.example", "chat")
        );
        let url = "https://shop.example/jwks?a=b".to_owned();
        assert_eq!(read[0].keys, KeyPlace::JwksUrl(url));
        assert!(read[1].may_make_admins && !read[0].may_make_admins);
        assert_eq!(read_issuers(""), Some(Vec::new()));
    }

    #[test]
    fn what_is_incomplete_or_unknown_is_refused() {
        for text in [
            "shop",
            "name=shop,iss=a,aud=b",
            "name=Shop,iss=a,aud=b,jwks_file=/x",
            "name=shop,aud=b,jwks_file=/x",
            "name=shop,iss=a,jwks_file=/x",
            "name=shop,iss=a,aud=b,jwks_file=/x,secret_file=/y",
            "name=shop,iss=a,iss=c,aud=b,jwks_file=/x",
            "name=shop,iss=a,aud=b,jwks_file=/x,alg=HS256",
            "name=shop,iss=a,aud=b,jwks_file=/x,admin=yes",
            "name=gate,introspect_url=https://x",
        ] {
            assert!(read_issuers(text).is_none(), "{text}");
        }
    }
}
