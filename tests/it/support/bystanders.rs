//! Two people who talk while others misbehave: the proof that neighbours are not harmed.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, Opening, get_from};
use super::edge::PATIENCE;
use super::node::Node;

/// A pair on one node.
#[derive(Debug)]
pub(crate) struct Bystanders {
    writer: Client,
    reader: Client,
    count: u64,
}

impl Bystanders {
    /// Connects them.
    pub(crate) async fn on(node: &Node) -> Self {
        let writer = Client::connect(node.address()).await;
        let mut reader = Client::connect(node.address()).await;
        reader.subscribe("/user/queue/messages").await;
        Self {
            writer,
            reader,
            count: 0,
        }
    }

    /// One message: receipted, and there, and the next of its conversation.
    pub(crate) async fn talk(&mut self, after: &str) {
        self.count += 1;
        let words = format!("after {after}");
        let receipt = self.writer.say(self.reader.user(), &words).await;
        let answer = self.writer.frame().await;
        assert_eq!(answer.command, "RECEIPT", "{words}: {answer:?}");
        assert_eq!(answer.command, "RECEIPT", "{words}: {answer:?}");
        assert_eq!(answer.receipt(), receipt, "{words}");
        let message = self.reader.frame().await.json();
        assert_eq!(message["message"], words);
        assert_eq!(message["seq"], self.count, "{words}");
    }
}

/// A visitor from this address connects, and talks to themselves.
pub(crate) async fn newcomer_talks(node: &Node, from: Ipv4Addr) {
    let opening = Opening {
        from: Some(from),
        ..Opening::default()
    };
    let mut client = Client::connect_with(node.address(), &opening, "new").await;
    client.subscribe("/user/queue/messages").await;
    let myself = client.user().to_owned();
    client.say(&myself, "hello").await;
    let mut commands = [client.frame().await.command, client.frame().await.command];
    commands.sort();
    assert_eq!(commands, ["MESSAGE", "RECEIPT"]);
    client.disconnect().await;
}

/// Waits until a number of `/metrics` is this one. Another task of the node counts, so a test that has
/// seen the effect may be faster than the count.
pub(crate) async fn metric_becomes(node: &Node, name: &str, expected: f64) {
    metric_until(node, name, &expected.to_string(), |found| found == expected).await;
}

/// Waits until a number of `/metrics` is as it is described.
pub(crate) async fn metric_until(
    node: &Node,
    name: &str,
    described: &str,
    is_so: impl Fn(f64) -> bool,
) {
    let began = Instant::now();
    loop {
        let found = metric(node, name).await;
        if is_so(found) {
            return;
        }
        let waited = began.elapsed();
        assert!(
            waited < PATIENCE,
            "{name}: {found}, not {described} after {waited:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Who looks at metrics: nobody else comes from here, so a share that a test uses up is never theirs.
const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 200);

/// A number of `/metrics`, by its name and labels as they stand there; 0 when it is not there.
pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let (status, text) = get_from(OPERATOR, node.address(), "/metrics").await;
    assert_eq!(status, 200, "/metrics: {text}");
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0.0)
}
