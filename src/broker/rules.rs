//! The rules of delivery that can be taken away one by one.
//!
//! Production has them all. The simulation takes one away and finds a seed that falls: that is the
//! proof that the rule is needed and that the simulation would notice its loss. Rules that are not
//! here live in pure code and have their tests there (`routing::inbox`, `routing::flows`) or in the
//! conformance suites of the engines.

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A repetition (same `client_id`) is published again: the node that committed the first may
    /// have died before it published.
    pub republish_duplicates: bool,
    /// Everything is registered again when the lease was missing.
    pub register_when_missing: bool,
    /// Everything is registered again when location was connected again (fail-over).
    pub register_when_reconnected: bool,
    /// Every acknowledged registration is followed by repair.
    pub repair_after_registration: bool,
    /// When a look-up fails, every node gets the envelope, or at least a gap in its flow.
    pub flood_without_location: bool,
    /// A gap in a flow triggers repair.
    pub repair_on_gap: bool,
    /// Flow heads are told every second, and a head that is ahead triggers repair.
    pub flow_heads: bool,
    /// A change of the peer table, or a peer gone silent, triggers repair.
    pub repair_on_peer_change: bool,
    /// What a peer table that changed may still hide is looked for again when the lease of whoever
    /// went would have ended.
    pub second_look: bool,
    /// A node that has lost touch commits and receipts nothing.
    pub fence: bool,
    /// Everything is compared with the store now and then, whatever happened.
    pub backstop: bool,
}

impl Rules {
    /// All of them: what production runs with.
    pub const ALL: Self = Self {
        republish_duplicates: true,
        register_when_missing: true,
        register_when_reconnected: true,
        repair_after_registration: true,
        flood_without_location: true,
        repair_on_gap: true,
        flow_heads: true,
        repair_on_peer_change: true,
        second_look: true,
        fence: true,
        backstop: true,
    };
}
