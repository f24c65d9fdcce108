//! Whatever is asked and in whatever order it is settled: each RECEIPT comes, once, in the order of
//! the requests.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What a client may ask for at any time.
const ASKED: [&str; 8] = [
    "SEND\ndestination:/topic/x\n",
    "SEND\ndestination:/topic/x\ntransaction:",
    "SEND\ndestination:/topic/x\nreply-to:/temp-queue/a\n",
    "ACK\nid:1.1\n",
    "NACK\nid:1.1\ntransaction:",
    "COMMIT\ntransaction:",
    "ABORT\ntransaction:",
    "SUBSCRIBE\ndestination:/queue/x\nid:",
];

proptest! {
    #[test]
    fn receipts_come_once_and_in_order(
        asked in prop::collection::vec((prop::sample::select(&ASKED[..]), any::<bool>()), 1..40),
        settled in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let mut rig = Rig::connected(Version::V1_2);
        let mut settled = settled.into_iter();
        let (mut wanted, mut transactions) = (VecDeque::new(), 0);
        let mut pending: Vec<u64> = Vec::new();
        let mut came = Vec::new();
        rig.receive("BEGIN\ntransaction:0\n\n\0");
        for (number, (text, settles)) in asked.into_iter().enumerate() {
            let receipt = format!("receipt:{number}\n\n\0");
            wanted.push_back(format!("RECEIPT {number}"));
            let end = text.starts_with("COMMIT") || text.starts_with("ABORT");
            let mut out = if text.ends_with("transaction:") {
                rig.receive(&format!("{text}{transactions}\n{receipt}"))
            } else if text.ends_with("id:") {
                rig.receive(&format!("{text}{number}\n{receipt}"))
            } else {
                rig.receive(&format!("{text}{receipt}"))
            };
            if end {
                transactions += 1;
                out.extend(rig.receive(&format!("BEGIN\ntransaction:{transactions}\n\n\0")));
            }
            for line in out {
                match line.strip_prefix("event ") {
                    Some(event) => pending.push(event.split(' ').nth(1).unwrap().parse().unwrap()),
                    None => came.push(line),
                }
            }
            if let Some(index) = settled.next().filter(|_| settles && !pending.is_empty()) {
                let ticket = pending.remove(index.index(pending.len()));
                came.extend(rig.settle(ticket, ok()));
            }
        }
        while let Some(ticket) = pending.pop() {
            came.extend(rig.settle(ticket, ok()));
        }
        prop_assert_eq!(came, Vec::from(wanted));
    }
}
