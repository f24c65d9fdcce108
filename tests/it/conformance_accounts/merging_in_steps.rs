//! A visitor who has written much becomes a part of an account in steps, so that others are not kept waiting.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use stompbox::model::RoomId;
use stompbox::store::accounts::Merged;

use super::merging::{keyed, merge};
use super::{Both, NOW, register, user, visit};

/// More than two steps move by their number, and more than one by their bytes.
const MANY: usize = 2_500;
const LARGE: usize = 90;
/// More than one step moves.
const PEERS: usize = 70;

/// Otherwise a message of anybody waits for so long; half of the steps take less.
const STEP_MAX: Duration = Duration::from_millis(200);

pub(super) async fn much_moves_in_steps_and_in_its_order(both: &Both) {
    let [one, other] = both;
    let v = visit(one.as_ref(), "st.v").await;
    let m = register(one.as_ref(), "st.m").await;
    let peer = user("st.peer");
    let text = |number: usize| match number < MANY {
        true => format!("n{number}"),
        false => format!("n{number}").repeat(16_000 / 5),
    };
    for start in (0..MANY + LARGE).step_by(500) {
        let appends = (start..(start + 500).min(MANY + LARGE)).map(|number| {
            let mut append = keyed(&v, &peer, &format!("n{number}"));
            append.text = text(number);
            one.append(append)
        });
        try_join_all(appends).await.unwrap();
    }
    for number in 0..PEERS {
        let peer = user(&format!("st.peer-{number:03}"));
        one.append(keyed(&v, &peer, "to-each")).await.unwrap();
    }
    let began = Instant::now();
    let done = one.merge(merge("st.v", &m)).await.unwrap();
    let mut took = vec![began.elapsed()];
    assert_eq!(done, Merged::Begun(v.clone()));
    loop {
        let began = Instant::now();
        let left = other.gather(NOW).await.unwrap();
        if left == 0 {
            break;
        }
        took.push(began.elapsed());
        assert!(took.len() < 20, "it does not end");
    }
    eprintln!("the steps took {took:?}");
    assert!(took.len() >= 4, "{took:?}");
    took.sort_unstable();
    assert!(took[took.len() / 2] < STEP_MAX, "{took:?}");
    let room = RoomId::direct(&m, &peer);
    let mut next = 0;
    while next < MANY + LARGE {
        let range = one.range(room, next as u64, u64::MAX, 500).await.unwrap();
        for message in range.messages {
            assert_eq!((message.seq, message.from), (next as u64 + 1, m.clone()));
            assert_eq!(message.text, text(next));
            next += 1;
        }
    }
    for number in 0..PEERS {
        let peer = user(&format!("st.peer-{number:03}"));
        let range = one.range(RoomId::direct(&m, &peer), 0, u64::MAX, 10).await;
        assert_eq!(range.unwrap().messages.len(), 1, "{number}");
        let left = one.range(RoomId::direct(&v, &peer), 0, u64::MAX, 10).await;
        assert!(left.unwrap().messages.is_empty(), "{number}");
    }
    // A key goes along with its message, and the next message continues.
    let again = other.append(keyed(&m, &peer, "n7")).await.unwrap();
    assert_eq!((again.duplicate, again.message.seq), (true, 8));
    let after = other.append(keyed(&m, &peer, "after")).await.unwrap();
    assert_eq!(after.message.seq, (MANY + LARGE) as u64 + 1);
}
