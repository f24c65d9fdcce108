//! SIGTERM in the middle of the work: what was receipted is kept, everybody is told to come back,
//! and the next life goes on where this one ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, Received};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

/// How many the writer sends, and after how many RECEIPTs the signal comes.
const MESSAGES: usize = 2_000;
const SIGNAL_AFTER: usize = 300;

fn send(to: &str, number: usize) -> String {
    let body = json!({"to": to, "message": format!("{number}"), "client_id": format!("c{number}")});
    format!("SEND\ndestination:/app/chat.send\nreceipt:c{number}\n\n{body}\0")
}

/// What a client read until its end: the RECEIPTs with their `seq`, the messages' `seq`, the close.
#[derive(Debug, Default)]
struct Read {
    receipts: BTreeMap<String, u64>,
    seqs: Vec<u64>,
    close: u16,
}

async fn read_to_the_end(client: &mut Client, mut on_receipt: impl FnMut(usize)) -> Read {
    let mut read = Read::default();
    loop {
        match client.next().await {
            Received::Frame(frame) if frame.command == "RECEIPT" => {
                let seq = frame.header("seq").parse().unwrap();
                read.receipts.insert(frame.receipt().to_owned(), seq);
                on_receipt(read.receipts.len());
            }
            Received::Frame(frame) => read.seqs.push(frame.json()["seq"].as_u64().unwrap()),
            Received::Closed(code, _) => {
                read.close = code;
                return read;
            }
            Received::Gone => return read,
        }
    }
}

#[tokio::test]
async fn what_was_receipted_before_sigterm_is_kept_and_the_next_life_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_in("first life", folder.path(), &HIGH_LIMITS).await;
    let mut writer = Client::connect(node.address()).await;
    let mut reader = Client::connect(node.address()).await;
    reader.subscribe("/user/queue/messages").await;
    let (bob, secret) = (reader.user().to_owned(), writer.secret().to_owned());
    // All at once: the node has its hands full when the signal comes.
    for hundred in 0..MESSAGES / 100 {
        let frames: String = (0..100).map(|n| send(&bob, hundred * 100 + n)).collect();
        writer.send(&frames).await;
    }
    let signal = |count: usize| {
        if count == SIGNAL_AFTER {
            node.signal("TERM");
        }
    };
    let (written, got) = tokio::join!(
        read_to_the_end(&mut writer, signal),
        read_to_the_end(&mut reader, |_| {}),
    );
    let ended = node.wait().await;
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
    assert_eq!(
        (written.close, got.close),
        (1012, 1012),
        "both are told to come back"
    );
    assert!(written.receipts.len() >= SIGNAL_AFTER);
    let in_order: Vec<u64> = (1..=got.seqs.len() as u64).collect();
    assert_eq!(
        got.seqs, in_order,
        "the reader has a beginning without holes"
    );

    let node = Node::start_in("second life", folder.path(), &HIGH_LIMITS).await;
    let mut writer = Client::connect_with(node.address(), &Default::default(), &secret).await;
    let mut last = got.seqs.len() as u64;
    for (receipt, seq) in &written.receipts {
        // The same client_id is the same message, if that is there.
        let number = receipt[1..].parse().unwrap();
        writer.send(&send(&bob, number)).await;
        let again = writer.frame().await;
        assert_eq!(again.receipt(), receipt);
        assert_eq!(
            again.header("duplicate"),
            "true",
            "{receipt} was receipted and is gone"
        );
        assert_eq!(again.header("seq"), seq.to_string());
        last = last.max(*seq);
    }
    writer.send(&send(&bob, 1_000_000)).await;
    let next: u64 = writer.frame().await.header("seq").parse().unwrap();
    assert!(next > last, "seq goes on after {last}, not with {next}");
    assert!(next <= MESSAGES as u64 + 1, "{next} leaves a hole");
}
