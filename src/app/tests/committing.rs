//! Transactions: all or nothing, in the order of the session.

use super::rig::{Client, Rig, Shape, bodies};
use crate::app::AppSettings;
use crate::bus::queue::QueueSettings;
use crate::model::{AckMode, Code, Problem, Verdict};
use crate::policy::bucket::Rate;
use crate::session::{Acknowledge, Delivered, Step, Ticket};
use crate::stomp::Frame;

const QUEUE: &str = "/queue/jobs";
const TOPIC: &str = "/topic/news";

fn step(client: &Client, to: &str, body: &str) -> Step {
    Step::Send(client.sending(to, &[], body))
}

fn ack(client: &Client, frame: &Frame) -> Step {
    Step::Acknowledge(client.answering(frame, Verdict::Ack))
}

/// A client that listens to a topic, has one unsettled message and room for no more, and another
/// that will get it when it is acknowledged or lost.
async fn scene(rig: &Rig) -> (Client, Frame) {
    let client = rig.client(0).await;
    client.subscribe(TOPIC, AckMode::Auto, 1).await;
    client.subscribe(QUEUE, AckMode::ClientIndividual, 1).await;
    client.send(QUEUE, "first").await.unwrap();
    let frames = client.frames().await;
    assert_eq!(bodies(&frames), ["first"]);
    (client, frames[0].clone())
}

#[tokio::test(start_paused = true)]
async fn a_commit_does_everything_and_what_follows_comes_after_it() {
    let rig = Rig::new(Shape::default()).await;
    let (client, first) = scene(&rig).await;
    let steps = vec![
        step(&client, TOPIC, "a"),
        ack(&client, &first),
        step(&client, QUEUE, "second"),
        step(&client, TOPIC, "b"),
    ];
    client.commit(steps).await.unwrap();
    client.send(TOPIC, "c").await.unwrap();
    let frames = client.frames().await;
    let from = |to: &str| -> Vec<_> {
        let is_from = |frame: &&Frame| frame.headers.get("destination") == Some(to);
        frames.iter().filter(is_from).cloned().collect()
    };
    assert_eq!(bodies(&from(TOPIC)), ["a", "b", "c"]);
    assert_eq!(bodies(&from(QUEUE)), ["second"]);
}

/// Commits steps of which one is refused; the words, once it is sure that nothing was done.
async fn refused(rig: &Rig, wrong: impl FnOnce(&Client) -> Step) -> Problem {
    let (client, first) = scene(rig).await;
    let steps = vec![
        step(&client, TOPIC, "a"),
        step(&client, QUEUE, "second"),
        ack(&client, &first),
        wrong(&client),
    ];
    let problem = client.commit(steps).await.unwrap_err();
    assert_eq!(
        bodies(&client.frames().await),
        [""; 0],
        "{}",
        problem.detail
    );
    assert!(
        problem.detail.ends_with(" Nothing was done."),
        "{}",
        problem.detail
    );
    // The message is unsettled still, and the queue has no other.
    client.answer(&first, Verdict::Requeue).await.unwrap();
    let again = client.frames().await;
    assert_eq!(bodies(&again), ["first again"]);
    client.answer(&again[0], Verdict::Ack).await.unwrap();
    assert_eq!(bodies(&client.frames().await), [""; 0]);
    client.leave().await;
    problem
}

/// The same with words that name the step.
async fn step_refused(rig: &Rig, wrong: impl FnOnce(&Client) -> Step) -> Problem {
    let problem = refused(rig, wrong).await;
    let detail = &problem.detail;
    assert!(detail.starts_with("Step 4 of 4 ("), "{detail}");
    problem
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_which_one_step_may_not_be_does_nothing() {
    let rig = Rig::new(Shape::default()).await;
    let problem = step_refused(&rig, |client| step(client, "/topic/announce", "x")).await;
    assert_eq!(problem.code, Code::Forbidden);
    let problem = step_refused(&rig, |client| step(client, "/app/nothing", "x")).await;
    assert_eq!(problem.code, Code::UnknownDestination);
    let problem = step_refused(&rig, |client| step(client, "/app/chat.send", "{}")).await;
    assert_eq!(problem.code, Code::BadRequest);
    let problem = step_refused(&rig, |client| {
        Step::Send(client.sending(QUEUE, &[("expiration", "x")], ""))
    });
    assert_eq!(problem.await.code, Code::ValidationFailed);
    let problem = step_refused(&rig, |_| {
        Step::Acknowledge(Acknowledge {
            ticket: Ticket(0),
            verdict: Verdict::Requeue,
            of: Delivered::Ack("9.9".into()),
        })
    });
    let problem = problem.await;
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.detail.contains("(NACK)"), "{}", problem.detail);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_more_than_may_be_sent_does_nothing() {
    let rate_visitor = Rate {
        capacity: 3,
        per_10_min: 1,
    };
    let settings = AppSettings {
        rate_visitor,
        ..AppSettings::default()
    };
    let shape = Shape {
        settings,
        ..Shape::default()
    };
    let rig = Rig::new(shape).await;
    let problem = refused(&rig, |client| step(client, TOPIC, "b")).await;
    assert_eq!(problem.code, Code::RateLimited);
    // It is about all steps.
    assert!(!problem.detail.contains("Step"), "{}", problem.detail);
    assert!(problem.retry_after_ms.is_some());
    // To wait does not help where no bucket ever holds as much.
    let client = rig.client(0).await;
    let steps = (0..4).map(|_| step(&client, TOPIC, "a")).collect();
    let problem = client.commit(steps).await.unwrap_err();
    let found = (problem.code, problem.retry_after_ms);
    assert_eq!(found, (Code::LimitExceeded, None), "{}", problem.detail);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_or_published_when_a_queue_refuses_what_was_to_be_sent() {
    let queues = QueueSettings {
        length_max: 1,
        ..QueueSettings::default()
    };
    let shape = Shape {
        queues,
        ..Shape::default()
    };
    let rig = Rig::new(shape).await;
    let (client, first) = scene(&rig).await;
    client.send("/queue/full", "x").await.unwrap();
    let steps = vec![
        ack(&client, &first),
        step(&client, TOPIC, "a"),
        step(&client, "/queue/full", "y"),
    ];
    let problem = client.commit(steps).await.unwrap_err();
    assert_eq!(problem.code, Code::LimitExceeded);
    let named = "Step 3 of 3 (SEND /queue/full): ";
    assert!(problem.detail.starts_with(named), "{}", problem.detail);
    assert_eq!(bodies(&client.frames().await), [""; 0]);
    client.answer(&first, Verdict::Requeue).await.unwrap();
    assert_eq!(bodies(&client.frames().await), ["first again"]);
}

#[tokio::test(start_paused = true)]
async fn a_direct_message_in_a_transaction_is_one_like_any_other() {
    let rig = Rig::new(Shape {
        nodes: 2,
        ..Shape::default()
    })
    .await;
    let (one, two) = (rig.client(0).await, rig.client(1).await);
    two.subscribe("/user/queue/messages", AckMode::ClientIndividual, 1)
        .await;
    one.subscribe(TOPIC, AckMode::Auto, 1).await;
    let to = two.live.principal().user_id.to_string();
    let body = |text: &str| format!(r#"{{"to":"{to}","message":"{text}"}}"#);
    let steps = vec![
        step(&one, "/app/chat.send", &body("hello")),
        step(&one, TOPIC, "sent"),
        step(&one, "/app/chat.send", &body("there")),
    ];
    one.commit(steps).await.unwrap();
    assert_eq!(bodies(&one.frames().await), ["sent"]);
    let frames = two.frames().await;
    assert_eq!(frames.len(), 1, "one at a time");
    assert!(bodies(&frames)[0].contains("hello"));
    two.answer(&frames[0], Verdict::Ack).await.unwrap();
    assert!(bodies(&two.frames().await)[0].contains("there"));
}
