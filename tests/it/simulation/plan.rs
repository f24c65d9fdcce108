//! What a seed means: how many nodes and devices, who writes when, and what goes wrong.
//!
//! Not here: how it is carried out (`cluster`, `clients`). Invariant: a plan depends on the seed
//! and the options alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::broker::Rules;

use super::world::Weather;

/// How a run differs from the ordinary one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) rules: Rules,
    /// A rule that lives in an engine, taken away by a wrapper.
    pub(super) twist: Option<Twist>,
    /// What may go wrong.
    pub(super) faults: &'static [Kind],
    /// Whether a node is not told that its queue was lost: the flows alone must show it.
    pub(super) hide_interruptions: bool,
    /// How long after the last fault everything must have arrived.
    pub(super) bound: Duration,
}

impl Options {
    /// All rules, all faults.
    pub(super) const ALL: Self = Self {
        rules: Rules::ALL,
        twist: None,
        faults: &Kind::ALL,
        hide_interruptions: false,
        bound: Duration::from_secs(35),
    };

    /// The triggers of repair alone, without the backstop that heals everything in time.
    pub(super) const WITHOUT_BACKSTOP: Self = Self {
        rules: Rules {
            backstop: false,
            ..Rules::ALL
        },
        faults: Kind::WITHOUT_ISOLATION,
        bound: Duration::from_secs(16),
        ..Self::ALL
    };
}

/// A promise of an engine that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    /// Locations are answered from up to 2 s ago.
    StaleLocate,
    /// A session's location is acknowledged before it is written.
    EarlyAttach,
    /// A renewal creates a lease that is not there.
    CreatingRenewal,
    /// The first claim is acknowledged before it is written.
    EarlyClaim,
    /// The withdrawal of an interest comes late, and does not look at its generation.
    LateRemoval,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Weather(Weather),
    Flush,
    FailOver,
    Expire,
    Kill,
    KillOnReceipt,
    KillOnCommit,
    Freeze,
    CutLocation,
    CutBus,
    /// Cut off from location and bus until its lease is long over, and then dead for good.
    Isolate,
}

impl Kind {
    pub(super) const ALL: [Self; 22] = [
        Self::Weather(Weather::LocationSlow),
        Self::Weather(Weather::LocationFlaky),
        Self::Weather(Weather::LocationFrozen),
        Self::Weather(Weather::LocationDown),
        Self::Weather(Weather::BusSlow),
        Self::Weather(Weather::BusLossy),
        Self::Weather(Weather::BusDoubt),
        Self::Weather(Weather::BusDisorder),
        Self::Weather(Weather::BusDown),
        Self::Weather(Weather::StoreSlow),
        Self::Weather(Weather::StoreDown),
        Self::Weather(Weather::StoreDoubt),
        Self::Flush,
        Self::FailOver,
        Self::Expire,
        Self::Kill,
        Self::KillOnReceipt,
        Self::KillOnCommit,
        Self::Freeze,
        Self::CutLocation,
        Self::CutBus,
        Self::Isolate,
    ];

    /// A node that is cut off knows by its clock alone when the others have given it up. When its
    /// lease is taken away meanwhile (a flush) it is too late, and if it also dies before it is
    /// back, its last messages wait for the backstop.
    pub(super) const WITHOUT_ISOLATION: &[Self] = Self::ALL.split_at(21).0;
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) kind: Kind,
    /// Which node, where it is one.
    pub(super) node: usize,
    /// How long a killed node stays away.
    pub(super) away: Duration,
}

/// Somebody writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    pub(super) at: Duration,
    pub(super) from: usize,
    pub(super) to: usize,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// How many devices each user has.
    pub(super) devices: Vec<usize>,
    pub(super) faults: Vec<Fault>,
    pub(super) sends: Vec<Send>,
    /// How many messages may wait to be routed at a node.
    pub(super) route_queue_max: usize,
    /// How many envelopes per second go to all nodes without location.
    pub(super) flood_per_second: u32,
    /// Whether a node is not told that its queue was lost: the flows alone must show it.
    pub(super) hide_interruptions: bool,
    /// When devices stop coming and going.
    pub(super) busy: Duration,
    /// When the last fault has ended.
    pub(super) calm: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = if rng.random_bool(0.2) {
            rng.random_range(5..=7)
        } else {
            rng.random_range(3..=4)
        };
        let users = rng.random_range(2..=4);
        let devices = (0..users).map(|_| rng.random_range(1..=3)).collect();
        let mut faults: Vec<Fault> = (0..rng.random_range(1..=8))
            .map(|_| fault(&mut rng, options, nodes))
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let ends = faults.iter().map(|fault| fault.at + fault.lasts);
        let calm = ends.max().unwrap_or_default();
        let busy = Duration::from_secs(12);
        let mut sends = Vec::new();
        for _ in 0..rng.random_range(8..=16) {
            // Half of them around a fault, where it hurts.
            let at = if rng.random_bool(0.5) {
                let near = &faults[rng.random_range(0..faults.len())];
                let end = u64::try_from(near.lasts.as_millis()).unwrap() + 300;
                near.at + millis(&mut rng, 0..end)
            } else {
                millis(&mut rng, 500..13_000)
            };
            let (from, to) = (rng.random_range(0..users), rng.random_range(0..users));
            // Now and then more than is kept behind a hole.
            let burst = if rng.random_bool(0.005) {
                150
            } else {
                rng.random_range(1..=4)
            };
            for _ in 0..burst {
                let flipped = rng.random_bool(0.3);
                let (from, to) = if flipped { (to, from) } else { (from, to) };
                let at = at + millis(&mut rng, 0..60);
                sends.push(Send { at, from, to });
            }
        }
        sends.sort_by_key(|send| send.at);
        Self {
            nodes,
            devices,
            faults,
            sends,
            route_queue_max: if rng.random_bool(0.15) { 2 } else { 10_000 },
            flood_per_second: if rng.random_bool(0.15) { 2 } else { 200 },
            hide_interruptions: options.hide_interruptions || rng.random_bool(0.5),
            busy,
            calm,
        }
    }
}

fn fault(rng: &mut StdRng, options: &Options, nodes: usize) -> Fault {
    let kind = options.faults[rng.random_range(0..options.faults.len())];
    let lasts = match kind {
        Kind::Flush | Kind::FailOver | Kind::Expire => millis(rng, 0..400),
        Kind::Kill | Kind::KillOnReceipt | Kind::KillOnCommit => Duration::ZERO,
        Kind::Isolate => millis(rng, 8_000..16_000),
        Kind::Freeze if rng.random_bool(0.2) => millis(rng, 8_000..30_000),
        Kind::Weather(_) | Kind::Freeze | Kind::CutLocation | Kind::CutBus => {
            millis(rng, 200..5_000)
        }
    };
    Fault {
        at: millis(rng, 1_000..11_000),
        lasts,
        kind,
        node: rng.random_range(0..nodes),
        away: millis(rng, 100..12_000),
    }
}

fn millis(rng: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}
