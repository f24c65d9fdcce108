//! A member comes in when visitors of many networks, none larger than another, have all sessions that visitors may
//! have, and while others fill what is left with sockets that never say who they are.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::api::Member;
use crate::support::bystanders::metric;
use crate::support::client::{Client, Opening};
use crate::support::node::Node;

const PATIENCE: Duration = Duration::from_secs(60);

/// Seven eighths are for visitors: 140. Of the 20 that are left, five are for clients who are not known yet.
const SESSIONS: &str = "160";
const OF_VISITORS: usize = 140;
const NOT_KNOWN: usize = 5;

async fn open(at: SocketAddr, network: u8, last: u8) -> Result<Client, u16> {
    let opening = Opening {
        from: Some(Ipv4Addr::new(127, 0, network, last)),
        ..Opening::default()
    };
    Client::try_open(at, &opening).await
}

/// A visitor, or what the node answered instead.
async fn visitor(at: SocketAddr, network: u8, last: u8) -> Result<Client, String> {
    let opened = open(at, network, last).await;
    let mut client = opened.map_err(|status| status.to_string())?;
    let answer = client.introduce("new").await;
    match answer.command.as_str() {
        "CONNECTED" => Ok(client),
        _ => Err(format!("{} {}", answer.header("message"), answer.body)),
    }
}

/// Waits until so many visitors, members and clients who are not known have sessions.
async fn sessions_become(node: &Node, expected: [usize; 3]) {
    let began = Instant::now();
    loop {
        let mut now = [0; 3];
        for (now, kind) in now.iter_mut().zip(["anonymous", "member", "connecting"]) {
            let name =
                format!("chat_connections_active{{transport=\"websocket\",kind=\"{kind}\"}}");
            *now = metric(node, &name).await as usize;
        }
        if now == expected {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{now:?} and not {expected:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_member_comes_in_when_visitors_of_many_networks_have_all_that_they_may() {
    let node = Node::start("reserve", &[("WS_MAX_CONNECTIONS", SESSIONS)]).await;
    let at = node.address();
    let member = Member::register(at, "kim@example.com").await;
    let mut visitors = Vec::new();
    let mut refused = Vec::new();
    for last in 1..=200 {
        match visitor(at, 2, last).await {
            Ok(client) => visitors.push(client),
            Err(answer) => refused.push(answer),
        }
    }
    assert_eq!((visitors.len(), refused.len()), (OF_VISITORS, 60));
    let tells = |answer: &String| {
        answer.starts_with("try_later") && answer.contains("as many connections as it may have")
    };
    assert!(refused.iter().all(tells), "{refused:?}");
    sessions_become(&node, [OF_VISITORS, 0, 0]).await;
    // Sockets that never say who they are come from as many addresses, as fast as they can.
    let mut silent = Vec::new();
    for last in 1..=60 {
        silent.extend(open(at, 3, last).await);
    }
    assert_eq!(silent.len(), 60, "each gets in, and an older one goes");
    sessions_become(&node, [OF_VISITORS, 0, NOT_KNOWN]).await;
    let mut members = Vec::new();
    for last in 1..=5 {
        let mut client = open(at, 4, last).await.expect("a member is no visitor");
        let connected = client
            .connect_as(&[("authorization", &member.bearer())])
            .await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        members.push(client);
        silent.extend(open(at, 5, last).await);
    }
    members[0].subscribe("/topic/news").await;
    members[4].publish("/topic/news", "\"hello\"").await;
    let news = members[0].frame().await;
    assert_eq!(
        (news.command.as_str(), news.body.as_str()),
        ("MESSAGE", "\"hello\"")
    );
    // Nobody else has lost anything, and what visitors may have has not grown.
    visitors[0].subscribe("/topic/news").await;
    assert!(visitor(at, 6, 1).await.is_err());
    drop(silent);
    sessions_become(&node, [OF_VISITORS, 5, 0]).await;
    // A member who goes leaves nothing to visitors, and a visitor does.
    members.truncate(3);
    sessions_become(&node, [OF_VISITORS, 3, 0]).await;
    assert!(visitor(at, 6, 2).await.is_err());
    visitors.truncate(OF_VISITORS - 1);
    // The place is given back a moment after the connection has ended.
    let began = Instant::now();
    while visitor(at, 6, 3).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the place does not come back");
        sleep(Duration::from_millis(50)).await;
    }
}
