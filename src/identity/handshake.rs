//! What the HTTP handshake of a connection tells about the client.

use std::net::IpAddr;

/// What is known about a client before its first frame. `address` is the right-most untrusted hop.
#[derive(Clone)]
pub struct Handshake {
    /// The client's address.
    pub address: IpAddr,
    /// The `User-Agent` header; empty when there was none.
    pub user_agent: String,
    /// Whether an allowed `Origin` came (or `Sec-Fetch-Site: same-origin` on a GET without one).
    pub from_page: bool,
    /// Whether `Sec-GPC: 1` came: no look-up by fingerprint then.
    pub opted_out: bool,
    /// The value of the cookie `sb_vid` for this handshake: the genuine one that the client
    /// brought, else the new one that the response sets. `None` when cookies do not count.
    pub cookie: Option<String>,
    /// Whether the client brought that cookie (rather than being given it just now).
    pub cookie_presented: bool,
    /// What came in the query `?ticket=`, or as the subprotocol `bearer.<token>` of a WebSocket:
    /// pages can set no header of their own. A secret of CONNECT beats it.
    pub presented: Option<Token>,
}

impl Handshake {
    /// What is known of a client that is no page and says nothing but where it is.
    #[must_use]
    pub fn without_page(address: IpAddr) -> Self {
        Self {
            address,
            user_agent: String::new(),
            from_page: false,
            opted_out: false,
            cookie: None,
            cookie_presented: false,
            presented: None,
        }
    }
}

/// A secret that a client has presented, not looked at yet. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes the text of a secret.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl std::fmt::Debug for Handshake {
    /// Without the address, the user agent and the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("from_page", &self.from_page)
            .finish_non_exhaustive()
    }
}
