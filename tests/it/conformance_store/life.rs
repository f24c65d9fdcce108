//! Checks of what becomes of it all: copies, forgetting, expiry.

use std::time::Duration;

use stompbox::model::{RoomId, UnixMillis, UserId};
use stompbox::store::{Append, Found, Head, Keep, NewVisitor, Position, StoredSlot};

use super::{Both, message, pair, visitor};

pub(crate) async fn everybody_gets_his_own_copy(both: &Both) {
    let (a, b) = pair("copy");
    let c: UserId = "copy.c".parse().unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(&a, &b), (&b, &a), (&a, &c), (&a, &a), (&b, &c)] {
        let appended = both[0]
            .append(message(&(from.clone(), to.clone()), "x"))
            .await
            .unwrap();
        expected.push(appended.message);
    }
    expected.pop();
    let all = both[1].export(&a, None, 100, u64::MAX).await.unwrap();
    assert_eq!(all, expected, "oldest first, and nothing of others");
    // Each text has one byte.
    for (bytes_max, messages) in [(1, 1), (2, 2), (3, 3), (100, 4)] {
        let within = both[0].export(&a, None, 100, bytes_max).await.unwrap();
        assert_eq!(within, all[..messages], "{bytes_max}");
    }
    let mut paged = Vec::new();
    while let page = both[0]
        .export(
            &a,
            paged.last().map(|m: &stompbox::model::StoredMessage| m.id),
            3,
            u64::MAX,
        )
        .await
        .unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

pub(crate) async fn an_erased_user_is_forgotten(both: &Both) {
    let gone = visitor("erased.a", 50, "5");
    both[0].create_visitor(gone.clone()).await.unwrap();
    let (a, b) = (gone.user_id.clone(), "erased.b".parse::<UserId>().unwrap());
    for (from, to) in [(&a, &b), (&b, &a), (&a, &a)] {
        both[0]
            .append(message(&(from.clone(), to.clone()), "words"))
            .await
            .unwrap();
    }
    both[1].erase(&a, UnixMillis(0)).await.unwrap();
    both[1].erase(&a, UnixMillis(0)).await.unwrap();
    assert_eq!(both[0].user(&a).await.unwrap(), None);
    assert_eq!(
        both[0]
            .visitor_by_token(gone.token, gone.now)
            .await
            .unwrap(),
        None
    );
    assert!(
        both[0]
            .export(&a, None, 9, u64::MAX)
            .await
            .unwrap()
            .is_empty()
    );
    let heads = both[0]
        .heads(&[a.clone(), b.clone()], Position::START)
        .await
        .unwrap()
        .heads;
    let room = RoomId::direct(&a, &b);
    assert_eq!(
        heads,
        [Head {
            user: b.clone(),
            room,
            seq: 2
        }],
        "the other still has his"
    );
    let range = both[0].range(room, 0, 9, 9).await.unwrap();
    let left: Vec<(&str, &str)> = range
        .messages
        .iter()
        .map(|m| (m.text.as_str(), m.from_name.as_str()))
        .collect();
    assert_eq!(left, [("", ""), ("words", "name")]);
    let own = RoomId::direct(&a, &a);
    assert_eq!(
        both[0].range(own, 0, 9, 9).await.unwrap().through,
        0,
        "nobody was left there"
    );
    // Who writes on finds the conversation as it was; a new one has a new epoch.
    let next = both[0]
        .append(message(&(b.clone(), a.clone()), "x"))
        .await
        .unwrap();
    assert_eq!(
        (next.message.seq, next.message.epoch),
        (3, range.messages[0].epoch)
    );
}

pub(crate) async fn what_visitors_have_stored_is_told_by_when_it_ends(both: &Both) {
    let (a, b) = pair("counted");
    // Far from the times of the other checks, in slots of 100 ms.
    let texts = [("xx", 10_010), ("ä", 10_090), ("xxx", 10_250)];
    for (text, expires_at) in texts {
        let append = Append {
            expires_at: Some(UnixMillis(expires_at)),
            ..message(&(a.clone(), b.clone()), text)
        };
        both[0].append(append).await.unwrap();
    }
    both[0]
        .append(message(&(a.clone(), b.clone()), "kept for ever"))
        .await
        .unwrap();
    let slots = async |slot_ms: u64| {
        let slots = both[1].stored_by_visitors(slot_ms, Duration::from_secs(1));
        slots.await.unwrap()
    };
    let mut found = slots(100).await;
    found.retain(|stored| (100..=102).contains(&stored.slot) && stored.messages > 0);
    // Rows of others may end at the same time.
    found.iter_mut().for_each(|stored| stored.visitors = 0);
    let slot = |slot, messages, bytes| StoredSlot {
        slot,
        messages,
        visitors: 0,
        bytes,
    };
    assert_eq!(found, [slot(100, 2, 4), slot(102, 1, 3)]);
    let visitors = async |slot_ms: u64| -> u64 {
        let found = slots(slot_ms).await;
        found.iter().map(|stored| stored.visitors).sum()
    };
    let before = visitors(100).await;
    for (name, token, is_kept) in [("stored.kept", 190, true), ("stored.unkept", 191, false)] {
        let new = NewVisitor {
            is_kept,
            ..visitor(name, token, "7")
        };
        assert!(both[0].create_visitor(new).await.unwrap());
    }
    assert_eq!(visitors(100).await, before + 1);
}

pub(crate) async fn what_has_expired_goes(both: &Both) {
    let (a, b) = pair("expired");
    let keyed = |n: u64, expires_at: Option<u64>| Append {
        client_id: Some(format!("e{n}").parse().unwrap()),
        expires_at: expires_at.map(UnixMillis),
        ..message(&(a.clone(), b.clone()), "x")
    };
    for n in 1..=5 {
        let expires_at = [None, Some(10), Some(20)][usize::try_from(n).unwrap() % 3];
        both[0].append(keyed(n, expires_at)).await.unwrap();
    }
    // Secrets and visitors of the other checks live long enough for the times used here.
    let short = NewVisitor {
        token_expires_at: UnixMillis(15),
        ..visitor("expired.short", 60, "6")
    };
    let idle = NewVisitor {
        now: UnixMillis(5),
        ..visitor("expired.idle", 61, "6")
    };
    let kept = NewVisitor {
        now: UnixMillis(6),
        ..visitor("expired.kept", 62, "6")
    };
    for visitor in [&short, &idle, &kept] {
        assert!(both[0].create_visitor((*visitor).clone()).await.unwrap());
    }
    both[0]
        .append(message(&(idle.user_id.clone(), a.clone()), "x"))
        .await
        .unwrap();
    both[0]
        .append(message(&(idle.user_id.clone(), idle.user_id.clone()), "x"))
        .await
        .unwrap();

    let room = RoomId::direct(&a, &b);
    assert_eq!(
        both[1].purge(UnixMillis(9), UnixMillis(5)).await.unwrap(),
        0
    );
    // Two messages that end at 10, one secret at 15, one visitor with his secret.
    assert_eq!(
        both[1].purge(UnixMillis(15), UnixMillis(6)).await.unwrap(),
        5
    );
    assert_eq!(
        both[1].purge(UnixMillis(15), UnixMillis(6)).await.unwrap(),
        0
    );
    let range = both[0].range(room, 0, 9, 9).await.unwrap();
    let seqs: Vec<u64> = range.messages.iter().map(|m| m.seq).collect();
    assert_eq!((seqs.as_slice(), range.through), ([2, 3, 5].as_slice(), 5));
    assert!(both[0].user(&short.user_id).await.unwrap().is_some());
    assert!(both[0].user(&idle.user_id).await.unwrap().is_none());
    assert!(both[0].user(&kept.user_id).await.unwrap().is_some());
    assert!(
        both[0]
            .visitor_by_token(idle.token, UnixMillis(5))
            .await
            .unwrap()
            .is_none()
    );
    let theirs = both[0]
        .heads(std::slice::from_ref(&idle.user_id), Position::START)
        .await
        .unwrap();
    assert!(theirs.heads.is_empty());
    // A key goes with its message, and `seq` never goes back.
    let again = both[0].append(keyed(1, None)).await.unwrap();
    assert_eq!((again.duplicate, again.message.seq), (false, 6));
    let known = both[0].append(keyed(2, None)).await.unwrap();
    assert_eq!((known.duplicate, known.message.seq), (true, 2));
}

pub(crate) async fn a_row_that_nothing_depends_on_goes_in_an_hour(both: &Both) {
    const HOUR: u64 = 3_600_000;
    const SEEN: UnixMillis = UnixMillis(1_900_000_000_000);
    let new = |name: &str, token: u8, is_kept: bool| NewVisitor {
        is_kept,
        token_expires_at: UnixMillis(SEEN.0 + 100 * HOUR),
        now: SEEN,
        ..visitor(name, token, "7")
    };
    let (idle, kept, later) = (
        new("unkept.idle", 70, false),
        new("unkept.kept", 71, true),
        new("unkept.later", 72, false),
    );
    for visitor in [&idle, &kept, &later] {
        assert!(both[0].create_visitor(visitor.clone()).await.unwrap());
        let record = both[1].user(&visitor.user_id).await.unwrap().unwrap();
        assert_eq!(record.is_kept, visitor.is_kept);
    }
    let is_there = async |visitor: &NewVisitor| {
        let found = both[0].user(&visitor.user_id).await.unwrap();
        found.is_some()
    };
    let purge = async |minutes: u64| {
        let now = UnixMillis(SEEN.0 + minutes * 60_000);
        both[1].purge(now, UnixMillis(0)).await.unwrap();
    };
    purge(60).await;
    assert!(is_there(&idle).await);
    let keep = Keep::Known(later.user_id.clone());
    both[0].keep_visitor(keep).await.unwrap();
    purge(66).await;
    assert!(!is_there(&idle).await);
    assert!(is_there(&kept).await && is_there(&later).await);
    // A secret of theirs that is used again is as good as one of which nothing was ever stored.
    let found = both[0].visitor(idle.token, Some(&idle.user_id), SEEN);
    assert_eq!(found.await.unwrap(), Found::Nobody);
}
