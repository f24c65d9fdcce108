//! What the queues of a process promise beyond the contract, and that nothing is lost or counted
//! wrongly whatever is done to them.

mod shares;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::{Kind, Network};

const PLAIN: QueueArguments = QueueArguments {
    message_ttl: None,
    expires: None,
    length_max: None,
};

fn message(text: &'static str) -> QueueMessage {
    QueueMessage {
        id: text.into(),
        headers: Vec::new(),
        body: Bytes::new(),
        persistent: false,
        ttl: None,
        nacks: 0,
    }
}

/// A service that no share limits: what it meets is the end of the node.
fn service() -> Claimant {
    Claimant {
        multiple: 1_000,
        kind: Kind::Bot,
        ..Claimant::stranger(Network::from(std::net::Ipv4Addr::LOCALHOST))
    }
}

async fn send(queues: &MemoryQueues, queue: &str, message: QueueMessage) {
    let sent = queues.send(queue, &PLAIN, message, &service()).await;
    sent.unwrap().await.unwrap();
}

async fn take(consumer: &mut Consumer) -> (Box<str>, Tag) {
    let taken = consumer.taken.recv().await.unwrap();
    (taken.message.id, taken.tag)
}

#[tokio::test]
async fn what_is_refused_comes_back_to_its_place() {
    let queues = MemoryQueues::new(QueueSettings::default());
    for text in ["1", "2", "3"] {
        send(&queues, "/queue/x", message(text)).await;
    }
    let mut consumer = queues
        .consume("/queue/x", &PLAIN, 2, &service())
        .await
        .unwrap();
    let (first, second) = (take(&mut consumer).await, take(&mut consumer).await);
    let both = [second.1, first.1];
    consumer.settler.settle(&both, Verdict::Requeue).await;
    assert_eq!(&*take(&mut consumer).await.0, "1");
    assert_eq!(&*take(&mut consumer).await.0, "2");
}

#[tokio::test]
async fn a_queue_that_cannot_be_told_from_none_takes_no_place() {
    let settings = QueueSettings {
        queues_max: 1,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    for number in 0..10 {
        let queue = format!("/queue/{number}");
        let mut consumer = queues.consume(&queue, &PLAIN, 1, &service()).await.unwrap();
        send(&queues, &queue, message("x")).await;
        let (_, tag) = take(&mut consumer).await;
        consumer.settler.settle(&[tag], Verdict::Ack).await;
    }
    let state = queues.shared.lock();
    assert_eq!(state.held(), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_is_gone_with_everything_that_it_held() {
    let queues = MemoryQueues::new(QueueSettings::default());
    for number in 0..10 {
        send(&queues, &format!("/queue/{number}"), message("some")).await;
    }
    assert_eq!(queues.shared.lock().held(), (10, 10, 40));
    tokio::time::advance(Duration::from_secs(23 * 3_600)).await;
    send(&queues, "/queue/0", message("more")).await;
    tokio::time::advance(Duration::from_secs(3_601)).await;
    queues
        .consume("/queue/0", &PLAIN, 1, &service())
        .await
        .unwrap();
    assert_eq!(queues.shared.lock().held(), (1, 1, 8));
}

/// What can be done to a queue.
#[derive(Clone, Debug)]
enum Act {
    Send {
        ttl_ms: Option<u64>,
    },
    Consume {
        prefetch: u16,
    },
    Leave {
        which: usize,
    },
    Settle {
        which: usize,
        skip: usize,
        verdict: Verdict,
    },
    Wait {
        ms: u64,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let verdict = prop::sample::select(vec![Verdict::Ack, Verdict::Requeue, Verdict::Reject]);
    let settle = (0_usize..4, 0_usize..3, verdict);
    let act = prop_oneof![
        4 => prop::option::of(0_u64..50).prop_map(|ttl_ms| Act::Send { ttl_ms }),
        1 => (0_u16..5).prop_map(|prefetch| Act::Consume { prefetch }),
        1 => (0_usize..4).prop_map(|which| Act::Leave { which }),
        4 => settle.prop_map(|(which, skip, verdict)| Act::Settle { which, skip, verdict }),
        1 => (0_u64..20).prop_map(|ms| Act::Wait { ms }),
    ];
    prop::collection::vec(act, 0..120)
}

/// A consumer and what it holds.
struct Seen {
    consumer: Consumer,
    held: Vec<(Box<str>, Tag)>,
}

async fn run(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let queues = MemoryQueues::new(QueueSettings::default());
    let mut consumers: Vec<Seen> = Vec::new();
    // Sent without an end, and not settled: these must all be there at the end.
    let mut alive = BTreeSet::new();
    for (number, act) in acts.into_iter().enumerate() {
        let count = consumers.len().max(1);
        match act {
            Act::Send { ttl_ms } => {
                let id: Box<str> = number.to_string().into();
                let ttl = ttl_ms.map(Duration::from_millis);
                let sent = QueueMessage {
                    id: id.clone(),
                    ttl,
                    ..message("")
                };
                send(&queues, "/queue/x", sent).await;
                alive.extend(ttl.is_none().then_some(id));
            }
            Act::Consume { prefetch } => {
                let consumer = queues
                    .consume("/queue/x", &PLAIN, prefetch, &service())
                    .await
                    .unwrap();
                let held = Vec::new();
                consumers.push(Seen { consumer, held });
            }
            Act::Leave { which } if !consumers.is_empty() => {
                consumers.remove(which % count);
            }
            Act::Settle {
                which,
                skip,
                verdict,
            } if !consumers.is_empty() => {
                let seen = &mut consumers[which % count];
                let (settled, kept) = seen.held.split_at(seen.held.len().saturating_sub(skip));
                let tags: Vec<_> = settled.iter().map(|(_, tag)| *tag).collect();
                if verdict != Verdict::Requeue {
                    for (id, _) in settled {
                        alive.remove(id);
                    }
                }
                seen.consumer.settler.settle(&tags, verdict).await;
                seen.held = kept.to_vec();
            }
            Act::Wait { ms } => tokio::time::advance(Duration::from_millis(ms)).await,
            Act::Leave { .. } | Act::Settle { .. } => {}
        }
        let mut at = BTreeSet::new();
        for seen in &mut consumers {
            while let Ok(taken) = seen.consumer.taken.try_recv() {
                seen.held.push((taken.message.id, taken.tag));
            }
            for (id, _) in &seen.held {
                prop_assert!(at.insert(id.clone()), "{} is at two", id);
            }
        }
    }
    drop(consumers);
    empty(&queues, alive).await
}

/// Takes everything out: what must be there is, and nothing is left.
async fn empty(queues: &MemoryQueues, mut alive: BTreeSet<Box<str>>) -> Result<(), TestCaseError> {
    for queue in ["/queue/x", "/queue/DLQ.x"] {
        let mut last = queues
            .consume(queue, &PLAIN, 1_000, &service())
            .await
            .unwrap();
        while let Ok(taken) = last.taken.try_recv() {
            let id = &taken.message.id;
            if queue == "/queue/x" && taken.message.ttl.is_none() {
                prop_assert!(alive.contains(id), "{} was settled", id);
            }
            alive.remove(id);
            last.settler.settle(&[taken.tag], Verdict::Ack).await;
        }
    }
    prop_assert!(alive.is_empty(), "{:?} are lost", alive);
    prop_assert_eq!(queues.shared.lock().held(), (0, 0, 0));
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_at_two_consumers(acts in acts()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(acts))?;
    }
}
