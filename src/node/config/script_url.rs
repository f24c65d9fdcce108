//! The kind of value that is the address of a script in a page.
//!
//! Invariant: it can be written into an attribute of HTML and into a content security policy as it
//! is.

use super::kinds::{Kind, Rule};

/// The address of a script: a path of this server, or a URL of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptUrl(pub String);

impl Kind for ScriptUrl {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let is_path = text.starts_with('/') && !text.starts_with("//");
        let is_url = ["https://", "http://"].iter().any(|scheme| {
            text.strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty())
        });
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/@%+=".contains(&b);
        ((is_path || is_url) && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }
    fn allowed(_: Rule) -> String {
        "a path such as /sockjs.min.js, or a URL without a query".to_owned()
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
    fn the_address_of_a_script_is_harmless_in_a_page() {
        let url = "https://cdn.example/npm/sockjs-client@1/dist/sockjs.min.js";
        check::<ScriptUrl>(
            Rule::Any,
            &[(url, url), ("/s.js", "/s.js")],
            &[
                "",
                "s.js",
                "//cdn.example/s.js",
                "https://",
                "ftp://a/b",
                "/a\"",
                "/a;b",
                "/a b",
            ],
        );
    }
}
