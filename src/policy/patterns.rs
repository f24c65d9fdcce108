//! Which messages subscriptions with wildcards get, and how many such subscriptions there may be.
//!
//! Not here: what a pattern stands for (`model::pattern`), who may subscribe (`destinations`).
//! Invariant: nobody comes by a wildcard to what belongs to a user, to a session or to the service.

use super::destinations::is_reserved;

/// How many patterns the nodes of a cluster may want, each counted once per node, unless the
/// settings say otherwise: whoever publishes compares with all of them.
pub const PATTERNS_MAX: usize = 1_000;

/// Keys under which something is fanned out to one user or one session.
const PRIVATE: [&str; 2] = ["/user/", "/reply-queue/"];

/// Whether subscriptions with wildcards get what is published there.
#[must_use]
pub fn is_open_to_patterns(destination: &str) -> bool {
    !PRIVATE.iter().any(|key| destination.starts_with(key)) && !is_reserved(destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_do_not_reach_what_belongs_to_somebody() {
        let check = |destination: &str, expected: bool| {
            let found = is_open_to_patterns(destination);
            assert_eq!(found, expected, "{destination}");
        };
        check("/topic/news", true);
        check("/topic/a/b.c", true);
        check("/topic/room.x", false);
        check("/topic/announce", false);
        check("/user/user_a/queue/x", false);
        check("/reply-queue/0123", false);
    }
}
