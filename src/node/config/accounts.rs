//! Kinds of value about accounts: claims, issuers, where links lead, who letters are from.
//!
//! Not here: what is done with them (`identity`, `mail`). Invariant: none of them holds a secret;
//! those are named by file.

use super::kinds::{Kind, Rule};
use crate::identity::accounts::{IssuerSpec, read_issuers};

/// The value of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl Kind for Word {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let fits = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }
    fn allowed(_: Rule) -> String {
        "1 to 256 visible characters of ASCII".to_owned()
    }
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// The issuers whose tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerList {
    text: String,
    /// Each of them.
    pub issuers: Vec<IssuerSpec>,
}

impl Kind for IssuerList {
    fn read(text: &str, _: Rule) -> Option<Self> {
        Some(Self {
            text: text.to_owned(),
            issuers: read_issuers(text)?,
        })
    }
    fn allowed(_: Rule) -> String {
        "entries separated by `;`, each `name=...,iss=...,aud=...` and one of `secret_file=`, \
         `jwks_file=`, `jwks_url=`, `introspect_url=` with `introspect_secret_file=`; also \
         `roles_claim=`, `name_claim=`, `admin=true`"
            .to_owned()
    }
    fn shown(&self) -> String {
        self.text.clone()
    }
}

/// Where people reach the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(pub String);

impl Kind for PublicUrl {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]".contains(&b);
        (!rest.is_empty() && rest.bytes().all(known)).then(|| Self(text.to_owned()))
    }
    fn allowed(_: Rule) -> String {
        "a URL such as https://chat.example.com, without a query".to_owned()
    }
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// Who letters are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom(pub String);

impl Kind for MailFrom {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let clean = text.contains('@') && !text.contains(char::is_control) && text.len() <= 320;
        clean.then(|| Self(text.to_owned()))
    }
    fn allowed(_: Rule) -> String {
        "an address such as Stompbox <noreply@example.com>".to_owned()
    }
    fn shown(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::kinds::tests::check;

    #[test]
    fn values_about_accounts_are_read_and_shown() {
        check::<Word>(
            Rule::Any,
            &[("https://a.b/c", "https://a.b/c")],
            &["", "a b", "\u{e9}"],
        );
        check::<PublicUrl>(
            Rule::Any,
            &[
                ("https://a.b/", "https://a.b"),
                ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ],
            &[
                "",
                "a.b",
                "https://",
                "https://a.b?x=y",
                "https://a.b#x",
                "javascript:x",
            ],
        );
        check::<MailFrom>(Rule::Any, &[("a@b", "a@b")], &["", "a", "a@b\r\nBcc: x"]);
        let issuer = "name=shop,iss=a,aud=b,jwks_file=/x";
        check::<IssuerList>(
            Rule::Any,
            &[("", ""), (issuer, issuer)],
            &["shop", "name=shop"],
        );
    }
}
