//! The model of a cluster: from what people do and what each thing costs to how many machines that
//! takes.
//!
//! Not here: the figures (`docs/figures/units.json`), tables (`tables`). Invariant: every number in a
//! table is either an assumption that stands in [`Traffic`] and [`Machine`], a measured unit cost,
//! or follows from these.

use super::spread::{Batch, Targets, parcels_of_a_set};

/// How many messages a batch has at most, as in `broker::router`.
const BATCH_MAX: f64 = 1_000.0;

/// What people do: the traffic that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// People who are connected.
    pub(crate) users: f64,
    /// How many of them have a second device.
    pub(crate) second_device: f64,
    /// What each sends, a second.
    pub(crate) messages_per_user: f64,
    /// The share of that which goes to a room (`/topic/**`) and not to a person.
    pub(crate) to_rooms: f64,
    /// How many people of a room are connected.
    pub(crate) room_members: u32,
    /// How long a connection lasts, in seconds.
    pub(crate) connection_seconds: f64,
}

impl Traffic {
    /// What is asked for: a million people and 100,000 messages a second.
    pub(crate) const fn asked_for(users: f64) -> Self {
        Self {
            users,
            second_device: 0.5,
            messages_per_user: 0.1,
            to_rooms: 0.2,
            room_members: 20,
            connection_seconds: 1_800.0,
        }
    }

    pub(crate) fn sessions(&self) -> f64 {
        self.users * (1.0 + self.second_device)
    }

    pub(crate) fn messages(&self) -> f64 {
        self.users * self.messages_per_user
    }

    fn stored(&self) -> f64 {
        self.messages() * (1.0 - self.to_rooms)
    }

    fn published(&self) -> f64 {
        self.messages() * self.to_rooms
    }

    /// Which nodes a message to a person needs: his sessions and the writer's other ones.
    pub(crate) fn direct_targets(nodes: u32) -> Targets {
        Targets::of(1, 2, nodes)
    }

    /// Which nodes a message to a room needs: the sessions of all members.
    pub(crate) fn room_targets(&self, nodes: u32) -> Targets {
        Targets::of(self.room_members - 1, self.room_members, nodes)
    }

    /// Which nodes a message needs.
    pub(crate) fn targets(&self, nodes: u32) -> Targets {
        Self::direct_targets(nodes).mixed(&self.room_targets(nodes), self.to_rooms)
    }
}

/// What a machine is, and how much of it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: f64,
    /// The share of its processors that may be busy: the other half is for peaks and for what fails.
    pub(crate) busy: f64,
    /// How many sessions a node takes: a fifth of what its memory holds, by the number of gateways
    /// that is asked for.
    pub(crate) sessions: f64,
}

impl Machine {
    pub(crate) const ORDINARY: Self = Self {
        cores: 2.0,
        busy: 0.5,
        sessions: 75_000.0,
    };

    /// How many machines so many busy processors take.
    fn for_cores(&self, cores: f64) -> f64 {
        (cores / self.cores / self.busy).ceil().max(1.0)
    }
}

/// What each thing costs: microseconds of a processor, as measured, unless the name says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    /// A delivery that is written alone.
    pub(crate) delivery: f64,
    /// A stored message at the node where it is written, without deliveries.
    pub(crate) stored: f64,
    /// A message to a topic at the node where it is sent, without deliveries.
    pub(crate) published: f64,
    /// A parcel that leaves a node.
    pub(crate) parcel_out: f64,
    /// A parcel that arrives at a node.
    pub(crate) parcel_in: f64,
    /// CONNECT and SUBSCRIBE.
    pub(crate) arrival: f64,
    /// A connection that only beats, a second.
    pub(crate) idle: f64,
    /// KiB that a connection keeps.
    pub(crate) idle_kib: f64,
    /// A stored message at PostgreSQL.
    pub(crate) postgres_stored: f64,
    /// A look-up at Redis.
    pub(crate) redis_lookup: f64,
    /// A location written or removed at Redis.
    pub(crate) redis_write: f64,
    /// A publication at RabbitMQ, for its first target.
    pub(crate) rabbitmq_publication: f64,
    /// The same for each target more.
    pub(crate) rabbitmq_target: f64,
    /// How long a batch is routed: the answer of Redis, under load, in microseconds that pass.
    pub(crate) route_wait: f64,
}

/// A second of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) nodes: u32,
    /// What one batch of one node makes.
    pub(crate) batch: Batch,
    pub(crate) parcels: f64,
    /// Parcels that arrive, one for each target.
    pub(crate) arrivals: f64,
    /// Heads that arrive: every node tells every node.
    pub(crate) heads: f64,
    /// Busy processors.
    pub(crate) node_cores: f64,
    pub(crate) postgres_cores: f64,
    pub(crate) redis_cores: f64,
    pub(crate) rabbitmq_cores: f64,
}

impl Load {
    pub(crate) fn of(traffic: &Traffic, units: &Units, nodes: u32) -> Self {
        let targets = traffic.targets(nodes);
        let per_node = traffic.messages() / f64::from(nodes);
        let batch = batch(&targets, per_node, units);
        let batches = traffic.messages() / batch.messages;
        let (parcels, arrivals) = (batches * batch.parcels, batches * batch.arrivals);
        let heads = f64::from(nodes) * f64::from(nodes);
        let alone = nodes == 1;
        let bus = if alone { 0.0 } else { 1.0 };
        let devices = 1.0 + traffic.second_device;
        let deliveries = traffic.stored() * 2.0 * devices
            + traffic.published() * f64::from(traffic.room_members) * devices;
        let coming = traffic.sessions() / traffic.connection_seconds;
        let node = deliveries * units.delivery
            + traffic.stored() * units.stored
            + traffic.published() * units.published
            + coming * units.arrival
            + traffic.sessions() * units.idle
            + bus * (parcels * units.parcel_out + (arrivals + heads) * units.parcel_in);
        let lookups = traffic.stored() * 2.0 + traffic.published() + heads;
        let redis = lookups * units.redis_lookup + 2.0 * coming * units.redis_write;
        let publications = parcels + f64::from(nodes);
        let rabbitmq = publications * units.rabbitmq_publication
            + (arrivals + heads - publications) * units.rabbitmq_target;
        Self {
            nodes,
            batch,
            parcels,
            arrivals,
            heads,
            node_cores: node / 1e6,
            postgres_cores: traffic.stored() * units.postgres_stored / 1e6,
            redis_cores: bus * redis / 1e6,
            rabbitmq_cores: bus * rabbitmq / 1e6,
        }
    }

    /// With as few nodes as can carry it.
    pub(crate) fn with_enough_nodes(traffic: &Traffic, units: &Units) -> Self {
        let machine = Machine::ORDINARY;
        let by_sessions = (traffic.sessions() / machine.sessions).ceil() as u32;
        let mut nodes = by_sessions.max(1);
        loop {
            let load = Self::of(traffic, units, nodes);
            if machine.for_cores(load.node_cores) <= f64::from(nodes) {
                return load;
            }
            nodes += 1;
        }
    }

    /// What RabbitMQ would take if a node kept what it has for each target node for so many seconds
    /// and sent it as one parcel, instead of one for each set of targets.
    pub(crate) fn rabbitmq_cores_by_target(
        &self,
        traffic: &Traffic,
        units: &Units,
        wait: f64,
    ) -> f64 {
        let envelopes = traffic.messages() * traffic.targets(self.nodes).mean() / self.flows();
        let parcels = self.flows() * parcels_of_a_set(envelopes * wait) / wait;
        let publications = parcels + f64::from(self.nodes);
        let more = self.heads - f64::from(self.nodes);
        (publications * units.rabbitmq_publication + more * units.rabbitmq_target) / 1e6
    }

    pub(crate) fn flows(&self) -> f64 {
        f64::from(self.nodes) * (f64::from(self.nodes) - 1.0)
    }

    /// How much of one machine's share each engine takes, or, of Redis, of the one processor that it
    /// can use.
    pub(crate) fn engines(&self) -> [(&'static str, f64); 3] {
        let machine = Machine::ORDINARY;
        let share = |cores: f64| cores / (machine.cores * machine.busy);
        [
            ("RabbitMQ", share(self.rabbitmq_cores)),
            ("PostgreSQL", share(self.postgres_cores)),
            ("Redis", self.redis_cores / machine.busy),
        ]
    }
}

/// What a batch of one node makes. It is as large as what comes while the one before is routed:
/// looked up, and its parcels handed over one after the other. The more parcels, the longer that
/// takes, and the larger is the next batch.
fn batch(targets: &Targets, per_second: f64, units: &Units) -> Batch {
    let mut batch = targets.batch(per_second * units.route_wait / 1e6);
    for _ in 0..100 {
        let takes = units.route_wait + batch.parcels * units.parcel_out;
        let waiting = per_second * takes / 1e6;
        batch = targets.batch(waiting.min(BATCH_MAX));
    }
    batch
}

/// How many users one machine of an engine can carry, with as many nodes as they take.
pub(crate) fn users_max(units: &Units, engine: usize) -> f64 {
    let is_enough = |users: f64| {
        let load = Load::with_enough_nodes(&Traffic::asked_for(users), units);
        load.engines()[engine].1 <= 1.0
    };
    let (mut low, mut high) = (100.0, 1e8);
    while high / low > 1.01 {
        let middle = f64::sqrt(low * high);
        if is_enough(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
