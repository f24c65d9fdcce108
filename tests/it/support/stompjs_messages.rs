//! Messages as a client of STOMP.js got them, and what has to hold of all that one got.
//!
//! Not here: the clients (`stompjs`).

use serde_json::Value;

/// A MESSAGE.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Its headers.
    pub(crate) headers: Value,
    /// Its body as text.
    pub(crate) text: String,
    /// Its body, if it is JSON.
    pub(crate) body: Value,
}

impl Message {
    /// The place in its conversation.
    pub(crate) fn seq(&self) -> u64 {
        self.body["seq"]
            .as_u64()
            .unwrap_or_else(|| panic!("no seq in {}", self.text))
    }

    /// What was written.
    pub(crate) fn words(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Checks that these are the messages `1..=count` of one conversation, each once and in order.
pub(crate) fn assert_whole(name: &str, messages: &[Message], count: usize) {
    assert_continues(name, messages, 1);
    assert_eq!(messages.len(), count, "{name} has not what was sent");
}

/// Checks that these are messages of one conversation, from `first` on, each once, in order and
/// without a hole.
pub(crate) fn assert_continues(name: &str, messages: &[Message], first: u64) {
    for (message, expected) in messages.iter().zip(first..) {
        let seqs = || messages.iter().map(Message::seq).collect::<Vec<_>>();
        assert_eq!(message.seq(), expected, "{name} has {:?}", seqs());
    }
}
