//! A crowd behind one address, with a fifth of the people that the defaults are for and a fifth of every limit: pages,
//! REST, CONNECT, chat, sign-ins, refreshes and cuts, and nobody is refused. And what makes everybody one network by
//! mistake is said.
//!
//! Not here: one client that wants too much (`hostile_clients`). Invariant: each limit that the table of rates in
//! `docs/security.md` sizes for 5,000 people is used here as far as that table says that they need it.

mod person;

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::person::{Person, files_of_the_page};
use crate::support::api::{PASSWORD, call, call_from};
use crate::support::bystanders::newcomer_talks;
use crate::support::client::{Client, Opening, get};
use crate::support::node::Node;

/// The defaults are for 5,000 people behind one address. There are a fifth as many here, and they have a fifth
/// of every limit that a network has a part of.
const PART: usize = 5;
const PEOPLE: usize = 5_000 / PART;
const FIFTHS: [(&str, &str); 14] = [
    ("CONNECT_BURST", "4000"),
    ("CONNECT_PER_NET", "4000"),
    ("HTTP_AUTH_PER_NET", "400"),
    ("HTTP_PER_NET", "12000"),
    ("LOGIN_FAILURES_PER_NET", "100"),
    ("LOGIN_PER_NET", "400"),
    ("MEMORY_LIMIT", "205MiB"),
    ("QUEUES_PER_NODE", "200"),
    ("RATE_NET_BURST", "1000"),
    ("RATE_NET_PER_MIN", "12000"),
    ("REGISTER_PER_NET", "60"),
    ("SUBSCRIPTIONS_PER_NODE", "200000"),
    ("VISITORS_PER_NETWORK", "2000"),
    ("WS_MAX_CONNECTIONS", "20000"),
];

/// Over this time they arrive, evenly, and over the same time they all load the page again: a minute in all, for 12 requests
/// of REST each.
const ARRIVING: Duration = Duration::from_secs(30);

/// All have arrived by then, also on a machine that is busy.
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);

/// Each writes ten messages a minute.
const MESSAGE_EVERY: Duration = Duration::from_secs(6);

/// Of those who sign in so many make their account here: what `REGISTER_PER_NET` lets through. The others have one.
const REGISTERED: usize = 60;

/// How often all are cut off and come back at once. With the arrival and the second load each has sent five CONNECTs by
/// then, the last three thousand of them in a few seconds.
const CUTS: usize = 3;

/// Those who sign in and do not register here have made their account elsewhere before.
async fn register_elsewhere(node: &Node, people: &[Person]) {
    let known = people.iter().filter_map(Person::account).skip(REGISTERED);
    for (number, email) in known.enumerate() {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number / REGISTERED + 1).unwrap());
        let account = json!({"email": email, "password": PASSWORD, "name": "One"});
        let path = "/api/v1/auth/register";
        let answer = call_from(
            Some(from),
            node.address(),
            "POST",
            path,
            &[],
            Some(&account),
        );
        answer.await.expect(201);
    }
}

/// Each arrives in their moment: the page with its files, REST, perhaps an account, a session.
async fn all_arrive(people: &mut [Person], files: &[String]) {
    let began = Instant::now();
    let arriving = people
        .iter_mut()
        .enumerate()
        .map(|(number, person)| async move {
            sleep_until(began + ARRIVING * number as u32 / PEOPLE as u32).await;
            person.load(files).await;
            person.become_visitor().await;
            person.ask_rest().await;
            person.connect().await;
            person.sign_in_first(REGISTERED).await;
        });
    join_all(arriving).await;
    let arrived = began.elapsed();
    eprintln!("{PEOPLE} people arrived in {arrived:?}");
    assert!(arrived < ARRIVED_WITHIN, "{arrived:?}");
}

/// All say hello in the same moment, which leaves nothing in the bucket of their network.
async fn all_say_hello(people: &mut [Person]) {
    let began = Instant::now();
    join_all(people.iter_mut().map(|person| person.say("hello"))).await;
    eprintln!("{PEOPLE} said hello in {:?}", began.elapsed());
}

/// Each writes ten messages a minute, and in the midst of it loads the page again, those who have an account signing in
/// again.
async fn all_chat_and_refresh(people: &mut [Person], files: &[String]) {
    let began = Instant::now();
    let chatting = people
        .iter_mut()
        .enumerate()
        .map(|(number, person)| async move {
            let refresh_at = began + ARRIVING * number as u32 / PEOPLE as u32;
            let first = began + MESSAGE_EVERY * number as u32 / PEOPLE as u32;
            let messages = (ARRIVING.as_secs() / MESSAGE_EVERY.as_secs()) as u32;
            let mut has_refreshed = false;
            for count in 0..=messages {
                let next = first + MESSAGE_EVERY * count;
                if !has_refreshed && (refresh_at <= next || count == messages) {
                    sleep_until(refresh_at).await;
                    person.load(files).await;
                    person.ask_csrf().await;
                    person.ask_rest().await;
                    person.connect().await;
                    person.sign_in_again().await;
                    has_refreshed = true;
                }
                if count < messages {
                    sleep_until(next).await;
                    person.say(&format!("message {count}")).await;
                }
            }
        });
    join_all(chatting).await;
    eprintln!(
        "{PEOPLE} chatted and loaded the page again in {:?}",
        began.elapsed()
    );
}

/// The connections of all end in the same moment, and all come back at once.
async fn all_are_cut_off_and_come_back(people: &mut [Person]) {
    for person in people.iter_mut() {
        person.is_cut_off();
    }
    let began = Instant::now();
    join_all(people.iter_mut().map(Person::connect)).await;
    eprintln!("{PEOPLE} were back in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_one_address_is_served() {
    let node = Node::start("crowd", &FIFTHS).await;
    let files = files_of_the_page(node.address()).await;
    assert!(files.len() > 10, "{files:?}");
    let people = (0..PEOPLE).map(|number| Person::new(node.address(), number));
    let mut people: Vec<Person> = people.collect();
    register_elsewhere(&node, &people).await;
    all_arrive(&mut people, &files).await;
    all_say_hello(&mut people).await;
    all_chat_and_refresh(&mut people, &files).await;
    for _ in 0..CUTS {
        all_are_cut_off_and_come_back(&mut people).await;
    }
    // All of them are still there, and a newcomer from elsewhere comes in and talks.
    for person in &mut people {
        person.subscribe("/topic/hall").await;
    }
    newcomer_talks(&node, Ipv4Addr::new(127, 0, 0, 9)).await;
}

#[test]
fn the_limits_of_the_scaled_crowd_are_a_fifth_of_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (name, fifth) in FIFTHS {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let default = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        let of_default = match default.parse::<usize>() {
            Ok(number) => (number / PART).to_string(),
            // In whole MiB.
            Err(_) => {
                assert_eq!(default, "1GiB", "{name}");
                format!("{}MiB", 1_024_usize.div_ceil(PART))
            }
        };
        assert_eq!(fifth, of_default, "{name}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_logged_once() {
    let node = Node::start("crowd", &[]).await;
    let forwarded = [("X-Forwarded-For", "203.0.113.9")];
    for _ in 0..3 {
        call(node.address(), "GET", "/api/v1/me", &forwarded, None).await;
    }
    let output = node.output_with("TRUSTED_PROXIES").await;
    assert_eq!(
        output
            .matches("X-Forwarded-For and X-Forwarded-Proto are ignored")
            .count(),
        1,
        "{output}"
    );
    let (_, metrics) = get(node.address(), "/metrics").await;
    assert!(
        metrics.contains("forwarded_headers_ignored_total 3"),
        "{metrics}"
    );
    let trusting = Node::start("crowd", &[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    call(trusting.address(), "GET", "/api/v1/me", &forwarded, None).await;
    let (_, metrics) = get(trusting.address(), "/metrics").await;
    assert!(
        !metrics.contains("forwarded_headers_ignored_total"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_named_network_has_a_multiple_of_every_limit() {
    let settings = [
        ("CONNECT_BURST", "2"),
        ("CONNECT_PER_NET", "1"),
        ("HTTP_AUTH_PER_NET", "1"),
        ("NETWORK_LIMITS", "127.0.0.2/32=3"),
    ];
    let node = Node::start("crowd", &settings).await;
    let mut connected = Vec::new();
    for last in [2, 3] {
        let from = Opening {
            from: Some(Ipv4Addr::new(127, 0, 0, last)),
            ..Opening::default()
        };
        let mut count = 0;
        for _ in 0..8 {
            let mut client = Client::try_open(node.address(), &from).await.unwrap();
            let answer = client.connect_as(&[]).await;
            count += u32::from(answer.command == "CONNECTED");
        }
        connected.push(count);
    }
    assert_eq!(connected, [6, 2]);
}
