//! Turns with time that is advanced: nobody is served but by a batch.

use std::sync::atomic::AtomicU16;

use futures_util::poll;

use super::batch::BATCH_MAX;
use super::*;

fn at(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn network(last: u8) -> Network {
    Network::of(at(last))
}

/// Turns of a node that has no time for anybody.
fn busy_node() -> Arc<Turns> {
    let turns = Turns::new();
    turns.lock().free = 0;
    turns
}

/// Whether the place has its turn now.
async fn has_turn(place: &mut Place) -> bool {
    let mut turn = std::pin::pin!(place.turn());
    poll!(&mut turn) == Poll::Ready(Ok(()))
}

#[tokio::test(start_paused = true)]
async fn a_connect_waits_at_most_a_batch_behind_the_herd_of_another_network() {
    let turns = busy_node();
    let herd: Vec<_> = (0..1_000).map(|_| turns.connect(network(1))).collect();
    let lost: Vec<_> = (0..1_000)
        .map(|_| turns.place(network(1), Step::Leave))
        .collect();
    let mut other = turns.connect(network(2)).unwrap();
    assert!(!has_turn(&mut other).await);
    let _batch = turns.let_go(BATCH_MIN).unwrap();
    assert!(has_turn(&mut other).await);
    drop((herd, lost));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_cut_off_does_not_delay_arrivals_of_another() {
    let turns = busy_node();
    let _lost: Vec<_> = (0..1_000)
        .map(|_| turns.place(network(1), Step::Leave))
        .collect();
    let mut own = Box::pin(turns.arrive(at(1)));
    let mut other = Box::pin(turns.arrive(at(2)));
    assert!(poll!(&mut own).is_pending() && poll!(&mut other).is_pending());
    let _batch = turns.let_go(2).unwrap();
    assert_eq!(poll!(&mut other), Poll::Ready(Ok(())));
    assert!(poll!(&mut own).is_pending(), "behind its own old sessions");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_while_there_is_time_for_all() {
    let turns = Turns::new();
    let shutdown = CancellationToken::new();
    let giving = turns.give(&shutdown);
    let began = Instant::now();
    let all = async {
        for _ in 0..1_000 {
            turns.arrive(at(1)).await.unwrap();
        }
    };
    tokio::select! {
        () = giving => unreachable!("it is not told to end"),
        () = all => assert_eq!(began.elapsed(), Duration::ZERO),
    }
}

#[tokio::test(start_paused = true)]
async fn arrivals_and_connects_that_wait_too_long_are_told_to_come_again() {
    let turns = busy_node();
    let began = Instant::now();
    let mut connect = turns.connect(network(1)).unwrap();
    assert_eq!(turns.arrive(at(1)).await, Err(Busy));
    assert_eq!(connect.turn().await, Err(Busy));
    assert_eq!(began.elapsed(), WAIT_MAX);
    drop(connect);
    assert!(turns.let_go(BATCH_MIN).is_none(), "nobody is left");
}

#[tokio::test(start_paused = true)]
async fn subscribes_and_lost_connections_keep_their_order_however_long_they_wait() {
    let turns = busy_node();
    let mut places: Vec<_> = (0..300).filter_map(|_| turns.read(network(1))).collect();
    let mut lost: Vec<_> = (0..300)
        .map(|_| Box::pin(turns.leave(network(2))))
        .collect();
    for one in &mut lost {
        assert!(poll!(one).is_pending());
    }
    tokio::time::advance(WAIT_MAX * 10).await;
    let (mut served, mut gone) = (0, 0);
    for _ in 0..600 / BATCH_MAX {
        let _batch = turns.let_go(BATCH_MAX).unwrap();
        while served < places.len() && has_turn(&mut places[served]).await {
            served += 1;
        }
        while gone < lost.len() && poll!(&mut lost[gone]).is_ready() {
            gone += 1;
        }
        assert_eq!(
            served + gone,
            (served + gone) / BATCH_MAX * BATCH_MAX,
            "a batch at a time"
        );
    }
    assert_eq!(served, gone);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_lets_open_sessions_go_on_and_sends_arrivals_away() {
    let turns = busy_node();
    let mut connect = turns.connect(network(1)).unwrap();
    let mut subscribe = turns.read(network(1)).unwrap();
    let (arrival, left, ()) = tokio::join!(turns.arrive(at(1)), turns.leave(network(1)), async {
        turns.close()
    });
    assert_eq!((arrival, left), (Err(Busy), ()));
    assert_eq!(connect.turn().await, Ok(()));
    assert_eq!(subscribe.turn().await, Ok(()));
    assert_eq!(turns.arrive(at(1)).await, Err(Busy));
    assert!(turns.may_go_on() && turns.connect(network(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_messages_reach_many_waits_for_its_turn_behind_other_networks() {
    let (turns, made) = (busy_node(), AtomicU16::new(0));
    let deliveries = Deliveries::new(&turns, network(1), &made);
    // Messages that reach few wait for nothing until they are many.
    for _ in 0..PIECE / 2 - 1 {
        assert!(poll!(Box::pin(deliveries.made(2))).is_ready());
    }
    assert_eq!(deliveries.room(), 2);
    let mut sender = Box::pin(deliveries.made(2));
    assert!(poll!(&mut sender).is_pending());
    let mut other = turns.connect(network(2)).unwrap();
    let mut own = turns.connect(network(1)).unwrap();
    let _batch = turns.let_go(2).unwrap();
    assert!(has_turn(&mut other).await);
    assert!(poll!(&mut sender).is_pending() && has_turn(&mut own).await);
    assert_eq!(deliveries.room(), PIECE);
    let _batch = turns.let_go(1).unwrap();
    assert!(poll!(&mut sender).is_ready());
}
