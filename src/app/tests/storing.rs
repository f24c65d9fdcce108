//! What is stored counts to its writer, whether they are still connected or not.

use super::rig::{Client, Rig, Shape, settled};

fn used(rig: &Rig) -> u64 {
    rig.nodes[0].stored().visitors().used()
}

/// A note of the client to themselves.
fn note(client: &Client, number: u32) -> String {
    let user = client.live.principal().user_id.clone();
    let text = "x".repeat(2_000);
    format!(r#"{{"to":"{user}","message":"{text}","client_id":"note-{number}"}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_although_its_writer_leaves_before_the_commit() {
    let rig = Rig::new(Shape::default()).await;
    settled().await;
    assert_eq!(used(&rig), 0);
    let waiting = rig.client(0).await;
    for number in 0..10 {
        let body = note(&waiting, number);
        waiting.send("/app/chat.send", &body).await.unwrap();
    }
    let counted = used(&rig);
    assert!(counted >= 10 * 2_512, "{counted} bytes");

    let gone = rig.client(0).await;
    for number in 0..10 {
        let send = gone.sending("/app/chat.send", &[], &note(&gone, number));
        // Handed to the store, and nobody waits for the commit.
        drop(gone.app.send(&gone.live, send).await);
    }
    gone.leave().await;
    let more = used(&rig) - counted;
    assert!(more >= 10 * 2_512, "{more} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_repetition_does_not_count_again() {
    let rig = Rig::new(Shape::default()).await;
    let client = rig.client(0).await;
    let body = note(&client, 1);
    client.send("/app/chat.send", &body).await.unwrap();
    let counted = used(&rig);
    for _ in 0..5 {
        client.send("/app/chat.send", &body).await.unwrap();
    }
    settled().await;
    assert_eq!(used(&rig), counted);
}
