//! One attack from beginning to end: quiet, the attack on a sink, the attack on the node, and after it.
//!
//! Not here: how figures are shown. Invariant: the people chat through the same node in all four phases, and
//! nothing else differs between the second and the third than whom the attackers attack.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::attackers::Attackers;
use super::bounds::{KNOWN_MISSES, RATIO_MAX, SETTLE_MAX, excuse, misses};
use super::catalogue::Attack;
use super::newcomers::{Newcomers, Served};
use super::origin::Origin;
use super::people::{People, Phase, Report};
use super::server::{Account, Node, start_sink};
use super::support::{Failure, Outcome};

/// How often the memory of the node is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a phase its last messages may arrive.
const GRACE: Duration = Duration::from_secs(2);

/// How it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    /// `before` or `after`.
    pub(crate) build: String,
    /// How long the attack lasts on the sink, and again on the node.
    pub(crate) attack: Duration,
    /// How long each of the phases without an attack lasts.
    pub(crate) baseline: Duration,
    /// How long after the attack it is looked for the first time whether everything is as before.
    pub(crate) settle: Duration,
}

/// What was measured of one attack from one origin.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) attack: &'static str,
    build: String,
    pub(crate) origin: Origin,
    quiet: Report,
    pub(crate) sink: Report,
    pub(crate) during: Report,
    pub(crate) after: Report,
    /// Before, at most during, and after the attack, in MiB.
    pub(crate) memory: [f64; 3],
    /// Before, at most during, and after the attack, in bytes.
    account: [Option<f64>; 3],
    /// How often the node did not answer `/metrics` in time, although it was asked several times.
    unanswered: usize,
    /// What the attackers did by their own counts: at the sink, and at the node.
    attackers: [Value; 2],
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
        let mut seen = Seen::begin(&node).await?;
        let sink = start_sink()?;
        let mut attackers = Attackers::start(attack, origin, sink.address, request_bytes)?;
        let sink_phase = tokio::select! {
            phase = rise_and_chat(&people, attack, self.attack) => phase?,
            error = attackers.ended() => return Err(error),
        };
        let at_sink = attackers.stop()?;
        drop(sink);
        sleep(GRACE).await;
        let began = Instant::now();
        let mut attackers = Attackers::start(attack, origin, node.target.address, request_bytes)?;
        let used = node.cpu_seconds()?;
        let phase = tokio::select! {
            phase = rise_and_chat(&people, attack, self.attack) => phase?,
            error = attackers.ended() => return Err(error),
            error = seen.watch(&node) => return Err(error),
        };
        let cores = (node.cpu_seconds()? - used) / began.elapsed().as_secs_f64();
        let ended = Instant::now();
        let load = super::support::report::load();
        let at_node = attackers.stop()?;
        let quiet = people.report(quiet)?;
        let after = self.chat_after(&people, ended, &quiet).await?;
        seen.end(&node).await?;
        Ok(Figure {
            attack: attack.name,
            build: self.build.clone(),
            origin,
            quiet,
            sink: people.report(sink_phase)?,
            during: people.report(phase)?,
            after: after.report,
            memory: seen.memory,
            account: seen.account,
            unanswered: seen.unanswered,
            attackers: [at_sink, at_node],
            newcomers: newcomers.report(began, ended),
            newcomers_after: newcomers.report(after.began, after.until),
            cores,
            seconds: self.attack.as_secs(),
            settle_seconds: (after.began - ended).as_secs(),
            load,
        })
    }

    /// The people chat after the attack until their p99 is as before, in one phase after the other, none of which begins
    /// later than [`SETTLE_MAX`]: on a machine with other guests a disk that hesitates once decides the p99 of seconds.
    async fn chat_after(&self, people: &People, ended: Instant, quiet: &Report) -> Outcome<After> {
        sleep(self.settle).await;
        loop {
            let began = Instant::now();
            let phase = people.chat(self.baseline).await?;
            let until = Instant::now();
            sleep(GRACE).await;
            let report = people.report(phase)?;
            let is_as_before = report.p99 < quiet.p99 * RATIO_MAX;
            if is_as_before || ended.elapsed() >= Duration::from_secs(SETTLE_MAX) {
                return Ok(After {
                    report,
                    began,
                    until,
                });
            }
        }
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
}

/// The last of the phases after the attack.
struct After {
    report: Report,
    began: Instant,
    until: Instant,
}

/// The people chat while the attack is at its full strength.
async fn rise_and_chat(people: &People, attack: &Attack, duration: Duration) -> Outcome<Phase> {
    sleep(Duration::from_secs(attack.rise_seconds)).await;
    people.chat(duration).await
}

/// The memory and the byte account of the node: before the attack, at most during it, and afterwards.
struct Seen {
    /// MiB.
    memory: [f64; 3],
    account: [Option<f64>; 3],
    unanswered: usize,
}

impl Seen {
    async fn begin(node: &Node) -> Outcome<Self> {
        let mut seen = Self {
            memory: [node.resident_mib()?; 3],
            account: [None; 3],
            unanswered: 0,
        };
        seen.account[0] = seen.ask(node).await;
        Ok(seen)
    }

    async fn ask(&mut self, node: &Node) -> Option<f64> {
        let account = node.account().await;
        self.unanswered += usize::from(account == Account::Unanswered);
        account.bytes()
    }

    /// Looks on until the node has ended.
    async fn watch(&mut self, node: &Node) -> Failure {
        let highest = &mut self.memory[1];
        let watch = async {
            loop {
                sleep(LOOK).await;
                match node.resident_mib() {
                    Ok(mib) => *highest = highest.max(mib),
                    Err(error) => return error,
                }
            }
        };
        let (account, unanswered) = (&mut self.account[1], &mut self.unanswered);
        let ask = async {
            loop {
                sleep(LOOK * 25).await;
                let now = node.account().await;
                *unanswered += usize::from(now == Account::Unanswered);
                *account = [*account, now.bytes()]
                    .into_iter()
                    .flatten()
                    .reduce(f64::max);
            }
        };
        tokio::select! {
            error = watch => error,
            () = ask => "the account is asked for ever".into(),
        }
    }

    async fn end(&mut self, node: &Node) -> Outcome<()> {
        self.account[2] = self.ask(node).await;
        self.memory[2] = node.resident_mib()?;
        Ok(())
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
        misses(&row, &self.build)
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
            "metrics_unanswered": self.unanswered,
            "attackers": { "sink": self.attackers[0], "node": self.attackers[1] },
            "newcomers": self.newcomers.json(),
            "newcomers_after": self.newcomers_after.json(),
            "cores": self.cores,
            "load": self.load,
        })
    }
}
