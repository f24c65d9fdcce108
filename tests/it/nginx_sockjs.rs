//! SockJS behind a real nginx and three nodes: the session in the path finds its node, without a
//! cookie and whatever the network.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::nginx::Nginx;
use crate::support::stompjs::StompJs;

#[tokio::test]
async fn sockjs_finds_its_node_behind_nginx_and_reaches_the_others() {
    let cluster = Cluster::start().await;
    let names = ["a", "b", "c"];
    let nodes = futures_util::future::join_all(names.map(|name| cluster.node(name))).await;
    let addresses: Vec<_> = nodes.iter().map(|node| node.address()).collect();
    let nginx = Nginx::start(&addresses).await;
    let js = StompJs::start();
    let url = format!("http://{}/ws-chat", nginx.address());
    let mut devices = Vec::new();
    // Sessions enough that their names fall to every node.
    for n in 0..24 {
        let transport = ["xhr-streaming", "xhr-polling", "eventsource", "websocket"][n % 4];
        let options = json!({"headers": {"visitor-token": "new"}, "sockjs": transport});
        let name = format!("{transport} {n}");
        devices.push(js.connect(&name, &url, options).await.unwrap());
    }
    let on: BTreeSet<String> = devices
        .iter()
        .map(|device| device.header("node").to_owned())
        .collect();
    assert_eq!(on.len(), 3, "all came to {on:?}");
    let topic = "/topic/nginx";
    for device in &devices {
        device.subscribe(topic).await;
    }
    for (n, device) in devices.iter().take(8).enumerate() {
        device
            .throw_away(topic, &format!("from {n}"), json!({}))
            .await;
    }
    for device in &devices {
        let messages = device.received(topic, 8).await;
        let texts: BTreeSet<_> = messages
            .iter()
            .map(|message| message.text.clone())
            .collect();
        let expected: BTreeSet<_> = (0..8).map(|n| format!("from {n}")).collect();
        assert_eq!(texts, expected, "{}", device.name());
    }
    // A direct message, from a poll on one node to a stream on another, and its RECEIPT back.
    let (from, to) = (&devices[1], &devices[0]);
    to.listen().await;
    from.listen().await;
    for n in 0..20 {
        from.say(to.user(), &format!("message {n}")).await;
    }
    let messages = to.messages(20).await;
    let texts: Vec<_> = messages
        .iter()
        .map(|message| message.body["message"].clone())
        .collect();
    let expected: Vec<_> = (0..20).map(|n| json!(format!("message {n}"))).collect();
    assert_eq!(texts, expected);
    for device in &devices {
        device.disconnect().await;
    }
}
