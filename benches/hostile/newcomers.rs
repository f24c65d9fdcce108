//! Newcomers: one a second connects as a new visitor and sends a message to themself, and asks for
//! a queue or a pattern when the attack is on those.
//!
//! Not here: the people who are there already. Invariant: each has an address of their own, and has
//! failed when the message is not there within two seconds.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::catalogue::Wanted;
use super::support::Outcome;
use super::wire::{Session, Target, brief};

/// How often one comes.
const EVERY: Duration = Duration::from_secs(1);
/// How long they wait for their own message.
const PATIENCE: Duration = Duration::from_secs(2);

type Attempts = Arc<Mutex<Vec<(Instant, Result<Duration, String>)>>>;

/// They come until the value is dropped.
pub(crate) struct Newcomers {
    attempts: Attempts,
    _coming: JoinSet<()>,
}

impl Newcomers {
    pub(crate) fn begin(target: &Target, wanted: Wanted) -> Self {
        let (target, attempts) = (target.clone(), Attempts::default());
        let kept = Arc::clone(&attempts);
        let mut coming = JoinSet::new();
        coming.spawn(async move {
            let (mut ticks, mut trying) = (interval(EVERY), JoinSet::new());
            for number in 0..u16::MAX {
                let began = ticks.tick().await;
                let (target, kept) = (target.clone(), Arc::clone(&kept));
                trying.spawn(async move {
                    let tried = match timeout(PATIENCE, come(&target, number, wanted)).await {
                        Ok(Ok(())) => Ok(began.elapsed()),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(_) => Err("not served within 2 s".to_owned()),
                    };
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push((began.into_std(), tried));
                });
                while trying.try_join_next().is_some() {}
            }
        });
        Self {
            attempts,
            _coming: coming,
        }
    }

    /// What became of those who came between two instants.
    pub(crate) fn report(&self, from: Instant, until: Instant) -> Served {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut served = Served::default();
        for (at, tried) in attempts.iter() {
            if !(from..until).contains(at) {
                continue;
            }
            served.tried += 1;
            match tried {
                Ok(took) => served.slowest_ms = served.slowest_ms.max(took.as_secs_f64() * 1e3),
                Err(reason) => {
                    served.refused += 1;
                    served.reason = Some(reason.clone());
                }
            }
        }
        served
    }
}

/// What became of newcomers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    pub(crate) tried: usize,
    pub(crate) refused: usize,
    pub(crate) slowest_ms: f64,
    /// Why the last of them was refused.
    pub(crate) reason: Option<String>,
}

impl Served {
    pub(crate) fn json(&self) -> Value {
        json!({
            "tried": self.tried, "refused": self.refused, "slowest_ms": self.slowest_ms,
            "reason": self.reason,
        })
    }
}

async fn come(target: &Target, number: u16, wanted: Wanted) -> Outcome<()> {
    let [high, low] = (number + 256).to_be_bytes();
    // 127.2.3.1 and on: neither a person's nor an attacker's.
    let from = Ipv4Addr::new(127, 1 + high, 3, low.max(1)).into();
    let mut session = Session::connect(target, from, "new").await?;
    let subscribe = b"SUBSCRIBE\nid:m\ndestination:/user/queue/messages\nreceipt:m\n\n\0";
    ask(&mut session, subscribe, "RECEIPT\n").await?;
    let send = format!(
        "SEND\ndestination:/app/chat.send\n\n{{\"to\":\"{}\",\"message\":\"hello\"}}\0",
        session.user
    );
    ask(&mut session, send.as_bytes(), "MESSAGE\n").await?;
    let own = format!("newcomer.{:016x}", rand::random::<u64>());
    match wanted {
        Wanted::Message => Ok(()),
        Wanted::Queue => {
            let send = format!("SEND\ndestination:/queue/{own}\nreceipt:q\n\nhello\0");
            ask(&mut session, send.as_bytes(), "RECEIPT\n").await?;
            let subscribe = format!("SUBSCRIBE\nid:q\ndestination:/queue/{own}\n\n\0");
            ask(&mut session, subscribe.as_bytes(), "MESSAGE\n").await
        }
        Wanted::Pattern => {
            let subscribe = format!("SUBSCRIBE\nid:p\ndestination:/topic/{own}.*\nreceipt:p\n\n\0");
            ask(&mut session, subscribe.as_bytes(), "RECEIPT\n").await
        }
    }
}

/// Sends a frame whose answer begins in a certain way.
async fn ask(session: &mut Session, frame: &[u8], expected: &str) -> Outcome<()> {
    session.send(frame).await?;
    let answer = String::from_utf8_lossy(session.next().await?).into_owned();
    match answer.starts_with(expected) {
        true => Ok(()),
        false => Err(brief(&answer).into()),
    }
}
