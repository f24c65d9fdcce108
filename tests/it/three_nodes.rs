//! Three nodes that write into one conversation at once, on real servers and with the real STOMP.js.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::cluster::Cluster;
use crate::support::stompjs::{
    Device, MESSAGES, Message, PATIENCE, StompJs, assert_continues, assert_whole,
};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(700);

/// Somebody who subscribes while others write gets everything that is committed after his RECEIPT.
#[tokio::test]
async fn three_nodes_write_to_the_same_pair_at_once_and_every_device_has_it_in_order() {
    let cluster = Cluster::start().await;
    let names = ["a", "b", "c"];
    let nodes = futures_util::future::join_all(names.map(|name| cluster.node(name))).await;
    let js = StompJs::start();
    let mut devices: [Vec<Device>; 2] = [Vec::new(), Vec::new()];
    for (person, own) in ["alice", "bob"].iter().zip(&mut devices) {
        for node in &nodes {
            let name = format!("{person} {}", node.address());
            let device = match own.first() {
                None => js.visitor(&name, &node.websocket()).await,
                Some(first) => js.device_of(&name, first, &node.websocket()).await,
            };
            device.listen().await;
            own.push(device);
        }
    }
    let [alice, bob] = &devices;
    // Both write from all three nodes: six writers into one conversation.
    let (to_bob, to_alice) = (bob[0].user(), alice[0].user());
    let bursts = (0..3).flat_map(|n| {
        let names = [["a0", "a1", "a2"][n], ["b0", "b1", "b2"][n]];
        [
            alice[n].burst(to_bob, names[0], 250, 32),
            bob[n].burst(to_alice, names[1], 250, 32),
        ]
    });
    let late = async {
        sleep(Duration::from_millis(300)).await;
        bob[2].unsubscribe(MESSAGES).await;
        let before = bob[2]
            .look(MESSAGES, usize::MAX, Duration::ZERO)
            .await
            .len();
        bob[2].subscribe(MESSAGES).await;
        before
    };
    let (receipts, before) = tokio::join!(futures_util::future::join_all(bursts), late);
    // On a fast machine the writers may be done before the late SUBSCRIBE is settled, and then it is
    // owed nothing of theirs. This one comes after its RECEIPT, whatever the machine.
    alice[0].say(to_bob, "after all").await;
    let mut seqs: Vec<u64> = receipts.iter().flatten().copied().collect();
    for own in &receipts {
        assert!(own.is_sorted(), "one writer's messages keep his order");
    }
    seqs.sort_unstable();
    assert_eq!(
        seqs,
        (1..=1_500).collect::<Vec<_>>(),
        "every place is given once"
    );
    for device in devices
        .iter()
        .flatten()
        .filter(|device| device.name() != bob[2].name())
    {
        device.messages(1_501).await;
        assert_whole(
            device.name(),
            &device.look(MESSAGES, 1_502, MOMENT).await,
            1_501,
        );
    }
    let all = until_last(&bob[2], 1_501).await;
    assert_continues("bob 2, before", &all[..before], 1);
    let resumed = &all[before..];
    if let Some(first) = resumed.first() {
        assert!(
            first.seq() > before as u64,
            "nothing of the old subscription comes again"
        );
        assert_continues("bob 2, after", resumed, first.seq());
    }
}

/// The messages once the one with this `seq` is there, and a moment later.
async fn until_last(device: &Device, last: u64) -> Vec<Message> {
    let began = Instant::now();
    loop {
        let all = device
            .look(MESSAGES, usize::MAX, Duration::from_millis(50))
            .await;
        if all.last().is_some_and(|message| message.seq() >= last) {
            sleep(MOMENT).await;
            return device.look(MESSAGES, usize::MAX, Duration::ZERO).await;
        }
        let found = all.last().map(|message| message.seq());
        assert!(
            began.elapsed() < PATIENCE,
            "{}: {found:?} of {last}",
            device.name()
        );
    }
}
