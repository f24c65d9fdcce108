//! The people who chat through the node while it is attacked: visitors in pairs, each from an address of their own.
//!
//! Each of them sends a direct message every second, at its time whatever the node does, and a latency counts
//! from the time at which the message was due. Not here: what the figures mean. Invariant: every message that
//! was due is counted, whether it could be sent, arrived, or did not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};

use super::percentile::percentile;
use super::support::Outcome;
use super::wire::{Session, Target};

/// How many people there are.
pub(crate) const PEOPLE: u8 = 200;
/// How often each of them sends a message.
const EVERY: Duration = Duration::from_secs(1);
/// How long a person waits for a new connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happened, in microseconds since the people came.
#[derive(Debug, Default)]
struct Record {
    /// When each message was due.
    due: Vec<u64>,
    /// When each that arrived was due, and how long it took.
    arrived: Vec<(u64, u64)>,
    /// When a message was refused, and how.
    refused: Vec<(u64, String)>,
    /// When a session was closed, and how.
    cut: Vec<(u64, String)>,
    /// Messages that arrived after a later one of the same sender.
    disordered: Vec<u64>,
}

/// The people. They chat until the value is dropped.
pub(crate) struct People {
    began: Instant,
    record: Arc<Mutex<Record>>,
    /// Ends them all.
    _chatting: JoinSet<()>,
}

/// A part of the time, to be looked at afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    from: u64,
    until: u64,
}

impl People {
    /// Connects them all, and lets them chat.
    pub(crate) async fn gather(target: &Target) -> Outcome<Self> {
        let mut joining = JoinSet::new();
        for number in 0..PEOPLE {
            let target = target.clone();
            let from = Ipv4Addr::new(127, 0, 1, 1 + number).into();
            joining.spawn(async move {
                let session = join(&target, from, "new").await?;
                Outcome::Ok((number, from, session))
            });
        }
        let mut joined = Vec::new();
        while let Some(person) = joining.join_next().await {
            joined.push(person??);
        }
        joined.sort_by_key(|(number, ..)| *number);
        let names: Vec<String> = joined.iter().map(|it| it.2.user.clone()).collect();
        let (began, record) = (Instant::now(), Arc::<Mutex<Record>>::default());
        let mut chatting = JoinSet::new();
        for (number, from, session) in joined {
            let peer = names
                .get(usize::from(number) ^ 1)
                .cloned()
                .unwrap_or_default();
            let person = Person {
                target: target.clone(),
                from,
                token: session.token.clone().unwrap_or_default(),
                peer,
                began,
                record: Arc::clone(&record),
                sent: 0,
                seen: 0,
            };
            // Spread over the second.
            let offset = EVERY * u32::from(number) / u32::from(PEOPLE);
            chatting.spawn(person.chat(session, offset));
        }
        Ok(Self {
            began,
            record,
            _chatting: chatting,
        })
    }

    /// Lets them chat for a while; what happened is asked for with the phase.
    pub(crate) async fn chat(&self, duration: Duration) -> Outcome<Phase> {
        let from = micros(self.began.elapsed())?;
        sleep(duration).await;
        let until = micros(self.began.elapsed())?;
        Ok(Phase { from, until })
    }

    /// What happened in a phase. What has not arrived by now is lost.
    pub(crate) fn report(&self, phase: Phase) -> Outcome<Report> {
        let now = micros(self.began.elapsed())?;
        let during = |at: &u64| (phase.from..phase.until).contains(at);
        let record = locked(&self.record);
        let due = record.due.iter().filter(|at| during(at)).count();
        let mut latencies: Vec<u64> = record
            .arrived
            .iter()
            .filter(|(at, _)| during(at))
            .map(|(_, latency)| *latency)
            .collect();
        let lost = due.saturating_sub(latencies.len());
        // A lost message has waited until now, at least.
        latencies.extend(vec![now - phase.until; lost]);
        let ms = |us: u64| us as f64 / 1e3;
        let [p50, p99] = [50, 99].map(|per_cent| ms(percentile(&mut latencies, per_cent)));
        let said = |said: &[(u64, String)]| {
            let those = said.iter().filter(|(at, _)| during(at));
            let mut words: Vec<String> = those.map(|(_, words)| words.clone()).collect();
            words.sort_unstable();
            words
        };
        let (refused, cut) = (said(&record.refused), said(&record.cut));
        Ok(Report {
            p50,
            p99,
            due,
            lost,
            disordered: record.disordered.iter().filter(|at| during(at)).count(),
            refused: refused.len(),
            cut: cut.len(),
            reason: refused.first().or(cut.first()).cloned(),
        })
    }
}

/// What happened to the people in a phase.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) due: usize,
    pub(crate) lost: usize,
    pub(crate) disordered: usize,
    pub(crate) refused: usize,
    pub(crate) cut: usize,
    /// Why something was refused, or a person was cut off.
    pub(crate) reason: Option<String>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        json!({
            "p50_ms": self.p50, "p99_ms": self.p99, "due": self.due, "lost": self.lost,
            "disordered": self.disordered, "refused": self.refused, "cut": self.cut,
            "reason": self.reason,
        })
    }
}

/// Connects, and subscribes to messages and to what is refused.
async fn join(target: &Target, from: IpAddr, token: &str) -> Outcome<Session> {
    let joined = async {
        let mut session = Session::connect(target, from, token).await?;
        for (id, queue) in [("m", "messages"), ("e", "errors")] {
            let frame =
                format!("SUBSCRIBE\nid:{id}\ndestination:/user/queue/{queue}\nreceipt:{id}\n\n\0");
            session.send(frame.as_bytes()).await?;
        }
        Ok(session)
    };
    timeout(PATIENCE, joined).await?
}

/// One of them.
struct Person {
    target: Target,
    from: IpAddr,
    token: String,
    /// To whom this person writes.
    peer: String,
    began: Instant,
    record: Arc<Mutex<Record>>,
    /// Numbers the messages.
    sent: u64,
    /// The number of the last message of the peer.
    seen: u64,
}

impl Person {
    async fn chat(mut self, session: Session, offset: Duration) {
        let mut ticks = interval_at(tokio::time::Instant::now() + offset, EVERY);
        // Every message is due at its time, also when several are late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut session = Some(session);
        loop {
            let ended = match session.take() {
                Some(session) => self.talk(session, &mut ticks).await,
                None => match join(&self.target, self.from, &self.token).await {
                    Ok(joined) => {
                        session = Some(joined);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if let (Err(error), Ok(now)) = (ended, micros(self.began.elapsed())) {
                locked(&self.record).cut.push((now, error.to_string()));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Sends when it is time and reads what comes, until the session ends.
    async fn talk(&mut self, mut session: Session, ticks: &mut Interval) -> Outcome<()> {
        loop {
            tokio::select! {
                due = ticks.tick() => {
                    let due = micros(due.into_std().saturating_duration_since(self.began))?;
                    self.sent += 1;
                    locked(&self.record).due.push(due);
                    let frame = format!(
                        "SEND\ndestination:/app/chat.send\necho:none\n\n\
                         {{\"to\":\"{}\",\"message\":\"{} {due}\"}}\0",
                        self.peer, self.sent
                    );
                    session.send(frame.as_bytes()).await?;
                }
                frame = session.next() => {
                    let frame = String::from_utf8_lossy(frame?).into_owned();
                    self.read(&frame)?;
                }
            }
        }
    }

    fn read(&mut self, frame: &str) -> Outcome<()> {
        let now = micros(self.began.elapsed())?;
        let mut record = locked(&self.record);
        if frame.starts_with("MESSAGE\n") && frame.contains("\nsubscription:m\n") {
            let (number, due) = message(frame).ok_or_else(|| format!("not a message: {frame}"))?;
            match number > self.seen {
                true => self.seen = number,
                false => record.disordered.push(due),
            }
            record.arrived.push((due, now.saturating_sub(due)));
        } else if frame.starts_with("MESSAGE\n") {
            let (_, body) = frame.split_once("\n\n").unwrap_or_default();
            record
                .refused
                .push((now, body.trim_end_matches('\0').to_owned()));
        } else if frame.starts_with("ERROR\n") {
            record.refused.push((now, frame.to_owned()));
        }
        Ok(())
    }
}

/// The number of a message, and when it was due.
fn message(frame: &str) -> Option<(u64, u64)> {
    let (_, text) = frame.split_once("\"message\":\"")?;
    let (text, _) = text.split_once('"')?;
    let (number, due) = text.split_once(' ')?;
    Some((number.parse().ok()?, due.parse().ok()?))
}

fn micros(duration: Duration) -> Outcome<u64> {
    Ok(u64::try_from(duration.as_micros())?)
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
