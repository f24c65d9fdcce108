//! More sign-ins than the machine can hash: the chat goes on, memory is bounded, and the excess is told
//! when to come back.
//!
//! What the chat is compared with is the chat beside the same generator, which then floods a sink that answers at
//! once, while a thread of the priority of the hashes keeps a core busy with nothing. Invariant: the chat's p99 is at
//! most twice that, of all rounds together: of one round it is the second largest of 200.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

use crate::limits_cluster::{ROUNDS, latencies, p99};
use crate::support::api::{Member, PASSWORD, post};
use crate::support::client::Client;
use crate::support::node::Node;

/// For how long the chat is measured beside the sink, and beside the node, in each round: some 200 messages.
const SPAN: Duration = Duration::from_secs(4);

/// How much the chat's p99 may grow beside the sign-ins.
const RATIO_MAX: f64 = 2.0;

/// The nice value of the threads that hash.
const NICE: i32 = 10;

/// What is offered in a second.
const OFFERED: u32 = 110;

/// One in so many is hashed and answered at least: a node that refuses more would leave the chat alone too.
const ANSWERED_PART: u32 = 3;

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

impl Answers {
    fn add(&mut self, more: &Self) {
        self.signed_in += more.signed_in;
        self.wrong += more.wrong;
        self.refused += more.refused;
    }
}

/// Offers sign-ins at a fixed rate, every other one with a wrong password.
async fn flood(at: SocketAddr, until: Instant) -> Answers {
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
            429 => {
                assert_eq!(answer.problem(429), "try_later");
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

/// The same from a thread of its own, so that the measuring client does not wait for it.
fn flood_beside(at: SocketAddr, span: Duration) -> std::thread::JoinHandle<Answers> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { flood(at, Instant::now() + span).await })
    })
}

/// A server that reads a request and refuses it, from a thread of its own.
fn sink() -> SocketAddr {
    const ANSWER: &[u8] =
        b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n\
        Content-Type: application/problem+json\r\n\r\n{\"code\":\"try_later\"}";
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _read = stream.read(&mut [0; 1024]).await;
                let _written = stream.write_all(ANSWER).await;
            }
        });
    });
    told.recv().unwrap()
}

/// A thread of low priority that keeps a core busy until it is dropped.
struct BusyCore(Arc<AtomicBool>);

impl BusyCore {
    fn new() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            // On Linux the nice value belongs to the thread.
            rustix::process::setpriority_process(None, NICE).unwrap();
            while !ends.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self(is_over)
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The latencies of the chat beside the sink and a busy core, and beside the node that hashes.
#[derive(Debug, Default)]
struct Chat {
    quiet: Vec<Duration>,
    loud: Vec<Duration>,
    answers: Answers,
}

impl Chat {
    /// Side by side, so that a machine that slows down meanwhile is in both.
    async fn measure(&mut self, node: &Node, sink: SocketAddr, pair: &mut (Client, Client)) {
        for _ in 0..ROUNDS {
            let busy = BusyCore::new();
            let drained = flood_beside(sink, SPAN);
            let quiet = latencies(pair, Instant::now() + SPAN).await;
            assert_eq!(drained.join().unwrap().signed_in, 0);
            drop(busy);
            let flooding = flood_beside(node.address(), SPAN);
            let loud = latencies(pair, Instant::now() + SPAN).await;
            self.answers.add(&flooding.join().unwrap());
            self.quiet.extend(quiet);
            self.loud.extend(loud);
        }
    }

    /// The p99 of both, and how many times the first the second is.
    fn p99(&mut self) -> (Duration, Duration, f64) {
        let [quiet, loud] = [&mut self.quiet, &mut self.loud].map(|spans| {
            spans.sort_unstable();
            p99(spans)
        });
        (quiet, loud, loud.as_secs_f64() / quiet.as_secs_f64())
    }
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
    let sink = sink();
    let mut chat = Chat::default();
    chat.measure(&node, sink, &mut pair).await;
    let (quiet, loud, ratio) = chat.p99();
    eprintln!(
        "{OFFERED} logins/s offered: {:?}; p99 {quiet:?} beside a sink and a busy core, {loud:?} beside them: {ratio:.2} times",
        chat.answers
    );
    let (answers, grown) = (&chat.answers, peak_mib(&node) - before_mib);
    let answered = answers.signed_in + answers.wrong;
    assert!(
        answered * ANSWERED_PART >= answered + answers.refused,
        "{answers:?}"
    );
    assert!(
        ratio <= RATIO_MAX,
        "{loud:?} beside them, {quiet:?} beside a busy core: {ratio:.2} times"
    );
    eprintln!("{grown} MiB more");
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
    let (signed_in, refused) = (with(200), with(429));
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
            .filter(|it| it.status == 429)
            .all(|it| it.header("retry-after").is_some())
    );
    let grown = peak_mib(&node) - before_mib;
    eprintln!("500 logins at once: {signed_in} in, {refused} refused, {grown} MiB more");
    assert!(grown < MEMORY_MIB, "{grown} MiB more than before");
}
