//! How many files there may be, and how many of them are for clients.
//!
//! Not here: who gets a place (`edge::admission`). Invariant: what clients may open and what is kept for the node itself fit
//! under the file limit together, so that no client can keep the node from a file: without one it accepts nobody, and
//! answers no question about its health.

/// Files that are not for clients: the database, engines, listeners, sockets that are told why they are refused.
const RESERVED: u64 = 512;

/// Sockets of clients beyond WebSockets: requests, keep-alive, handshakes.
const OTHER_SOCKETS: u64 = 1_024;

/// How many sockets at once are told why they are refused.
const REFUSALS: u64 = 256;

/// Below so many files a start says that there are few.
const FEW: u64 = 2_048;

/// What clients may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Connections of WebSocket, TCP and SockJS.
    pub(super) connections_max: usize,
    /// Sockets beyond those.
    pub(super) other_sockets_max: usize,
    /// Sockets at once that are told why they are refused.
    pub(super) refusals_max: usize,
}

impl Files {
    /// Raises the file limit as far as it goes, and fits so many connections under it.
    pub(super) fn raised_for(wanted: u32) -> Self {
        let wanted = u64::from(wanted);
        let limit = rlimit::increase_nofile_limit(wanted + OTHER_SOCKETS + RESERVED);
        let limit = limit.unwrap_or(1_024);
        if limit < FEW {
            tracing::warn!(
                files = limit,
                "the file limit is small, and each connection is a file; `ulimit -n` raises it"
            );
        }
        Self::under(limit, wanted)
    }

    fn under(limit: u64, wanted: u64) -> Self {
        let reserved = RESERVED.min(limit / 2);
        let sockets = (limit - reserved).min(wanted + OTHER_SOCKETS);
        let others = OTHER_SOCKETS.min(sockets / 4);
        let connections = wanted.min(sockets - others).max(1);
        let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            connections_max: count(connections),
            other_sockets_max: count(sockets - connections),
            refusals_max: count(REFUSALS.min(reserved / 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_the_node_fit_under_the_file_limit_together() {
        for (limit, wanted, connections, others, refusals) in [
            (101_536, 100_000, 100_000, 1_024, 256),
            (1_000_000, 100_000, 100_000, 1_024, 256),
            (100_512, 100_000, 98_976, 1_024, 256),
            (20_000, 100_000, 18_464, 1_024, 256),
            (4_096, 100_000, 2_688, 896, 256),
            (1_024, 100_000, 384, 128, 256),
            (540, 100_000, 203, 67, 135),
            (20_000, 3, 3, 1_024, 256),
        ] {
            let files = Files::under(limit, wanted);
            let expected = Files {
                connections_max: connections,
                other_sockets_max: others,
                refusals_max: refusals,
            };
            assert_eq!(files, expected, "{limit} files, {wanted} wanted");
            let of_clients = (connections + others + refusals) as u64;
            let left = limit - of_clients;
            assert!(left >= 128, "{left} files for the node of {limit}");
        }
    }
}
