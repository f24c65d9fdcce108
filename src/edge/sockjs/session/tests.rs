//! A session over requests, with the clock in the test's hands.

use std::sync::Arc;

use super::*;
use crate::budget::{Memory, MemorySettings, Refused};
use crate::edge::socket::Received;

const XHR: Framing = Framing::Xhr;

fn session() -> Arc<HttpSession> {
    let limits = Limits {
        heartbeat: Duration::from_secs(25),
        disconnect_after: Duration::from_secs(5),
        response_bytes_max: 64,
        waiting_bytes_max: 16,
    };
    within(limits, &Memory::new(MemorySettings { bytes_max: 0 }))
}

fn within(limits: Limits, memory: &Arc<Memory>) -> Arc<HttpSession> {
    let caller = Caller::at([127, 0, 0, 1].into());
    let account = Account::open(memory, &caller.claimant).unwrap();
    HttpSession::new(limits, Owner::new(&caller, None), account)
}

async fn next(session: &HttpSession) -> String {
    let (octets, _) = session.take(&XHR, &mut 0).await;
    String::from_utf8(octets.to_vec()).unwrap()
}

async fn poll(session: &HttpSession) -> String {
    match session.attach(Duration::ZERO).await {
        Attached::Yes => next(session).await,
        Attached::Busy => "busy".to_owned(),
        Attached::Closed(frame) => frame,
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_beats_unless_its_messages_do() {
    let session = session();
    let began = Instant::now();
    assert_eq!(next(&session).await, "o\n");
    assert_eq!(poll(&session).await, "h\n");
    assert_eq!(began.elapsed().as_secs(), 25);
    session.set_beats(true);
    let silent = tokio::time::timeout(Duration::from_secs(600), poll(&session)).await;
    assert!(silent.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_nobody_receives_for_too_long() {
    let session = session();
    assert_eq!(next(&session).await, "o\n");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(matches!(
            session.receive().await,
            Received::Ponged | Received::Gone
        ));
        assert_eq!(session.attach(Duration::ZERO).await, Attached::Yes);
        session.send("x").await.unwrap();
        assert_eq!(next(&session).await, "a[\"x\"]\n");
    }
    // The sign of life first, then the end.
    let began = Instant::now();
    while !matches!(session.receive().await, Received::Gone) {}
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_tells_seldom_that_it_lives() {
    let session = session();
    next(&session).await;
    let mut told = 0;
    for _ in 0..200 {
        assert_eq!(session.attach(Duration::ZERO).await, Attached::Yes);
        session.send("x").await.unwrap();
        next(&session).await;
        tokio::time::advance(Duration::from_millis(50)).await;
        let received = tokio::time::timeout(Duration::ZERO, session.receive()).await;
        told += usize::from(matches!(received, Ok(Received::Ponged)));
    }
    assert!((2..=3).contains(&told), "{told}");
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_too_much_waits_in_both_directions() {
    let session = Arc::new(session());
    session.send("0123456789abcdef").await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(60), session.send("x")).await;
    assert!(more.is_err(), "it waits for somebody who reads");
    assert_eq!(next(&session).await, "o\n");
    assert_eq!(poll(&session).await, "a[\"0123456789abcdef\"]\n");
    session.send("x").await.unwrap();

    session
        .push(vec!["0123456789abcdef".to_owned()], None)
        .await;
    let more = session.push(vec!["x".to_owned()], None);
    let more = tokio::time::timeout(Duration::from_secs(60), more).await;
    assert!(more.is_err(), "it waits for the session");
    assert!(matches!(session.receive().await, Received::Octets { .. }));
    assert_eq!(
        session.push(vec!["x".to_owned()], None).await,
        Pushed::Taken
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_comes_before_the_close_and_the_close_is_heard() {
    let session = session();
    assert_eq!(next(&session).await, "o\n");
    session.send("last").await.unwrap();
    session.close(3000, "Go away!");
    session.close(1011, "too late");
    assert_eq!(
        session.push(vec!["x".to_owned()], None).await,
        Pushed::Closed
    );
    let heard = tokio::time::timeout(Duration::from_secs(1), session.close_is_heard()).await;
    assert!(heard.is_err());
    assert_eq!(poll(&session).await, "a[\"last\"]\n");
    assert_eq!(poll(&session).await, "c[3000,\"Go away!\"]");
    session.close_is_heard().await;
    assert_eq!(poll(&session).await, "c[3000,\"Go away!\"]");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_asks_for_is_not_waited_for() {
    let session = session();
    assert_eq!(next(&session).await, "o\n");
    session.close(3000, "Go away!");
    let began = Instant::now();
    session.close_is_heard().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(!session.rest());
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_when_it_is_long_enough() {
    let session = session();
    let mut sent = 0;
    let framing = Framing::XhrStreaming;
    let (_, is_last) = session.take(&framing, &mut sent).await;
    assert!(!is_last);
    session.send(&"x".repeat(56)).await.unwrap();
    let (octets, is_last) = session.take(&framing, &mut sent).await;
    assert_eq!((octets.len(), sent, is_last), (62, 64, true));
    assert_eq!(session.attach(Duration::ZERO).await, Attached::Yes);
    assert_eq!(session.attach(Duration::ZERO).await, Attached::Busy);
}

/// The limits that endpoints have.
const REAL: Limits = Limits {
    heartbeat: Duration::from_secs(25),
    disconnect_after: Duration::from_secs(5),
    response_bytes_max: 128 << 10,
    waiting_bytes_max: 64 << 10,
};

#[tokio::test(start_paused = true)]
async fn one_request_of_a_session_waits_and_no_second_one() {
    let session = Arc::new(session());
    let push = async |text: &str| session.push(vec![text.to_owned()], None).await;
    assert_eq!(push("0123456789abcdef").await, Pushed::Taken);
    assert!(!session.is_crowded());
    let mut waiting = Box::pin(push("waits"));
    let moment = Duration::from_millis(1);
    assert!(tokio::time::timeout(moment, &mut waiting).await.is_err());
    assert!(session.is_crowded());
    assert_eq!(push("second").await, Pushed::Busy);
    // A request that is given up leaves its place.
    drop(waiting);
    assert!(!session.is_crowded());
    let mut waiting = Box::pin(push("waits"));
    assert!(tokio::time::timeout(moment, &mut waiting).await.is_err());
    assert!(matches!(session.receive().await, Received::Octets { .. }));
    assert_eq!(waiting.await, Pushed::Taken);
    assert!(!session.is_crowded());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_leased_and_given_back() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    let session = within(REAL, &memory);
    let base = memory.used();
    let long = "x".repeat(20 << 10);
    assert_eq!(session.push(vec![long.clone()], None).await, Pushed::Taken);
    assert_eq!(memory.used() - base, 32 << 10);
    assert!(matches!(session.receive().await, Received::Octets { .. }));
    assert_eq!(memory.used() - base, 32 << 10, "the driver has the message");
    let nothing = tokio::time::timeout(Duration::from_secs(1), session.receive()).await;
    assert!(nothing.is_err());
    assert_eq!(memory.used(), base);
    assert_eq!(next(&session).await, "o\n");
    session.send(&long).await.unwrap();
    assert_eq!(memory.used() - base, 32 << 10);
    assert_eq!(session.attach(Duration::ZERO).await, Attached::Yes);
    let (frame, _) = session.take(&XHR, &mut 0).await;
    assert_eq!(
        memory.used() - base,
        32 << 10,
        "the connection has the frame"
    );
    drop(frame);
    assert_eq!(memory.used(), base);
    session.send(&long).await.unwrap();
    assert_eq!(session.push(vec![long.clone()], None).await, Pushed::Taken);
    assert!(matches!(session.receive().await, Received::Octets { .. }));
    session.close(3000, "Go away!");
    session.rest();
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_memory_messages_are_refused_and_a_session_that_is_not_read_is_closed() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    let session = within(REAL, &memory);
    let claimant = Caller::at([127, 0, 0, 1].into()).claimant;
    let mut others = memory.pool().charge(&claimant);
    while others.grow(1 << 10).is_ok() {}
    let long = "x".repeat(20 << 10);
    let refused = Pushed::NoMemory(Refused::Network);
    assert_eq!(session.push(vec![long.clone()], None).await, refused);
    assert_eq!(
        session.push(vec!["x".to_owned()], None).await,
        Pushed::Taken
    );
    assert!(session.send(&long).await.is_err());
    let (frame, _) = session.take(&XHR, &mut 0).await;
    assert_eq!(frame, "o\n");
    assert!(matches!(session.receive().await, Received::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_memory_is_taken_away_ends_and_says_so() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    let session = within(REAL, &memory);
    assert_eq!(next(&session).await, "o\n");
    let long = "x".repeat(200 << 10);
    assert_eq!(session.push(vec![long.clone()], None).await, Pushed::Taken);
    session.send("waits").await.unwrap();
    let others = Caller::at([127, 0, 0, 2].into()).claimant;
    let mut others = memory.pool().charge(&others);
    others.restore((896 << 10) - memory.used());
    let newcomer = Caller::at([127, 0, 0, 3].into()).claimant;
    let _granted = memory.pool().take(&newcomer, 10 << 10).unwrap();
    assert!(matches!(session.receive().await, Received::Gone));
    assert!(session.send("more").await.is_err());
    assert_eq!(poll(&session).await, "c[1008,\"limit_exceeded\"]");
    assert_eq!(session.push(vec![long], None).await, Pushed::Closed);
    assert!(memory.used() < 720 << 10, "{}", memory.used());
}
