//! Queues, acknowledgement and transactions on a running node, over WebSocket.

use crate::support::client::{Client, Frame};
use crate::support::node::Node;

async fn subscribe(client: &mut Client, id: &str, to: &str, ack: &str, more: &str) {
    let frame =
        format!("SUBSCRIBE\nid:{id}\ndestination:{to}\nack:{ack}\n{more}receipt:s-{id}\n\n\0");
    client.send(&frame).await;
    assert_eq!(client.frame().await.receipt(), format!("s-{id}"));
}

async fn message(client: &mut Client) -> Frame {
    let frame = client.frame().await;
    assert_eq!(frame.command, "MESSAGE", "{frame:?}");
    frame
}

#[tokio::test]
async fn queue_work_is_acknowledged_redelivered_and_committed() {
    let node = Node::start("node", &[]).await;
    let mut one = Client::connect(node.address()).await;
    let mut two = Client::connect(node.address()).await;
    subscribe(
        &mut one,
        "q",
        "/queue/jobs",
        "client-individual",
        "prefetch-count:2\n",
    )
    .await;
    for number in 0..3 {
        let receipt = two.publish("/queue/jobs", &format!("job {number}")).await;
        assert_eq!(two.frame().await.receipt(), receipt);
    }
    let first = message(&mut one).await;
    assert_eq!((&*first.body, first.header("ack")), ("job 0", "1.1"));
    let second = message(&mut one).await;
    assert_eq!((&*second.body, second.header("ack")), ("job 1", "1.2"));
    one.send("ACK\nid:1.1\nreceipt:a\n\n\0").await;
    let next = one.frame().await;
    let (receipt, third) = match &*next.command {
        "RECEIPT" => (next, message(&mut one).await),
        _ => (one.frame().await, next),
    };
    assert_eq!(receipt.receipt(), "a");
    assert_eq!(&*third.body, "job 2");
    // A transaction: an answer and its acknowledgement.
    subscribe(&mut two, "t", "/topic/done", "auto", "").await;
    one.send("BEGIN\ntransaction:x\n\n\0").await;
    one.send("SEND\ndestination:/topic/done\ntransaction:x\n\nanswer\0")
        .await;
    one.send("ACK\nid:1.2\ntransaction:x\nreceipt:in\n\n\0")
        .await;
    assert_eq!(one.frame().await.receipt(), "in");
    one.send("COMMIT\ntransaction:x\nreceipt:c\n\n\0").await;
    assert_eq!(one.frame().await.receipt(), "c");
    assert_eq!(message(&mut two).await.body, "answer");
    // The third is given back with the connection.
    drop(one);
    subscribe(&mut two, "q", "/queue/jobs", "client", "").await;
    let again = message(&mut two).await;
    assert_eq!(&*again.body, "job 2");
    assert_eq!(again.header("redelivered"), "true");
    two.send("ACK\nid:9.9\n\n\0").await;
    let ending = two.end().await;
    assert_eq!(ending.error.unwrap().command, "ERROR");
    node.stop().await;
}
