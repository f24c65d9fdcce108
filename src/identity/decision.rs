//! Which identity a client gets, as a pure function of what it presented.
//!
//! Not here: where the facts come from and how races are settled (`visitors`). Invariant: a
//! fingerprint never opens an identity that is firm, that has a live session, or that is not the
//! only loose one with this fingerprint.

use std::time::Duration;

use crate::model::{UnixMillis, UserId};

/// `visitor-token-status` when a presented secret opened nothing.
pub const REJECTED: &str = "rejected";

/// How long an identity that was just opened counts as having a live session although none is
/// registered yet, unless its session has ended meanwhile. Registering takes well under a second.
pub const OPENING: Duration = Duration::from_secs(10);

/// How visitors without a secret are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A loose identity may be recognised by its fingerprint.
    Hint,
    /// A fingerprint never opens anything.
    Token,
    /// There are no visitors.
    Disabled,
}

/// The secret that the client itself presented, and what the store says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// None.
    Absent,
    /// It asked for a fresh visitor (`visitor-token:new`).
    New,
    /// One that opens nothing: malformed, expired, ended, or never given out.
    Unknown,
    /// One that opens an identity.
    Known,
}

/// The cookie of the handshake, and what the store says of it. It is genuine in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// None, or cookies do not count.
    Absent,
    /// It belongs to nobody yet: given just now, or brought and unknown to the store.
    Unbound,
    /// It was brought and opens an identity.
    Known,
}

/// A loose identity with the client's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The identity.
    pub user_id: UserId,
    /// When its present holder got it: created or took it over.
    pub opened_at: UnixMillis,
    /// When it was opened or its session ended, whichever was later.
    pub last_seen: UnixMillis,
    /// Whether any node has a live session of it.
    pub has_live_session: bool,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The mode of this cluster.
    pub mode: Mode,
    /// The secret in the CONNECT header or in `Authorization`.
    pub header: Header,
    /// The cookie.
    pub cookie: Cookie,
    /// Whether the handshake came from a page (an allowed Origin or the same-origin mark).
    pub from_page: bool,
    /// Whether the client asked not to be recognised (`Sec-GPC: 1`).
    pub opted_out: bool,
    /// Whether the client asked for an identity by a request of its own rather than in passing, by
    /// a handshake. It keeps the secret that it asked for.
    pub requested: bool,
    /// The loose identities with its fingerprint; at most two are of interest.
    pub candidates: &'a [Candidate],
    /// Now.
    pub now: UnixMillis,
    /// For how long after it was last seen a loose identity is recognised.
    pub hint_ttl: Duration,
}

/// Which secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one in the header.
    Header,
    /// The one in the cookie.
    Cookie,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Refuse: visitors are switched off.
    Refuse,
    /// Open the identity of this secret: `proof:token`.
    Open(Source),
    /// Take this loose identity over, unless somebody is faster: `proof:hint`.
    TakeOver {
        /// The identity.
        user_id: UserId,
        /// Whether the cookie's secret becomes its secret, rather than a new one.
        bind_cookie: bool,
    },
    /// Create an identity: `proof:new`.
    Create {
        /// Whether a fingerprint may open it later.
        loose: bool,
        /// Whether the cookie's secret becomes its secret, rather than a new one.
        bind_cookie: bool,
    },
}

/// The decision, and what the client is told about the secret that it presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub decision: Decision,
    /// `visitor-token-status`, when there is something to say.
    pub status: Option<&'static str>,
}

/// Decides. The header beats the cookie: a client that presents a secret of its own, or asks for a
/// fresh visitor, keeps its secret itself, and the cookie then neither opens nor is bound.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Verdict {
    let status = (facts.header == Header::Unknown).then_some(REJECTED);
    let cookie = facts.cookie();
    let bind_cookie = cookie == Cookie::Unbound;
    let decision = if facts.mode == Mode::Disabled {
        Decision::Refuse
    } else if facts.header == Header::Known {
        Decision::Open(Source::Header)
    } else if cookie == Cookie::Known {
        Decision::Open(Source::Cookie)
    } else if let Some(user_id) = facts.recognised() {
        Decision::TakeOver {
            user_id,
            bind_cookie,
        }
    } else {
        Decision::Create {
            loose: !facts.from_page && !facts.requested,
            bind_cookie,
        }
    };
    Verdict { decision, status }
}

impl Facts<'_> {
    /// Whether loose identities may be looked up by the fingerprint at all.
    #[must_use]
    pub fn may_be_recognised(&self) -> bool {
        self.mode == Mode::Hint
            && !self.opted_out
            && !self.requested
            && matches!(self.header, Header::Absent | Header::Unknown)
            && self.cookie() != Cookie::Known
    }

    /// The cookie as far as it counts: from a page, and without a header.
    fn cookie(&self) -> Cookie {
        if self.from_page && self.header == Header::Absent {
            self.cookie
        } else {
            Cookie::Absent
        }
    }

    /// The one loose identity that the fingerprint opens, if there is exactly one and it is free.
    fn recognised(&self) -> Option<UserId> {
        if !self.may_be_recognised() {
            return None;
        }
        let recent = |c: &&Candidate| self.now.since(c.last_seen) <= self.hint_ttl;
        let mut recent = self.candidates.iter().filter(recent);
        let (Some(only), None) = (recent.next(), recent.next()) else {
            return None;
        };
        (!only.has_live_session && !only.is_opening(self.now)).then(|| only.user_id.clone())
    }
}

impl Candidate {
    /// Whether its holder is between being let in and having his session registered: without this
    /// a neighbour could take the identity over in that moment, and both would read what comes.
    fn is_opening(&self, now: UnixMillis) -> bool {
        self.last_seen <= self.opened_at && now.since(self.opened_at) < OPENING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(100_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn candidate(name: &str, opened_s_ago: u64, seen_s_ago: u64, live: bool) -> Candidate {
        Candidate {
            user_id: name.parse().unwrap(),
            opened_at: NOW.before(Duration::from_secs(opened_s_ago)),
            last_seen: NOW.before(Duration::from_secs(seen_s_ago)),
            has_live_session: live,
        }
    }

    /// Every combination of facts, with the decision that the rules name for it, written as a
    /// sequence of rules of which the first that applies counts.
    #[test]
    fn every_combination_is_decided_as_the_rules_say() {
        let free = [candidate("x", 900, 600, false)];
        let live = [candidate("x", 900, 600, true)];
        let two = [
            candidate("x", 900, 600, false),
            candidate("y", 500, 400, false),
        ];
        let cases: [(&[Candidate], bool); 4] =
            [(&[], false), (&free, true), (&live, false), (&two, false)];
        let mut seen = 0;
        for mode in [Mode::Hint, Mode::Token, Mode::Disabled] {
            for header in [Header::Absent, Header::New, Header::Unknown, Header::Known] {
                for cookie in [Cookie::Absent, Cookie::Unbound, Cookie::Known] {
                    for flags in 0..8_u8 {
                        for (candidates, one_is_free) in cases {
                            let facts = Facts {
                                mode,
                                header,
                                cookie,
                                from_page: flags & 1 != 0,
                                opted_out: flags & 2 != 0,
                                requested: flags & 4 != 0,
                                candidates,
                                now: NOW,
                                hint_ttl: HOUR,
                            };
                            let verdict = decide(&facts);
                            assert_eq!(
                                verdict.decision,
                                expected(&facts, one_is_free),
                                "{facts:?}"
                            );
                            let rejected = header == Header::Unknown;
                            assert_eq!(verdict.status.is_some(), rejected, "{facts:?}");
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 3 * 4 * 3 * 8 * 4);
    }

    fn expected(facts: &Facts<'_>, one_is_free: bool) -> Decision {
        let cookie_counts = facts.from_page && facts.header == Header::Absent;
        let bind_cookie = cookie_counts && facts.cookie == Cookie::Unbound;
        match (facts.mode, facts.header, facts.cookie) {
            (Mode::Disabled, _, _) => Decision::Refuse,
            (_, Header::Known, _) => Decision::Open(Source::Header),
            (_, Header::Absent, Cookie::Known) if facts.from_page => Decision::Open(Source::Cookie),
            (Mode::Hint, Header::Absent | Header::Unknown, _)
                if one_is_free && !facts.opted_out && !facts.requested =>
            {
                Decision::TakeOver {
                    user_id: "x".parse().unwrap(),
                    bind_cookie,
                }
            }
            _ => Decision::Create {
                loose: !facts.from_page && !facts.requested,
                bind_cookie,
            },
        }
    }

    #[test]
    fn a_fingerprint_opens_only_the_one_free_identity_of_the_last_hour() {
        let check = |candidates: &[Candidate], taken: Option<&str>| {
            let facts = Facts {
                mode: Mode::Hint,
                header: Header::Absent,
                cookie: Cookie::Absent,
                from_page: false,
                opted_out: false,
                requested: false,
                candidates,
                now: NOW,
                hint_ttl: HOUR,
            };
            let decision = decide(&facts).decision;
            let name = match &decision {
                Decision::TakeOver { user_id, .. } => Some(user_id.as_str()),
                Decision::Refuse | Decision::Open(_) | Decision::Create { .. } => None,
            };
            assert_eq!(name, taken, "{candidates:?}");
        };
        check(&[candidate("x", 9000, 3600, false)], Some("x"));
        check(&[candidate("x", 9000, 3601, false)], None);
        check(&[candidate("x", 900, 600, true)], None);
        // One of two is too old to count.
        let old = candidate("y", 9000, 3601, false);
        check(&[candidate("x", 900, 600, false), old], Some("x"));
        // Opened just now, its session not registered yet; or already ended again.
        check(&[candidate("x", 9, 9, false)], None);
        check(&[candidate("x", 10, 10, false)], Some("x"));
        check(&[candidate("x", 9, 8, false)], Some("x"));
        // Somebody's clock is ahead of ours.
        let mut ahead = candidate("x", 0, 0, false);
        ahead.opened_at = NOW.after(HOUR);
        ahead.last_seen = NOW.after(HOUR);
        check(&[ahead], None);
    }
}
