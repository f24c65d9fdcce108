//! One attack from beginning to end: quiet, the attack on a sink, the attack on the node, and after it.
//!
//! Not here: how figures are shown. Invariant: the people chat through the same node in all four phases, and
//! nothing else differs between the second and the third than whom the attackers attack.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::bounds::{KNOWN_MISSES, excuse, misses};
use super::catalogue::Attack;
use super::newcomers::{Newcomers, Served};
use super::origin::Origin;
use super::people::{People, Report};
use super::server::{Attackers, Node, start_sink};
use super::support::Outcome;

/// How often the memory of the node is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a phase its last messages may arrive.
const GRACE: Duration = Duration::from_secs(2);

/// How it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    /// How long the attack on the node lasts.
    pub(crate) attack: Duration,
    /// How long each of the other phases lasts.
    pub(crate) baseline: Duration,
    /// How long after the attack everything has to be as before.
    pub(crate) settle: Duration,
}

/// What was measured of one attack from one origin.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) attack: &'static str,
    pub(crate) origin: Origin,
    quiet: Report,
    pub(crate) sink: Report,
    pub(crate) during: Report,
    pub(crate) after: Report,
    /// Before, at most during, and after the attack, in MiB.
    pub(crate) memory: [f64; 3],
    /// Before, at most during, and after the attack, in bytes.
    account: [Option<f64>; 3],
    pub(crate) newcomers: Served,
    pub(crate) newcomers_after: Served,
    /// How many processors the node used during the attack, on average.
    cores: f64,
    seconds: u64,
    settle_seconds: u64,
    load: String,
}

impl Plan {
    /// Measures an attack on a node of its own.
    pub(crate) async fn measure(&self, attack: &'static Attack, origin: Origin) -> Outcome<Figure> {
        let node = Node::start(&self.binary, attack.tls, &[])?;
        let request_bytes = node.request_bytes().await?;
        let people = People::gather(&node.target).await?;
        let newcomers = Newcomers::begin(&node.target, attack.wanted);
        // Whatever is made at the first message is made before anything counts.
        sleep(Duration::from_secs(2)).await;
        let quiet = people.chat(self.baseline).await?;
        let before = (node.resident_mib()?, node.account_bytes().await);
        let sink = {
            let sink = start_sink()?;
            let _attackers = Attackers::start(attack, origin, sink.address, request_bytes)?;
            sleep(Duration::from_secs(attack.rise_seconds)).await;
            people.chat(self.baseline).await?
        };
        sleep(GRACE).await;
        let attackers = Attackers::start(attack, origin, node.target.address, request_bytes)?;
        let began = Instant::now();
        let (phase, highest, cores) = self.under_attack(&node, &people, attack).await?;
        let ended = Instant::now();
        let load = super::support::report::load();
        drop(attackers);
        sleep(self.settle).await;
        let settled = Instant::now();
        let after_phase = people.chat(self.baseline).await?;
        let after_until = Instant::now();
        let account_after = node.account_bytes().await;
        let memory_after = node.resident_mib()?;
        sleep(GRACE).await;
        Ok(Figure {
            attack: attack.name,
            origin,
            quiet: people.report(quiet)?,
            sink: people.report(sink)?,
            during: people.report(phase)?,
            after: people.report(after_phase)?,
            memory: [before.0, highest.0, memory_after],
            account: [before.1, highest.1, account_after],
            newcomers: newcomers.report(began, ended),
            newcomers_after: newcomers.report(settled, after_until),
            cores,
            seconds: self.attack.as_secs(),
            settle_seconds: self.settle.as_secs(),
            load,
        })
    }

    /// The row of an attack that could not be measured, which misses every bound: a node may have ended.
    pub(crate) fn failed(&self, attack: &Attack, origin: Origin, error: &str) -> Value {
        json!({
            "attack": attack.name,
            "origin": origin.name(),
            "seconds": self.attack.as_secs(),
            "settle_seconds": self.settle.as_secs(),
            "failed": error,
        })
    }

    /// The phase under attack, the most memory and account that was seen, and processors used.
    async fn under_attack(
        &self,
        node: &Node,
        people: &People,
        attack: &Attack,
    ) -> Outcome<(super::people::Phase, (f64, Option<f64>), f64)> {
        let mut highest = (node.resident_mib()?, None);
        let (began, used) = (Instant::now(), node.cpu_seconds()?);
        let phase = async {
            sleep(Duration::from_secs(attack.rise_seconds)).await;
            people.chat(self.attack).await
        };
        let watch = async {
            loop {
                sleep(LOOK).await;
                match node.resident_mib() {
                    Ok(mib) => highest.0 = highest.0.max(mib),
                    Err(error) => return error,
                }
            }
        };
        let mut account: Option<f64> = None;
        let ask = async {
            loop {
                sleep(LOOK * 25).await;
                let now = node.account_bytes().await;
                account = [account, now].into_iter().flatten().reduce(f64::max);
            }
        };
        let phase = tokio::select! {
            phase = phase => phase?,
            error = watch => return Err(error),
            () = ask => return Err("the account is asked for ever".into()),
        };
        highest.1 = account;
        let cores = (node.cpu_seconds()? - used) / began.elapsed().as_secs_f64();
        Ok((phase, highest, cores))
    }
}

impl Figure {
    /// The p99 during the attack over the p99 during the attack on the sink.
    pub(crate) fn ratio(&self) -> f64 {
        self.during.p99 / self.sink.p99
    }

    /// Whether every bound was kept, or is known to be missed by as much.
    pub(crate) fn is_kept(&self) -> bool {
        let row = self.json();
        misses(&row)
            .iter()
            .all(|miss| excuse(&row, miss, KNOWN_MISSES).is_some())
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "attack": self.attack,
            "origin": self.origin.name(),
            "seconds": self.seconds,
            "settle_seconds": self.settle_seconds,
            "quiet": self.quiet.json(),
            "sink": self.sink.json(),
            "during": self.during.json(),
            "after": self.after.json(),
            "ratio": self.ratio(),
            "memory_mib": self.memory,
            "account_bytes": self.account,
            "newcomers": self.newcomers.json(),
            "newcomers_after": self.newcomers_after.json(),
            "cores": self.cores,
            "load": self.load,
        })
    }
}
