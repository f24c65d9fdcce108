//! What a [`Device`] does with messages that it has to acknowledge, and in transactions.

use serde_json::json;

use super::stompjs::Device;

impl Device {
    /// Subscribes with acknowledgement (`client` or `client-individual`) and a prefetch of 100.
    pub(crate) async fn work(&self, destination: &str, ack: &str) {
        let headers = json!({"ack": ack, "prefetch-count": "100"});
        let asked = json!({"do": "subscribe", "destination": destination, "headers": headers});
        self.ask_within(asked, "the RECEIPT of SUBSCRIBE").await;
    }

    /// Acknowledges (`ack`) or refuses (`nack`) the message of this place on a subscription, and
    /// waits for the RECEIPT.
    pub(crate) async fn settle(&self, verb: &str, destination: &str, place: usize) {
        self.settle_in(verb, destination, place, None).await;
    }

    /// The same in a transaction.
    pub(crate) async fn settle_in(
        &self,
        verb: &str,
        destination: &str,
        place: usize,
        transaction: Option<&str>,
    ) {
        let headers = transaction.map_or(json!({}), |name| json!({"transaction": name}));
        let asked = json!({
            "do": "settle", "verb": verb, "destination": destination, "place": place,
            "headers": headers,
        });
        self.ask_within(asked, "the RECEIPT of ACK or NACK").await;
    }

    /// `begin`, `commit` or `abort`. STOMP.js asks for no RECEIPT of them.
    pub(crate) async fn transaction(&self, verb: &str, name: &str) {
        let asked = json!({"do": "transaction", "verb": verb, "name": name});
        self.ask_within(asked, verb).await;
    }

    /// Drops the connection without a word.
    pub(crate) async fn vanish(&self) {
        self.ask_within(json!({"do": "vanish"}), "the end").await;
    }
}
