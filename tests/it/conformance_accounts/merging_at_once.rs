//! Merges that meet each other, and what is written meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use stompbox::model::{Holder, RoomId, UserId};
use stompbox::store::StoreError;
use stompbox::store::accounts::Merged;

use super::merging::{keyed, merge, told};
use super::{Both, Whole, register, user, visit};
use crate::conformance_store::complete;

pub(super) async fn one_merge_comes_twice_at_once(both: &Both) {
    for round in 0..5 {
        let name = format!("dup.{round}");
        let (v, m) = (
            visit(both[0].as_ref(), &format!("{name}.v")).await,
            register(both[0].as_ref(), &format!("{name}.m")).await,
        );
        let peer = user(&format!("{name}.peer"));
        both[0].append(keyed(&v, &peer, "once")).await.unwrap();
        let wanted = merge(v.as_str(), &m);
        let (first, second) = tokio::join!(both[0].merge(wanted.clone()), both[1].merge(wanted));
        let mut ends = [first.unwrap(), second.unwrap()];
        ends.sort_by_key(|end| !matches!(end, Merged::Done(_)));
        assert_eq!(ends, [Merged::Done(v.clone()), Merged::Already(v)]);
        assert_eq!(told(both[0].as_ref(), &m, &peer).await.len(), 1);
    }
}

pub(super) async fn two_who_wrote_to_each_other_become_one(both: &Both) {
    let [one, other] = both;
    let (a, b) = (
        visit(one.as_ref(), "each.a").await,
        visit(one.as_ref(), "each.b").await,
    );
    let m = register(one.as_ref(), "each.m").await;
    one.append(keyed(&a, &b, "from-a")).await.unwrap();
    one.append(keyed(&b, &a, "from-b")).await.unwrap();
    let (first, second) = tokio::join!(
        one.merge(merge("each.a", &m)),
        other.merge(merge("each.b", &m))
    );
    assert_eq!(first.unwrap(), Merged::Done(a.clone()));
    assert_eq!(second.unwrap(), Merged::Done(b.clone()));
    let expected = ["1 each.m each.m from-a", "2 each.m each.m from-b"];
    assert_eq!(told(one.as_ref(), &m, &m).await, expected);
    for old in [a, b] {
        assert_eq!(one.follow(old).await.unwrap(), m);
    }
    // Two who become parts of two, and wrote to each other: the locks are taken crosswise.
    for round in 0..5 {
        let name = |who: &str| format!("cross.{round}.{who}");
        let (a, b) = (
            visit(one.as_ref(), &name("a")).await,
            visit(one.as_ref(), &name("b")).await,
        );
        let (m, n) = (
            register(one.as_ref(), &name("m")).await,
            register(one.as_ref(), &name("n")).await,
        );
        one.append(keyed(&a, &b, "from-a")).await.unwrap();
        one.append(keyed(&b, &a, "from-b")).await.unwrap();
        let (first, second) = tokio::join!(
            one.merge(merge(a.as_str(), &m)),
            other.merge(merge(b.as_str(), &n))
        );
        assert_eq!(first.unwrap(), Merged::Done(a));
        assert_eq!(second.unwrap(), Merged::Done(b));
        let told: Vec<_> = told(one.as_ref(), &m, &n).await;
        assert_eq!(
            told,
            [format!("1 {m} {n} from-a"), format!("2 {n} {m} from-b")]
        );
    }
}

/// A visitor and a peer write while the visitor becomes a part of the account, which writes too.
pub(super) async fn nothing_is_lost_that_is_written_meanwhile(both: &Both) {
    for round in 0..5 {
        let name = |who: &str| format!("race-merge.{round}.{who}");
        let v = visit(both[0].as_ref(), &name("v")).await;
        let m = register(both[0].as_ref(), &name("m")).await;
        let peer = register(both[0].as_ref(), &name("peer")).await;
        for number in 0..20 {
            let append = keyed(&v, &peer, &format!("v-before-{number}"));
            both[0].append(append).await.unwrap();
        }
        let wanted = merge(v.as_str(), &m);
        let (visitors, peers, accounts, merged) = tokio::join!(
            write(&both[0], (&v, &peer), true),
            write(&both[1], (&peer, &v), true),
            write(&both[1], (&m, &peer), false),
            both[0].merge(wanted)
        );
        assert_eq!(merged.unwrap(), Merged::Done(v.clone()));
        assert_eq!(accounts.len(), 40, "who has an account is not disturbed");
        let room = RoomId::direct(&m, &peer);
        let head = complete(both[1].as_ref(), room).await;
        let range = both[1].range(room, 0, head, 1_000).await.unwrap();
        let found: BTreeSet<_> = range.messages.iter().map(|it| it.text.clone()).collect();
        for text in visitors.iter().chain(&peers).chain(&accounts) {
            assert!(found.contains(text), "{text} was committed and is gone");
        }
        assert_eq!(found.len(), 20 + visitors.len() + peers.len() + 40);
        assert!(told(both[0].as_ref(), &v, &peer).await.is_empty());
    }
}

/// Writes forty messages; yields the texts of those that were committed.
async fn write(
    store: &Arc<dyn Whole>,
    (from, to): (&UserId, &UserId),
    is_held: bool,
) -> Vec<String> {
    let mut committed = Vec::new();
    let holder = is_held.then_some(Holder { taken_at: None });
    for number in 0..40 {
        let text = format!("{from}-{number}").replace('.', "-");
        let mut append = keyed(from, to, &text);
        // Whoever writes for or to a visitor asks whether he is still there.
        if from.as_str().ends_with(".v") {
            append.from_holder = holder;
        } else {
            append.to_holder = holder;
        }
        match store.append(append).await {
            Ok(_) => committed.push(text),
            Err(StoreError::ChangedHands(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    committed
}
