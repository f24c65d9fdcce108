//! Queues and acknowledgement as a client sees them, over nodes that share engines in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Client, Rig, Shape, bodies, settled};
use crate::app::AppSettings;
use crate::bus::queue::QueueSettings;
use crate::hub::OutboxLimits;
use crate::model::{AckMode, CloseReason, Code, QueueArguments, Verdict};
use crate::session::{Acknowledge, Delivered, Step, Ticket};
use crate::stomp::{Frame, Version};

const QUEUE: &str = "/queue/jobs";
const MODES: [AckMode; 2] = [AckMode::Client, AckMode::ClientIndividual];

async fn rig(nodes: usize) -> Rig {
    let shape = Shape {
        nodes,
        ..Shape::default()
    };
    Rig::new(shape).await
}

async fn fill(client: &Client, count: usize) {
    for number in 0..count {
        client.send(QUEUE, &number.to_string()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn consumers_of_two_nodes_share_what_is_sent_and_each_message_comes_once() {
    let rig = rig(2).await;
    let sender = rig.client(0).await;
    let consumers = [rig.client(0).await, rig.client(1).await];
    for (consumer, ack) in consumers.iter().zip([AckMode::Client, AckMode::Auto]) {
        consumer.subscribe(QUEUE, ack, 1).await;
    }
    fill(&sender, 20).await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut shares = [0, 0];
    for _ in 0..20 {
        for (share, consumer) in shares.iter_mut().zip(&consumers) {
            let frames = consumer.frames().await;
            for frame in &frames {
                assert_eq!(frame.headers.get("destination"), Some(QUEUE));
                if frame.headers.get("ack").is_some() {
                    consumer.answer(frame, Verdict::Ack).await.unwrap();
                }
            }
            *share += frames.len();
            for body in bodies(&frames) {
                *seen.entry(body).or_default() += 1;
            }
        }
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert!(shares.iter().all(|share| *share >= 5), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_consumer_had_not_acknowledged_goes_to_another_one_marked() {
    for mode in MODES {
        let rig = rig(2).await;
        let (one, two) = (rig.client(0).await, rig.client(1).await);
        one.subscribe(QUEUE, mode, 10).await;
        fill(&two, 4).await;
        let frames = one.frames().await;
        assert_eq!(bodies(&frames), ["0", "1", "2", "3"]);
        one.answer(&frames[0], Verdict::Ack).await.unwrap();
        two.subscribe(QUEUE, mode, 10).await;
        assert_eq!(bodies(&two.frames().await), [""; 0]);
        one.leave().await;
        let again = two.frames().await;
        assert_eq!(bodies(&again), ["1 again", "2 again", "3 again"]);
        assert_eq!(
            again[0].headers.get("message-id"),
            frames[1].headers.get("message-id")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsubscribed_consumer_gives_back_at_once_and_gets_nothing_more() {
    let rig = rig(1).await;
    let (one, two) = (rig.client(0).await, rig.client(0).await);
    one.subscribe(QUEUE, AckMode::Client, 2).await;
    two.subscribe(QUEUE, AckMode::Client, 10).await;
    one.unsubscribe(QUEUE).await;
    fill(&two, 2).await;
    assert_eq!(bodies(&two.frames().await), ["0", "1"]);
    one.subscribe(QUEUE, AckMode::Client, 2).await;
    two.unsubscribe(QUEUE).await;
    assert_eq!(bodies(&one.frames().await), ["0 again", "1 again"]);
    assert_eq!(bodies(&two.frames().await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn delivery_pauses_at_prefetch_and_an_ack_lets_it_go_on() {
    let rig = rig(1).await;
    let client = rig.client(0).await;
    client.subscribe(QUEUE, AckMode::Client, 3).await;
    fill(&client, 8).await;
    let mut expected = 0;
    for count in [3, 3, 2] {
        let frames = client.frames().await;
        let bodies = bodies(&frames);
        let these: Vec<_> = (expected..expected + count)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(bodies, these);
        expected += count;
        // In the mode `client` the last speaks for all.
        let last = frames.last().unwrap();
        client.answer(last, Verdict::Ack).await.unwrap();
    }
    assert_eq!(bodies(&client.frames().await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_third_nack_and_a_nack_without_requeue_make_dead_letters() {
    let rig = rig(1).await;
    let client = rig.client(0).await;
    let mode = AckMode::ClientIndividual;
    client.subscribe(QUEUE, mode, 1).await;
    client.subscribe("/queue/DLQ.jobs", mode, 10).await;
    let of = |frames: &[Frame], queue: &str| -> Vec<Frame> {
        let is_from = |frame: &&Frame| frame.headers.get("subscription") == Some(queue);
        frames.iter().filter(is_from).cloned().collect()
    };
    fill(&client, 2).await;
    for expected in ["0", "0 again", "0 again"] {
        let frames = client.frames().await;
        assert_eq!(bodies(&frames), [expected]);
        client.answer(&frames[0], Verdict::Requeue).await.unwrap();
    }
    let frames = client.frames().await;
    assert_eq!(bodies(&of(&frames, "/queue/DLQ.jobs")), ["0"]);
    let next = of(&frames, QUEUE);
    assert_eq!(bodies(&next), ["1"]);
    client.answer(&next[0], Verdict::Reject).await.unwrap();
    let dead = client.frames().await;
    assert_eq!(bodies(&of(&dead, "/queue/DLQ.jobs")), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn with_auto_what_the_driver_has_not_pulled_goes_to_somebody_else() {
    let rig = rig(1).await;
    let (one, two) = (rig.client(0).await, rig.client(0).await);
    one.subscribe(QUEUE, AckMode::Auto, 2).await;
    fill(&two, 5).await;
    assert_eq!(bodies(&one.frames().await), ["0", "1"]);
    // Two more are handed over, and nobody pulls them.
    settled().await;
    two.subscribe(QUEUE, AckMode::Auto, 10).await;
    assert_eq!(bodies(&two.frames().await), ["4"]);
    one.leave().await;
    assert_eq!(bodies(&two.frames().await), ["2 again", "3 again"]);
    two.leave().await;
    let three = rig.client(0).await;
    three.subscribe(QUEUE, AckMode::Auto, 10).await;
    assert_eq!(
        bodies(&three.frames().await),
        [""; 0],
        "all is acknowledged"
    );
}

#[tokio::test(start_paused = true)]
async fn with_auto_what_was_queued_before_unsubscribe_is_not_given_twice() {
    let rig = rig(1).await;
    let (one, two) = (rig.client(0).await, rig.client(0).await);
    one.subscribe(QUEUE, AckMode::Auto, 2).await;
    fill(&two, 3).await;
    settled().await;
    one.unsubscribe(QUEUE).await;
    // The driver writes what is queued before the RECEIPT.
    let frames = one.pull().unwrap();
    assert_eq!(bodies(&frames), ["0", "1"]);
    two.subscribe(QUEUE, AckMode::Auto, 10).await;
    let rest = bodies(&two.frames().await);
    assert!(matches!(&*rest, [one] if one.starts_with('2')), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_waits_for_a_client_that_reads_slowly_instead_of_cutting_it() {
    let outbox = OutboxLimits {
        frames_max: 8,
        bytes_max: 100_000,
    };
    let settings = AppSettings {
        outbox,
        ..AppSettings::default()
    };
    for mode in AckMode::ALL {
        let shape = Shape {
            settings: settings.clone(),
            ..Shape::default()
        };
        let rig = Rig::new(shape).await;
        let (sender, slow) = (rig.client(0).await, rig.client(0).await);
        slow.subscribe(QUEUE, mode, 100).await;
        fill(&sender, 40).await;
        let mut seen = Vec::new();
        while seen.len() < 40 {
            let frames = slow.frames().await;
            assert!(
                (1..=4).contains(&frames.len()),
                "half of the outbox at most"
            );
            seen.extend(bodies(&frames));
        }
        let expected: Vec<_> = (0..40).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_of_a_topic_who_does_not_acknowledge_is_cut_before_too_much_waits() {
    let outbox = OutboxLimits {
        frames_max: 16,
        bytes_max: 100_000,
    };
    let settings = AppSettings {
        outbox,
        ..AppSettings::default()
    };
    let shape = Shape {
        settings,
        ..Shape::default()
    };
    let rig = Rig::new(shape).await;
    let (sender, slow) = (rig.client(0).await, rig.client(0).await);
    slow.subscribe("/topic/a", AckMode::Client, 2).await;
    for number in 0..18 {
        sender.send("/topic/a", &number.to_string()).await.unwrap();
    }
    assert_eq!(bodies(&slow.frames().await), ["0", "1"]);
    sender.send("/topic/a", "one too many").await.unwrap();
    assert_eq!(slow.pull(), Err(CloseReason::SLOW_CONSUMER));
}

#[tokio::test(start_paused = true)]
async fn a_topic_with_ack_is_delivered_again_after_a_nack_in_every_version() {
    for version in Version::ALL {
        let rig = rig(1).await;
        let client = rig.client_of(0, version).await;
        client.subscribe("/topic/a", AckMode::Client, 10).await;
        client.send("/topic/a", "x").await.unwrap();
        let frames = client.frames().await;
        assert_eq!(bodies(&frames), ["x"]);
        let has_ack = frames[0].headers.get("ack").is_some();
        assert_eq!(has_ack, version == Version::V1_2);
        client.answer(&frames[0], Verdict::Requeue).await.unwrap();
        let again = client.frames().await;
        assert_eq!(bodies(&again), ["x again"]);
        client.answer(&again[0], Verdict::Ack).await.unwrap();
        client.unsubscribe("/topic/a").await;
        client.send("/topic/a", "y").await.unwrap();
        assert_eq!(bodies(&client.frames().await), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn to_acknowledge_what_was_delivered_is_never_too_fast_and_to_answer_nothing_is() {
    let rig = rig(1).await;
    let (sender, client) = (rig.client(0).await, rig.client(0).await);
    client.subscribe(QUEUE, AckMode::Client, 100).await;
    fill(&sender, 90).await;
    let frames = client.frames().await;
    assert_eq!(frames.len(), 90);
    // The last speaks for all, and the others are answered all the same.
    for frame in frames.iter().rev() {
        client.answer(frame, Verdict::Ack).await.unwrap();
    }
    let mut refused = None;
    for _ in 0..200 {
        if let Err(problem) = client.answer(&frames[0], Verdict::Ack).await {
            refused = Some(problem.code);
            break;
        }
    }
    assert_eq!(refused, Some(Code::RateLimited));
    let never = Acknowledge {
        ticket: Ticket(0),
        verdict: Verdict::Ack,
        of: Delivered::Ack("7.1".into()),
    };
    let other = rig.client(0).await;
    let refused = other.app.acknowledge(&other.live, never).await.await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_a_queue_refuses_is_told_to_whoever_asked() {
    let queues = QueueSettings {
        length_max: 2,
        consumers_max: 2,
        ..QueueSettings::default()
    };
    let shape = Shape {
        queues,
        ..Shape::default()
    };
    let rig = Rig::new(shape).await;
    let client = rig.client(0).await;
    fill(&client, 2).await;
    let full = client.send(QUEUE, "2").await.unwrap_err();
    assert_eq!(full.code, Code::LimitExceeded);
    let other = QueueArguments {
        message_ttl: Some(Duration::from_secs(1)),
        ..QueueArguments::default()
    };
    let subscribed = client.try_subscribe(QUEUE, AckMode::Client, 1, other);
    assert_eq!(subscribed.await.await.unwrap_err().code, Code::Conflict);
    for queue in ["/queue/a", "/queue/b"] {
        client.subscribe(queue, AckMode::Client, 1).await;
    }
    let plain = QueueArguments::default();
    let subscribed = client.try_subscribe(QUEUE, AckMode::Client, 1, plain);
    let problem = subscribed.await.await.unwrap_err();
    assert_eq!(problem.code, Code::LimitExceeded);
    // A refused subscription leaves nothing behind.
    client.unsubscribe("/queue/a").await;
    settled().await;
    client.subscribe(QUEUE, AckMode::Client, 10).await;
    assert_eq!(bodies(&client.frames().await), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_send_makes_its_queue_as_it_says() {
    let rig = rig(1).await;
    let client = rig.client(0).await;
    let said = [("x-max-length", "2"), ("x-message-ttl", "60000")];
    for body in ["0", "1"] {
        client.send_with(QUEUE, &said, body).await.unwrap();
    }
    let full = client.send_with(QUEUE, &said, "2").await.unwrap_err();
    assert_eq!(full.code, Code::LimitExceeded);
    let other = [("x-max-length", "3")];
    let conflict = client.send_with(QUEUE, &other, "2").await.unwrap_err();
    assert_eq!(conflict.code, Code::Conflict);
    tokio::time::advance(Duration::from_secs(61)).await;
    client.send(QUEUE, "3").await.unwrap();
    client.subscribe(QUEUE, AckMode::Client, 10).await;
    assert_eq!(bodies(&client.frames().await), ["3"]);
    for name in ["x-message-ttl", "x-expires", "x-max-length"] {
        let wrong = [(name, "many")];
        let alone = client.send_with(QUEUE, &wrong, "x").await.unwrap_err();
        let step = Step::Send(client.sending(QUEUE, &wrong, "x"));
        let committed = client.commit(vec![step]).await.unwrap_err();
        for refused in [alone, committed] {
            assert_eq!(refused.code, Code::ValidationFailed);
            assert_eq!(refused.to_json()["errors"][0]["field"], name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_worth_nothing_any_more_is_not_delivered() {
    let rig = rig(1).await;
    let client = rig.client(0).await;
    let past = [("expires", "1")];
    client.send_with(QUEUE, &past, "past").await.unwrap();
    let soon = [("expiration", "100"), ("persistent", "false")];
    client.send_with(QUEUE, &soon, "soon").await.unwrap();
    client.send(QUEUE, "lasting").await.unwrap();
    tokio::time::advance(Duration::from_millis(200)).await;
    client.subscribe(QUEUE, AckMode::Client, 10).await;
    assert_eq!(bodies(&client.frames().await), ["lasting"]);
    let never = [("expires", "tomorrow")];
    let refused = client.send_with(QUEUE, &never, "x").await.unwrap_err();
    assert_eq!(refused.to_json()["errors"][0]["field"], "expires");
}
