//! More sign-ins than the machine can hash: the chat goes on, memory is bounded, and the excess is told
//! when to come back.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::limits_cluster::{latencies, p99};
use crate::support::api::{Member, PASSWORD, post};
use crate::support::client::Client;
use crate::support::node::Node;

/// What is offered in a second.
const OFFERED: u32 = 110;

/// What the hashes of the permits may take, and everything else besides.
const MEMORY_MIB: u64 = 128;

/// Limits that would refuse the flood before it costs anything.
const OPEN: [(&str, &str); 8] = [
    ("HTTP_AUTH_PER_MIN", "1000000"),
    ("HTTP_AUTH_PER_NET", "1000000"),
    ("HTTP_PER_MIN", "1000000"),
    ("LOGIN_PER_NET", "0"),
    ("LOGIN_FAILURES", "0"),
    ("LOGIN_FAILURES_PER_NET", "0"),
    ("RATE_ANON_PER_MIN", "100000"),
    ("RATE_BURST", "10000"),
];

#[derive(Debug, Default)]
struct Answers {
    signed_in: u32,
    wrong: u32,
    refused: u32,
}

/// Offers sign-ins at a fixed rate, every other one with a wrong password.
async fn flood(node: &Node, until: Instant) -> Answers {
    let at = node.address();
    let mut answers = Answers::default();
    let began = Instant::now();
    let gap = Duration::from_secs(1) / OFFERED;
    let count = u32::try_from((until - began).as_nanos() / gap.as_nanos()).unwrap();
    let offers = (0..count).map(|number| async move {
        sleep_until(began + gap * number).await;
        let is_right = number % 2 == 0;
        let password = if is_right {
            PASSWORD
        } else {
            "not the password"
        };
        let body = json!({"email": "mina@example.org", "password": password});
        let answer = post(at, "/api/v1/auth/login", &[], &body).await;
        (is_right, answer)
    });
    for (is_right, answer) in futures_util::future::join_all(offers).await {
        match answer.status {
            200 if is_right => answers.signed_in += 1,
            401 if !is_right => answers.wrong += 1,
            503 => {
                assert_eq!(answer.problem(503), "overloaded");
                let seconds = answer.header("retry-after");
                let seconds: u64 = seconds.expect("Retry-After").parse().unwrap();
                assert!(seconds >= 1, "{answer:?}");
                answers.refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    answers
}

/// The most memory that the process has had, in MiB.
fn peak_mib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|word| word.parse().ok())
        .expect("a peak");
    kib / 1_024
}

#[tokio::test]
async fn a_hundred_and_ten_logins_a_second_leave_the_chat_alone() {
    let node = Node::start("logins", &OPEN).await;
    Member::register(node.address(), "mina@example.org").await;
    let mut pair = (
        Client::connect(node.address()).await,
        Client::connect(node.address()).await,
    );
    pair.1.subscribe("/user/queue/messages").await;
    let _warm = latencies(&mut pair, Instant::now() + Duration::from_secs(1)).await;
    let before_mib = peak_mib(&node);
    let span = Duration::from_secs(4);
    let (mut quiet, mut loud) = (Vec::new(), Vec::new());
    let mut all = Answers::default();
    // Side by side, twice, so that a machine that slows down meanwhile is in both.
    for _ in 0..2 {
        quiet.extend(latencies(&mut pair, Instant::now() + span).await);
        let until = Instant::now() + span;
        let (answers, heard) = tokio::join!(flood(&node, until), latencies(&mut pair, until));
        loud.extend(heard);
        all.signed_in += answers.signed_in;
        all.wrong += answers.wrong;
        all.refused += answers.refused;
    }
    quiet.sort_unstable();
    loud.sort_unstable();
    let (alone, beside) = (p99(&quiet), p99(&loud));
    let grown = peak_mib(&node) - before_mib;
    eprintln!(
        "{OFFERED} logins/s offered: {all:?}; p99 {alone:?} alone, {beside:?} beside them; {grown} MiB more"
    );
    assert!(all.signed_in + all.wrong > 100, "{all:?}");
    // Below this a machine that does something else for a moment decides.
    let most = (alone * 2).max(Duration::from_millis(40));
    assert!(beside <= most, "{beside:?} beside them, {alone:?} alone");
    assert!(grown < MEMORY_MIB, "{grown} MiB more than before");
}

#[tokio::test]
async fn five_hundred_logins_at_once_are_answered_and_bounded() {
    let node = Node::start("logins", &OPEN).await;
    Member::register(node.address(), "mina@example.org").await;
    let before_mib = peak_mib(&node);
    let at = node.address();
    let offers = (0..500).map(|_| async move {
        let body = json!({"email": "mina@example.org", "password": PASSWORD});
        post(at, "/api/v1/auth/login", &[], &body).await
    });
    let answers = futures_util::future::join_all(offers).await;
    let with = |status: u16| answers.iter().filter(|it| it.status == status).count();
    let (signed_in, refused) = (with(200), with(503));
    assert_eq!(
        signed_in + refused,
        500,
        "{signed_in} in, {refused} refused"
    );
    assert!(
        signed_in > 0 && refused > 0,
        "{signed_in} in, {refused} refused"
    );
    assert!(
        answers
            .iter()
            .filter(|it| it.status == 503)
            .all(|it| it.header("retry-after").is_some())
    );
    let grown = peak_mib(&node) - before_mib;
    eprintln!("500 logins at once: {signed_in} in, {refused} refused, {grown} MiB more");
    assert!(grown < MEMORY_MIB, "{grown} MiB more than before");
}
