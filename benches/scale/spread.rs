//! How traffic spreads over nodes: whom a message needs, and what of it travels in one parcel.
//!
//! Not here: what that costs (`model`). Everything follows from three assumptions: sessions are
//! spread evenly over the nodes, messages come independently of each other (Poisson), and a node
//! routes everything that waits as one batch (`broker::router`). Held by the simulation of many nodes
//! in `tests/it/scale`.

/// How many envelopes a parcel has at most, as in `broker::outbound`.
const PARCEL_ENVELOPES_MAX: f64 = 64.0;

/// How likely a message needs so many nodes beside the one that it was sent to.
#[derive(Clone, Debug)]
pub(crate) struct Targets(Vec<f64>);

impl Targets {
    /// Of a message for `certain` sessions beside the sending one and, each with the probability of
    /// one half, for `possible` further ones, in a cluster of so many nodes.
    pub(crate) fn of(certain: u32, possible: u32, nodes: u32) -> Self {
        let mut targets = Self(vec![0.0; nodes as usize]);
        targets.0[0] = 1.0;
        for _ in 0..certain {
            targets = targets.and_a_session(1.0);
        }
        for _ in 0..possible {
            targets = targets.and_a_session(0.5);
        }
        targets
    }

    /// One session more, if it exists: on the sending node, on one that is needed already, or on
    /// another one.
    fn and_a_session(self, exists: f64) -> Self {
        let nodes = self.0.len() as f64;
        let mut with = vec![0.0; self.0.len()];
        for (count, probability) in self.0.iter().enumerate() {
            let known = (1.0 + count as f64) / nodes;
            with[count] += probability * (1.0 - exists * (1.0 - known));
            if let Some(more) = with.get_mut(count + 1) {
                *more += probability * exists * (1.0 - known);
            }
        }
        Self(with)
    }

    /// Two kinds of messages, of which the other has this share.
    pub(crate) fn mixed(&self, other: &Self, share: f64) -> Self {
        let both = self.0.iter().zip(&other.0);
        Self(both.map(|(a, b)| a * (1.0 - share) + b * share).collect())
    }

    /// How many other nodes a message needs on the average.
    pub(crate) fn mean(&self) -> f64 {
        let counts = self.0.iter().enumerate();
        counts
            .map(|(count, probability)| count as f64 * probability)
            .sum()
    }

    /// How likely a message needs another node at all.
    pub(crate) fn any(&self) -> f64 {
        1.0 - self.0[0]
    }

    /// What a batch makes, when `mean` messages come while the one before is routed.
    pub(crate) fn batch(&self, mean: f64) -> Batch {
        // Nothing came with this probability; then the next message is routed alone.
        let alone = (-mean).exp();
        let mut batch = Batch {
            messages: mean + alone,
            envelopes: (mean + alone) * self.any(),
            parcels: alone * self.any(),
            arrivals: alone * self.mean(),
        };
        let others = self.0.len() as f64 - 1.0;
        let mut sets = 1.0;
        for (count, probability) in self.0.iter().enumerate().skip(1) {
            // So many different sets of target nodes there are, and each has parcels of its own.
            sets *= (others - count as f64 + 1.0) / count as f64;
            let parcels = sets * parcels_of_a_set(mean * probability / sets);
            batch.parcels += parcels;
            batch.arrivals += count as f64 * parcels;
        }
        batch
    }
}

/// What one batch makes on the average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Messages in it.
    pub(crate) messages: f64,
    /// Envelopes that leave the node.
    pub(crate) envelopes: f64,
    /// Parcels that leave the node: publications.
    pub(crate) parcels: f64,
    /// Parcels that arrive somewhere: one for each target.
    pub(crate) arrivals: f64,
}

/// How many parcels a set of targets gets, when `mean` envelopes are for it on the average.
pub(crate) fn parcels_of_a_set(mean: f64) -> f64 {
    if mean < PARCEL_ENVELOPES_MAX / 4.0 {
        return -(-mean).exp_m1();
    }
    // So many, and on the average half a parcel that is not full.
    let full = mean / PARCEL_ENVELOPES_MAX;
    if full > 1.0 { full + 0.5 } else { 1.0 }
}
