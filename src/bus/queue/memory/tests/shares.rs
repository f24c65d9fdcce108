//! What clients have of the queues of a process, and of the bytes in them.

use super::*;
use crate::budget::{Memory, MemorySettings, Refused};
use crate::bus::queue::MESSAGE_COST_BYTES;

fn at(address: &str, user: &str, kind: Kind) -> Claimant {
    Claimant {
        user: Some(user.parse().unwrap()),
        kind,
        ..Claimant::stranger(Network::of(address.parse().unwrap()))
    }
}

async fn send_by(queues: &MemoryQueues, queue: &str, by: &Claimant) -> Result<(), QueueError> {
    let sent = queues.send(queue, &PLAIN, message("some"), by).await;
    sent.map(drop)
}

/// Makes queues until it is refused. Returns how many, and why no more.
async fn fill(queues: &MemoryQueues, by: &Claimant) -> (usize, Refused) {
    for number in 0.. {
        let queue = format!("/queue/{}.{:?}.{number}", by.network, by.user);
        match send_by(queues, &queue, by).await {
            Ok(()) => {}
            Err(QueueError::Share {
                of: Scarce::Queues,
                why,
            }) => return (number, why),
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!()
}

fn hundred() -> QueueSettings {
    QueueSettings {
        queues_max: 100,
        ..QueueSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_queues_to_others_and_all_come_back_within_minutes() {
    let queues = MemoryQueues::new(hundred());
    let visitor =
        |address: &str, number: u32| at(address, &format!("user_{number}"), Kind::Anonymous);
    assert_eq!(
        fill(&queues, &visitor("192.0.2.1", 0)).await,
        (15, Refused::User)
    );
    for number in 1..40 {
        fill(&queues, &visitor("192.0.2.1", number)).await;
    }
    assert_eq!(queues.shared.queues.used(), 38);
    let (elsewhere, _) = fill(&queues, &visitor("198.51.100.1", 40)).await;
    assert!(elsewhere >= 7, "{elsewhere}");
    let (of_member, why) = fill(&queues, &at("192.0.2.1", "user_m", Kind::Member)).await;
    assert!(of_member >= 8, "{of_member} {why}");
    // Whether a visitor comes back or not: in minutes it is as before.
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(fill(&queues, &visitor("192.0.2.1", 0)).await.0, 15);
    assert_eq!(queues.shared.queues.used(), 15 + of_member as u64);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_a_member_uses_is_kept_for_a_day_whoever_made_it() {
    let queues = MemoryQueues::new(hundred());
    let visitor = at("192.0.2.1", "user_a", Kind::Anonymous);
    let member = at("192.0.2.2", "user_m", Kind::Member);
    for queue in ["/queue/theirs", "/queue/adopted"] {
        send_by(&queues, queue, &visitor).await.unwrap();
    }
    send_by(&queues, "/queue/adopted", &member).await.unwrap();
    send_by(&queues, "/queue/own", &member).await.unwrap();
    send_by(&queues, "/queue/own", &visitor).await.unwrap();
    tokio::time::advance(Duration::from_secs(301)).await;
    let held = async |queue: &str| {
        let consumer = queues.consume(queue, &PLAIN, 10, &member).await;
        let mut consumer = consumer.unwrap();
        let mut held = 0;
        while consumer.taken.try_recv().is_ok() {
            held += 1;
        }
        held
    };
    assert_eq!(held("/queue/theirs").await, 0);
    assert_eq!(held("/queue/adopted").await, 2);
    tokio::time::advance(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(held("/queue/own").await, 2);
    let of_member = queues
        .shared
        .queues
        .held_by_user(member.user.as_ref().unwrap());
    assert_eq!(of_member, 2);
}

#[tokio::test]
async fn bytes_in_queues_count_to_the_share_of_their_sender_until_they_are_consumed() {
    let settings = QueueSettings {
        bytes_max: 256 << 10,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    let send = async |by: &Claimant, number: usize| {
        let large = QueueMessage {
            body: Bytes::from(vec![b'x'; 10_000]),
            ..message("large")
        };
        let queue = format!("/queue/{}", number % 8);
        queues.send(&queue, &PLAIN, large, by).await.map(drop)
    };
    let mut sent = 0;
    for number in 0..200 {
        let user = format!("user_{number}");
        let by = at("192.0.2.1", &user, Kind::Anonymous);
        sent += usize::from(send(&by, number).await.is_ok());
    }
    // A quarter of the MiB is for members, half of the rest for others.
    assert!((36..=39).contains(&sent), "{sent}");
    let newcomer = at("198.51.100.1", "user_x", Kind::Anonymous);
    send(&newcomer, 0).await.unwrap();
    let again = at("192.0.2.1", "user_1", Kind::Anonymous);
    let refused = send(&again, 0).await.unwrap_err();
    let (of, why) = (Scarce::Bytes, Refused::Network);
    assert_eq!(refused, QueueError::Share { of, why });
    for number in 0..8 {
        let queue = format!("/queue/{number}");
        let consumer = queues.consume(&queue, &PLAIN, 100, &service()).await;
        let mut consumer = consumer.unwrap();
        while let Ok(taken) = consumer.taken.try_recv() {
            consumer.settler.settle(&[taken.tag], Verdict::Ack).await;
        }
    }
    assert_eq!(queues.shared.bytes.pool().used(), 0);
    send(&again, 0).await.unwrap();
}

/// 16 places, of which visitors may have 12: four queues of one address and eight of others, with a message in each.
async fn full_of_messages(kind: Kind) -> Arc<MemoryQueues> {
    let settings = QueueSettings {
        queues_max: 16,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    let make = async |name: &str, by: Claimant| {
        send_by(&queues, name, &by).await.unwrap();
        let sender = at("198.51.100.1", "user_s", kind);
        send_by(&queues, name, &sender).await.unwrap();
    };
    for number in 0..4 {
        let by = at("192.0.2.1", &format!("user_{number}"), Kind::Anonymous);
        make(&format!("/queue/large.{number}"), by).await;
    }
    for last in 2..10 {
        let (address, user) = (format!("192.0.2.{last}"), format!("user_at_{last}"));
        make(
            &format!("/queue/{last}"),
            at(&address, &user, Kind::Anonymous),
        )
        .await;
    }
    queues
}

#[tokio::test]
async fn a_queue_that_a_member_has_used_or_somebody_consumes_is_not_taken_from_its_holder() {
    let queues = full_of_messages(Kind::Member).await;
    for number in 0..4 {
        let queue = format!("/queue/large.{number}");
        assert_eq!(queues.shared.lock().evictable(&queue), Some(false));
    }
    let queues = full_of_messages(Kind::Anonymous).await;
    let by = at("192.0.2.1", "user_0", Kind::Anonymous);
    let consumer = queues.consume("/queue/large.0", &PLAIN, 1, &by).await;
    assert_eq!(
        queues.shared.lock().evictable("/queue/large.0"),
        Some(false)
    );
    drop(consumer.unwrap());
    assert_eq!(queues.shared.lock().evictable("/queue/large.0"), Some(true));
}

#[tokio::test]
async fn messages_of_visitors_keep_no_queue_from_a_newcomer() {
    let queues = full_of_messages(Kind::Anonymous).await;
    let newcomer = at("192.0.2.10", "user_at_10", Kind::Anonymous);
    send_by(&queues, "/queue/new", &newcomer).await.unwrap();
    let there = |name: &str| queues.shared.lock().evictable(name).is_some();
    let large = (0..4).filter(|number| there(&format!("/queue/large.{number}")));
    assert_eq!(large.count(), 3, "the holder of most loses one");
    assert!((2..10).all(|last| there(&format!("/queue/{last}"))));
    assert_eq!(queues.shared.queues.used(), 12);
}

/// The bytes of the sender are used up, so the message would be refused by a queue that was made for it.
#[tokio::test]
async fn no_queue_is_taken_away_for_a_message_that_is_refused() {
    let settings = QueueSettings {
        queues_max: 16,
        bytes_max: 8_000,
        bytes_together_max: 8_000,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    let empty = async |number: usize, by: &Claimant| {
        let queue = format!("/queue/{number}");
        let arguments = QueueArguments {
            length_max: Some(10),
            ..PLAIN
        };
        let consumer = queues.consume(&queue, &arguments, 1, by).await;
        drop(consumer.unwrap());
    };
    for number in 0..5 {
        let user = format!("user_{number}");
        empty(number, &at("192.0.2.1", &user, Kind::Anonymous)).await;
    }
    for number in 5..12 {
        let (address, user) = (format!("192.0.2.{number}"), format!("user_{number}"));
        empty(number, &at(&address, &user, Kind::Anonymous)).await;
    }
    let there = || {
        let state = queues.shared.lock();
        let is_there = |number: &usize| state.evictable(&format!("/queue/{number}")).is_some();
        (0..12).filter(is_there).count()
    };
    assert_eq!((there(), queues.shared.queues.used()), (12, 12));
    let sender = at("203.0.113.1", "user_s", Kind::Anonymous);
    let large = QueueMessage {
        body: Bytes::from(vec![b'x'; 4_000]),
        ..message("large")
    };
    let sent = queues.send("/queue/new", &PLAIN, large, &sender).await;
    let of = Scarce::Bytes;
    assert!(matches!(sent, Err(QueueError::Share { of: it, .. }) if it == of));
    assert_eq!((there(), queues.shared.queues.used()), (12, 12));
    // The same sender gets a queue for a message that is taken.
    send_by(&queues, "/queue/new", &sender).await.unwrap();
    assert_eq!((there(), queues.shared.queues.used()), (11, 12));
}

#[tokio::test]
async fn dead_letters_of_visitors_do_not_make_queues_beyond_their_share() {
    let settings = QueueSettings {
        queues_max: 4,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    let by = at("192.0.2.1", "user_a", Kind::Anonymous);
    for number in 0..20 {
        let queue = format!("/queue/{number}");
        if send_by(&queues, &queue, &by).await.is_err() {
            continue;
        }
        let mut consumer = queues.consume(&queue, &PLAIN, 1, &by).await.unwrap();
        let (_, tag) = take(&mut consumer).await;
        consumer.settler.settle(&[tag], Verdict::Reject).await;
    }
    assert_eq!(queues.shared.queues.used(), 0);
    assert_eq!(queues.shared.lock().held().0, 0);
}

#[tokio::test(start_paused = true)]
async fn queues_in_memory_count_to_the_account() {
    let settings = QueueSettings {
        bytes_together_max: 64 << 10,
        ..QueueSettings::default()
    };
    let queues = MemoryQueues::new(settings);
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    queues.draw_on(&memory);
    let member = at("192.0.2.1", "user_a", Kind::Member);
    let mut sent: u64 = 0;
    while send_by(&queues, "/queue/a", &member).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000, "the end of all queues together");
    }
    let held = memory.used();
    assert!(
        held >= sent * MESSAGE_COST_BYTES && held <= 64 << 10,
        "{held}"
    );
    let mut consumer = queues
        .consume("/queue/a", &PLAIN, 1_000, &member)
        .await
        .unwrap();
    for _ in 0..sent {
        let taken = consumer.taken.recv().await.unwrap();
        consumer.settler.settle(&[taken.tag], Verdict::Ack).await;
    }
    assert_eq!(memory.used(), 0);
}
