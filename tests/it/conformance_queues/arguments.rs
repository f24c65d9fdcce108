//! What SEND and SUBSCRIBE say about a queue, and what it does then.

use std::time::Duration;

use stompbox::bus::queue::{QueueError, QueueMessage, QueueSettings};
use stompbox::model::QueueArguments;
use tokio::time::sleep;

use super::rig::{Engine, PLAIN, message, text};

fn ttl(millis: u64, text: &str) -> QueueMessage {
    QueueMessage {
        ttl: Some(Duration::from_millis(millis)),
        ..message(text)
    }
}

pub(super) async fn messages_expire_by_their_own_time_and_by_the_queues(engine: &Engine) {
    let node = engine.node().await;
    for (queue, arguments) in [
        ("/queue/own", PLAIN),
        (
            "/queue/theirs",
            QueueArguments {
                message_ttl: Some(Duration::from_millis(400)),
                ..PLAIN
            },
        ),
    ] {
        let long_life = arguments.message_ttl.is_none();
        for message in [ttl(200, "short"), ttl(60_000, "long"), message("ever")] {
            node.send_to(queue, &arguments, message).await.unwrap();
        }
        sleep(Duration::from_millis(700)).await;
        node.send_to(queue, &arguments, message("new"))
            .await
            .unwrap();
        let mut hand = node.try_consume(queue, &arguments, 10).await.unwrap();
        if long_life {
            let taken = hand.done().await;
            assert_eq!(text(&taken), "long");
            assert_eq!(taken.message.ttl, Some(Duration::from_secs(60)));
            assert_eq!(text(&hand.done().await), "ever");
        }
        assert_eq!(text(&hand.done().await), "new");
        hand.is_quiet().await;
        // For a consumer that is there no time is enough, and longer than can be told is for ever.
        for millis in [0, u64::from(u32::MAX) + 1, u64::MAX] {
            let handed = node.send_to(queue, &arguments, ttl(millis, "now")).await;
            handed.unwrap();
            assert_eq!(text(&hand.done().await), "now");
        }
    }
    node.close().await;
}

pub(super) async fn a_queue_without_use_is_gone(engine: &Engine) {
    let node = engine.node().await;
    let short = QueueArguments {
        expires: Some(Duration::from_millis(500)),
        ..PLAIN
    };
    let other = QueueArguments {
        expires: Some(Duration::from_secs(60)),
        ..PLAIN
    };
    node.send_to("/queue/short", &short, message("1"))
        .await
        .unwrap();
    let hand = node.try_consume("/queue/short", &short, 1).await.unwrap();
    sleep(Duration::from_millis(1_200)).await;
    // It has a consumer, so it lives.
    let refused = node.try_consume("/queue/short", &other, 1).await;
    assert!(
        matches!(refused, Err(QueueError::OtherArguments(_))),
        "{refused:?}"
    );
    drop(hand);
    // To be sent to is use.
    for _ in 0..5 {
        sleep(Duration::from_millis(300)).await;
        node.send_to("/queue/short", &short, message("2"))
            .await
            .unwrap();
    }
    let mut hand = node.consume("/queue/short", 10).await;
    assert_eq!(text(&hand.done().await), "1");
    assert_eq!(text(&hand.done().await), "2");
    drop(hand);
    sleep(Duration::from_millis(1_200)).await;
    let mut hand = node.try_consume("/queue/short", &other, 1).await.unwrap();
    hand.is_quiet().await;
    drop(hand);
    // A sender who knows the queue finds out when it is gone, and makes it again.
    node.send_to("/queue/gone", &short, message("1"))
        .await
        .unwrap();
    sleep(Duration::from_millis(1_200)).await;
    node.send("/queue/gone", "2").await.unwrap();
    assert_eq!(
        text(&node.consume("/queue/gone", 1).await.done().await),
        "2"
    );
    node.close().await;
}

pub(super) async fn other_arguments_are_refused_to_the_one_who_names_them(engine: &Engine) {
    let world = engine.world(QueueSettings::default());
    let (a, b) = (world.join("a").await, world.join("b").await);
    let arguments = |ttl_secs: u64, length_max: u32| QueueArguments {
        message_ttl: Some(Duration::from_secs(ttl_secs)),
        length_max: Some(length_max),
        ..PLAIN
    };
    let made = arguments(60, 100);
    let mut hand = a.try_consume("/queue/made", &made, 10).await.unwrap();
    let check = async |other: QueueArguments, expected: &str| {
        for node in [&a, &b] {
            let refused = node.try_consume("/queue/made", &other, 1).await;
            let words = refused.expect_err("other arguments").to_string();
            assert!(words.contains(expected), "{words}");
            let refused = node.send_to("/queue/made", &other, message("x")).await;
            let words = refused.expect_err("other arguments").to_string();
            assert!(words.contains(expected), "{words}");
            assert!(!words.contains("stomp.queue"), "{words}");
        }
    };
    check(arguments(61, 100), "x-message-ttl is 60000, not 61000").await;
    check(arguments(60, 99), "x-max-length is 100, not 99").await;
    let expires = QueueArguments {
        expires: Some(Duration::from_secs(5)),
        ..PLAIN
    };
    check(expires, "x-expires is 86400000, not 5000").await;
    let too_long = QueueArguments {
        expires: Some(Duration::from_secs(86_401)),
        ..PLAIN
    };
    check(too_long, "x-expires is 1 to 86400000 ms here").await;
    // Nobody else has noticed; some of the arguments, or none, are not others.
    let some = QueueArguments {
        message_ttl: None,
        ..made
    };
    for (node, arguments) in [(&a, PLAIN), (&b, PLAIN), (&b, some), (&a, made)] {
        node.send_to("/queue/made", &arguments, message("y"))
            .await
            .unwrap();
        assert_eq!(text(&hand.done().await), "y");
    }
    // A queue that was made without is not one with.
    a.send("/queue/without", "1").await.unwrap();
    let refused = b.try_consume("/queue/without", &made, 1).await;
    let words = refused.expect_err("other arguments").to_string();
    assert!(
        words.contains("not given, not 60000") || words.contains("x-max-length"),
        "{words}"
    );
    a.close().await;
    b.close().await;
}

pub(super) async fn changed_defaults_are_no_other_arguments(engine: &Engine) {
    let before = engine.world(QueueSettings::default());
    let a = before.join("a").await;
    let ttl = QueueArguments {
        message_ttl: Some(Duration::from_secs(60)),
        ..PLAIN
    };
    a.send_to("/queue/before", &ttl, message("1"))
        .await
        .unwrap();
    a.close().await;
    let after = engine.world(QueueSettings {
        length_max: 77,
        expires: Duration::from_secs(3_600),
        bytes_max: 1 << 20,
        ..QueueSettings::default()
    });
    let b = after.join("b").await;
    b.send_to("/queue/before", &ttl, message("2"))
        .await
        .unwrap();
    let mut hand = b.try_consume("/queue/before", &ttl, 10).await.unwrap();
    let first = hand.done().await;
    if let Engine::Rabbit(_) = engine {
        assert_eq!(text(&first), "1");
        assert_eq!(text(&hand.done().await), "2");
    }
    b.close().await;
}
