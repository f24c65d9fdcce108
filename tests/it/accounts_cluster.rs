//! Accounts on three nodes with PostgreSQL, Redis and RabbitMQ: what is changed on one node holds on
//! all of them within a second, on sockets that are open and idle.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::support::api::{Member, PASSWORD, call, post};
use crate::support::cli::make_admin;
use crate::support::client::{Client, Ending, Received};
use crate::support::cluster::{Cluster, SECRET};
use crate::support::node::Node;

/// Within this every node has followed.
const WITHIN: Duration = Duration::from_secs(1);

/// Limits of REST and of signing in that these tests do not mean.
const OPEN: [(&str, &str); 3] = [
    ("HTTP_AUTH_PER_MIN", "10000"),
    ("HTTP_AUTH_PER_NET", "10000"),
    ("HTTP_PER_MIN", "10000"),
];

async fn three(cluster: &Cluster) -> Vec<Node> {
    let starting = ["a", "b", "c"].map(|name| cluster.node_with(name, &OPEN));
    futures_util::future::join_all(starting).await
}

/// A session of this access token on each node, which only listens.
async fn listeners(nodes: &[Node], member: &Member) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in nodes {
        let mut client = Client::member(node.address(), &member.access).await;
        client.subscribe("/user/queue/notifications").await;
        client.subscribe("/user/queue/messages").await;
        clients.push(client);
    }
    clients
}

/// How each of them ends, and that all do within a second of `since`.
async fn all_end(clients: Vec<Client>, since: Instant) -> Vec<Ending> {
    let ends = clients.into_iter().map(|mut client| async move {
        let ending = client.end().await;
        (ending, since.elapsed())
    });
    let ends = futures_util::future::join_all(ends).await;
    for (ending, took) in &ends {
        assert!(*took < WITHIN, "{took:?} until {ending:?}");
    }
    ends.into_iter().map(|(ending, _)| ending).collect()
}

/// The next notification of a client, which must come within a second.
async fn notified(client: &mut Client) -> Value {
    let since = Instant::now();
    let frame = client.frame().await;
    assert_eq!(frame.header("destination"), "/user/queue/notifications");
    assert!(since.elapsed() < WITHIN, "{frame:?}");
    frame.json()
}

#[tokio::test]
async fn signing_out_everywhere_on_one_node_closes_the_sockets_on_all() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let a = nodes[0].address();
    let member = Member::register(a, "mina@example.org").await;
    let other = Member::login(nodes[1].address(), "mina@example.org", "phone").await;
    let mut clients = listeners(&nodes, &member).await;
    clients.extend(listeners(&nodes[1..], &other).await);
    let bystander = Client::connect(nodes[2].address()).await;

    let since = Instant::now();
    let bearer = member.bearer();
    let all = json!({"all": true});
    let out = post(
        a,
        "/api/v1/auth/logout",
        &[("Authorization", &bearer)],
        &all,
    )
    .await;
    out.expect(204);
    for ending in all_end(clients, since).await {
        assert_eq!(ending.code, 4410, "{ending:?}");
    }
    // Neither of the tokens opens anything any more, on any node, by REST or by STOMP.
    for node in &nodes {
        for token in [&member, &other] {
            let bearer = token.bearer();
            let headers = [("Authorization", bearer.as_str())];
            let me = call(node.address(), "GET", "/api/v1/me", &headers, None);
            assert_eq!(me.await.problem(401), "unauthorized");
            let mut client = Client::open(node.address()).await;
            let refused = client.connect_as(&[("authorization", &bearer)]).await;
            assert_eq!(refused.command, "ERROR", "{refused:?}");
            assert_eq!(client.end().await.code, 4401);
        }
    }
    // Nobody else is disturbed.
    let mut bystander = bystander;
    bystander.subscribe("/user/queue/messages").await;
}

#[tokio::test]
async fn ending_one_device_leaves_the_others() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let a = nodes[0].address();
    let member = Member::register(a, "mina@example.org").await;
    let phone = Member::login(a, "mina@example.org", "phone").await;
    let on_phone = listeners(&nodes, &phone).await;
    let mut on_desk = listeners(&nodes[1..2], &member).await;

    let bearer = member.bearer();
    let headers = [("Authorization", bearer.as_str())];
    let devices = call(a, "GET", "/api/v1/me/sessions", &headers, None).await;
    let devices = devices.expect(200).body["items"].clone();
    let devices = devices.as_array().expect("a list");
    assert_eq!(devices.len(), 2, "{devices:?}");
    let phones = devices.iter().find(|device| device["device"] == "phone");
    let id = phones.expect("the phone")["id"].as_str().unwrap();

    let since = Instant::now();
    let path = format!("/api/v1/me/sessions/{id}");
    call(a, "DELETE", &path, &headers, None).await.expect(204);
    for ending in all_end(on_phone, since).await {
        assert_eq!(ending.code, 4410, "{ending:?}");
    }
    // The desk goes on, and hears what is written to it.
    let mut writer = Client::connect(nodes[2].address()).await;
    writer.say(&member.user_id, "still there?").await;
    let heard = on_desk[0].frame().await.json();
    assert_eq!(heard["message"], "still there?");
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_its_family_everywhere() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let [a, b, c] = [0, 1, 2].map(|n: usize| nodes[n].address());
    let member = Member::register(a, "mina@example.org").await;
    let refresh = async |at, token: &str| {
        let body = json!({"refresh_token": token});
        post(at, "/api/v1/auth/refresh", &[], &body).await
    };
    // Two tabs at once, on two nodes: the same successor.
    let (one, two) = tokio::join!(refresh(a, &member.refresh), refresh(b, &member.refresh));
    let (one, two) = (Member::of(&one.expect(200)), Member::of(&two.expect(200)));
    assert_eq!(
        one.refresh, two.refresh,
        "parallel refreshes have one outcome"
    );
    assert_ne!(one.refresh, member.refresh);
    let third = Member::of(&refresh(c, &one.refresh).await.expect(200));
    let clients = listeners(&nodes, &third).await;

    // The first one again: its successor was used, so somebody has a copy.
    let since = Instant::now();
    let replayed = refresh(b, &member.refresh).await;
    assert_eq!(replayed.problem(401), "token_reused");
    for ending in all_end(clients, since).await {
        assert!([4401, 4410].contains(&ending.code), "{ending:?}");
    }
    for token in [&third.refresh, &one.refresh] {
        let status = refresh(a, token).await.status;
        assert_eq!(status, 401, "nothing of the family is good any more");
    }
}

#[tokio::test]
async fn bans_mutes_and_roles_hold_on_every_node_within_a_second() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let a = nodes[0].address();
    let admin = Member::register(a, "root@example.org").await;
    make_admin(&nodes[0], SECRET, &admin.user_id).await;
    let admin = Member::login(a, "root@example.org", "desk").await;
    let bearer = admin.bearer();
    let headers = [("Authorization", bearer.as_str())];
    let member = Member::register(a, "mina@example.org").await;
    let mut clients = listeners(&nodes, &member).await;

    // A mute is heard of on every node, and nothing that is written arrives.
    let mute = json!({"user_id": member.user_id, "act": "mute", "seconds": 600, "reason": "spam"});
    post(a, "/api/v1/admin/bans", &headers, &mute)
        .await
        .expect(201);
    for client in &mut clients {
        let told = notified(client).await;
        assert_eq!(
            (&told["kind"], &told["reason"]),
            (&json!("mute"), &json!("spam"))
        );
        client.subscribe("/user/queue/errors").await;
        client.say(&admin.user_id, "hello").await;
        let problem = client.frame().await.json();
        assert_eq!(problem["code"], "muted", "{problem}");
        assert!(problem["until"].is_string(), "{problem}");
    }
    let lift = format!("/api/v1/admin/bans/user/{}/mute", member.user_id);
    call(a, "DELETE", &lift, &headers, None).await.expect(204);
    let client = &mut clients[0];
    assert_eq!(notified(client).await["kind"], "unmute");
    client.say(&admin.user_id, "hello again").await;
    assert_eq!(client.frame().await.command, "MESSAGE");
    assert_eq!(client.frame().await.command, "RECEIPT");

    // Another role is another kind, without connecting anew.
    let role = format!("/api/v1/admin/users/{}/role", member.user_id);
    call(a, "PUT", &role, &headers, Some(&json!({"role": "bot"})))
        .await
        .expect(200);
    for client in &mut clients {
        // The others hear that they may write again, and what the first of them wrote, before it.
        let told = loop {
            let frame = client.frame().await;
            let is_told = frame.header("destination") == "/user/queue/notifications";
            if is_told && frame.json()["type"] == "MEMBER" {
                break frame.json();
            }
        };
        assert_eq!(told["kind"], "bot", "{told}");
    }

    // A ban closes every socket, and lets nobody in again.
    let since = Instant::now();
    let ban = json!({"user_id": member.user_id, "act": "ban", "seconds": 600, "reason": "spam"});
    post(a, "/api/v1/admin/bans", &headers, &ban)
        .await
        .expect(201);
    for ending in all_end(clients, since).await {
        assert_eq!(ending.code, 4403, "{ending:?}");
    }
    let mut again = Client::open(nodes[2].address()).await;
    let refused = again
        .connect_as(&[("authorization", &member.bearer())])
        .await;
    assert_eq!(refused.command, "ERROR", "{refused:?}");
    assert_eq!(again.end().await.code, 4403);
}

#[tokio::test]
async fn a_visitor_on_three_nodes_becomes_a_member_on_the_sockets_that_he_has() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let a = nodes[0].address();
    let first = Client::connect(a).await;
    let (secret, user) = (first.secret().to_owned(), first.user().to_owned());
    let mut clients = vec![first];
    for node in &nodes[1..] {
        let opening = crate::support::client::Opening::default();
        clients.push(Client::connect_with(node.address(), &opening, &secret).await);
    }
    for client in &mut clients {
        client.subscribe("/user/queue/notifications").await;
        client.subscribe("/user/queue/messages").await;
    }
    let visitor = format!("Visitor {secret}");
    let body = json!({"email": "mina@example.org", "password": PASSWORD, "name": "Mina"});
    let headers = [("Authorization", visitor.as_str())];
    let pair = post(a, "/api/v1/auth/upgrade", &headers, &body);
    let pair = Member::of(&pair.await.expect(200));
    assert_eq!(pair.user_id, user, "the same address");
    for client in &mut clients {
        let told = notified(client).await;
        assert_eq!(
            (&told["type"], &told["kind"]),
            (&json!("UPGRADED"), &json!("member"))
        );
    }
    // The same sockets write as a member, and all of them hear it.
    let mut other = Client::connect(nodes[1].address()).await;
    other.subscribe("/user/queue/messages").await;
    clients[2].say(other.user(), "as a member").await;
    for client in &mut clients {
        loop {
            match client.next().await {
                Received::Frame(frame) if frame.command == "MESSAGE" => {
                    let heard = frame.json();
                    assert_eq!(heard["from_name"], "Mina", "{heard}");
                    break;
                }
                Received::Frame(_) => {}
                end @ (Received::Closed(..) | Received::Gone) => panic!("{end:?}"),
            }
        }
    }
    // The secret has ended with the visitor.
    let again = post(a, "/api/v1/auth/upgrade", &headers, &body);
    assert_eq!(again.await.problem(403), "proof_required");
}

#[tokio::test]
async fn a_token_that_ends_is_announced_renewed_in_band_and_closed_on_an_idle_listener() {
    let cluster = Cluster::start().await;
    let settings = [OPEN.as_slice(), &[("JWT_ACCESS_TTL", "10s")]].concat();
    let node = cluster.node_with("a", &settings).await;
    let at = node.address();
    let began = Instant::now();
    let member = Member::register(at, "mina@example.org").await;
    let mut renewed = Client::member(at, &member.access).await;
    renewed.subscribe("/user/queue/errors").await;
    renewed.subscribe("/user/queue/notifications").await;
    let mut idle = Client::member(at, &member.access).await;
    let told = notified(&mut renewed).await;
    assert_eq!(told["kind"], "token_expiring");
    assert!(told["in_ms"].as_u64().unwrap() <= 10_000, "{told}");

    let body = json!({"refresh_token": member.refresh});
    let next = post(at, "/api/v1/auth/refresh", &[], &body).await;
    let next = Member::of(&next.expect(200));
    let body = json!({"access_token": next.access}).to_string();
    renewed.publish("/app/auth.refresh", &body).await;
    loop {
        let frame = renewed.frame().await;
        if frame.command == "RECEIPT" {
            break;
        }
    }
    // A token of somebody else is not taken, and the session goes on.
    let stranger = Member::register(at, "other@example.org").await;
    let body = json!({"access_token": stranger.access}).to_string();
    renewed.publish("/app/auth.refresh", &body).await;
    loop {
        let frame = renewed.frame().await;
        if frame.header("destination") == "/user/queue/errors" {
            assert_eq!(frame.json()["code"], "forbidden");
            break;
        }
    }
    // Ten seconds of life and thirty of grace: longer than a client of these tests waits for a frame.
    sleep_until(began + Duration::from_secs(15)).await;
    let ending = idle.end().await;
    assert_eq!(ending.code, 4401, "{ending:?}");
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(38),
        "with 30 s of grace: {took:?}"
    );
    assert!(took < Duration::from_secs(48), "closed after {took:?}");
}

#[tokio::test]
async fn what_became_of_a_message_and_the_way_to_somebody_are_asked_of_any_node() {
    let cluster = Cluster::start().await;
    let nodes = three(&cluster).await;
    let [a, b, c] = [0, 1, 2].map(|n: usize| nodes[n].address());
    let admin = Member::register(a, "root@example.org").await;
    make_admin(&nodes[0], SECRET, &admin.user_id).await;
    let bearer = admin.bearer();
    let headers = [("Authorization", bearer.as_str())];

    let mut reader = Client::connect(b).await;
    reader.subscribe("/user/queue/messages").await;
    let mut writer = Client::connect(a).await;
    writer.say(reader.user(), "where does it go?").await;
    let receipt = writer.frame().await;
    let id = receipt.header("message-id").to_owned();
    assert_eq!(reader.frame().await.json()["id"], id.as_str());

    // Asked of the third, which had no part in it.
    let path = format!("/api/v1/admin/trace/{id}");
    let trace = call(c, "GET", &path, &headers, None).await.expect(200).body;
    assert_eq!(trace["unanswered"], json!([]), "{trace}");
    let of = |node: &str| {
        let all = trace["nodes"].as_array().unwrap();
        let one = all.iter().find(|it| it["node"] == node);
        one.unwrap_or_else(|| panic!("{node} has not answered: {trace}"))["events"].clone()
    };
    let (on_a, on_b) = (of("a"), of("b"));
    assert_eq!(
        (&on_a[0]["event"], &on_a[0]["seq"]),
        (&json!("stored"), &json!(1))
    );
    let published = on_a.as_array().unwrap().iter();
    let published: Vec<_> = published.filter(|it| it["event"] == "published").collect();
    assert_eq!(published.len(), 1, "{on_a}");
    assert_eq!(published[0]["to"], "b");
    assert_eq!(
        (&on_b[0]["event"], &on_b[0]["from"]),
        (&json!("received"), &json!("a"))
    );
    assert_eq!(
        (&on_b[1]["event"], &on_b[1]["flushed"]),
        (&json!("queued"), &json!(true))
    );
    assert_eq!(of("c"), json!([]));

    let path = format!("/api/v1/admin/routing/{}", reader.user());
    let route = call(c, "GET", &path, &headers, None).await.expect(200).body;
    assert_eq!(route["sessions"][0]["node"], "b", "{route}");
    assert_eq!(
        route["path"]["remote"][0]["routing_key"], "chat.b",
        "{route}"
    );
    assert_eq!(route["path"]["local"], false, "{route}");
}
