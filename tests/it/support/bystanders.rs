//! Two people who talk while others misbehave: the proof that neighbours are not harmed.

use super::client::{Client, get};
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

/// A number of `/metrics`, by its name and labels as they stand there; 0 when it is not there.
pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let (_, text) = get(node.address(), "/metrics").await;
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0.0)
}
