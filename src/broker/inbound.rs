//! What other nodes publish to this one.
//!
//! Not here: where it is published (`router`). Invariant: whatever comes, the loop goes on; a
//! batch that cannot be read is counted and left to repair, and is never published again; nothing here waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Broker, Reviews, lock};
use crate::bus::Incoming;
use crate::hub::Delivery;
use crate::hub::trace::Step;
use crate::model::{Envelope, NodeId, Parcel, ParcelBody};

impl Broker {
    pub(super) async fn inbound_loop(self: Arc<Self>, mut incoming: mpsc::Receiver<Incoming>) {
        while let Some(incoming) = incoming.recv().await {
            match incoming {
                Incoming::Payload(payload) => self.receive(payload),
                Incoming::Interrupted => {
                    self.repair();
                    self.notices.want(Reviews::everybody());
                }
            }
        }
    }

    fn receive(self: &Arc<Self>, payload: Bytes) {
        let parcel = match Parcel::decode(payload) {
            Ok(parcel) => parcel,
            Err(error) => {
                metrics::counter!("broker_parcels_refused_total").increment(1);
                tracing::warn!(%error, "a parcel could not be read; what was in it is repaired");
                self.repair();
                return;
            }
        };
        // What this node tells everybody comes back to it as well. Another life of it is another
        // sender.
        if parcel.sender == self.here && parcel.incarnation == self.incarnation {
            return;
        }
        let number = parcel
            .flows
            .iter()
            .find(|(node, _)| *node == self.here)
            .map(|(_, n)| *n);
        let sender = (&parcel.sender, parcel.incarnation);
        let now = Instant::now().into_std();
        match parcel.body {
            ParcelBody::Heads => {
                let gap = lock(&self.flows_in).head(now, sender, number.unwrap_or(0));
                if gap && self.settings.rules.flow_heads {
                    self.repair();
                    self.notices.want(Reviews::everybody());
                }
            }
            ParcelBody::Envelopes(envelopes) => {
                let numbered = number.map(|n| lock(&self.flows_in).parcel(now, sender, n));
                // A topic would be delivered twice; a conversation would notice by itself.
                if !numbered.is_some_and(|numbered| numbered.repetition) {
                    for envelope in envelopes {
                        self.accept(envelope, &parcel.sender);
                    }
                }
                if numbered.is_some_and(|numbered| numbered.gap)
                    && self.settings.rules.repair_on_gap
                {
                    self.repair();
                    self.notices.want(Reviews::everybody());
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, envelope: Envelope, sender: &NodeId) {
        match envelope {
            Envelope::Message(message) => {
                let received = Step::Received(sender.clone());
                self.hub.trace.note(message.id, received);
                self.offer(&Delivery::new(message));
            }
            Envelope::Topic(topic) => self.deliver_remote(topic),
            Envelope::Control(control) => self.obey(&control),
        }
    }
}
