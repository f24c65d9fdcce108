//! A visitor becomes a part of an account: what moves, what stays, what leads where.

use stompbox::model::{ClientId, RoomId, UnixMillis, UserId};
use stompbox::store::accounts::{Admitted, Ban, BanAct, External, Merge, Merged, Subject};
use stompbox::store::{Append, Position, TakeOver};

use super::{Both, LATER, NOW, Whole, hash, register, user, visit};
use crate::conformance_store::message;

pub(super) fn merge(visitor: &str, into: &UserId) -> Merge {
    Merge {
        token: hash(visitor),
        into: into.clone(),
        now: NOW,
    }
}

/// A message with a key that is named like its text, which expires when nobody makes it permanent.
pub(super) fn keyed(from: &UserId, to: &UserId, text: &str) -> Append {
    let mut append = message(&(from.clone(), to.clone()), text);
    append.client_id = Some(text.parse::<ClientId>().unwrap());
    append.expires_at = Some(LATER);
    append
}

async fn write(store: &dyn Whole, from: &UserId, to: &UserId, text: &str) {
    let appended = store.append(keyed(from, to, text)).await.unwrap();
    assert!(!appended.duplicate, "{text}");
}

/// A conversation as `seq from to text`.
pub(super) async fn told(store: &dyn Whole, one: &UserId, other: &UserId) -> Vec<String> {
    let range = store.range(RoomId::direct(one, other), 0, u64::MAX, 1_000);
    let messages = range.await.unwrap().messages;
    let line = |it: &stompbox::model::StoredMessage| {
        format!("{} {} {} {}", it.seq, it.from, it.to, it.text)
    };
    messages.iter().map(line).collect()
}

pub(super) async fn what_a_visitor_has_moves_behind_what_is_there(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "mv.v").await,
        register(one.as_ref(), "mv.m").await,
    );
    let (old, new) = (user("mv.old-peer"), user("mv.new-peer"));
    write(one.as_ref(), &m, &old, "m1").await;
    write(one.as_ref(), &old, &m, "m2").await;
    for (peer, texts) in [(&old, ["v1", "p2", "v3"]), (&new, ["v4", "p5", "v6"])] {
        write(one.as_ref(), &v, peer, texts[0]).await;
        write(one.as_ref(), peer, &v, texts[1]).await;
        write(one.as_ref(), &v, peer, texts[2]).await;
    }
    let before = other
        .heads(std::slice::from_ref(&m), Position::START)
        .await
        .unwrap();
    let done = one.merge(merge("mv.v", &m)).await.unwrap();
    assert_eq!(done, Merged::Done(v.clone()));

    let expected = [
        "1 mv.m mv.old-peer m1",
        "2 mv.old-peer mv.m m2",
        "3 mv.m mv.old-peer v1",
        "4 mv.old-peer mv.m p2",
        "5 mv.m mv.old-peer v3",
    ];
    assert_eq!(told(other.as_ref(), &m, &old).await, expected);
    let expected = [
        "1 mv.m mv.new-peer v4",
        "2 mv.new-peer mv.m p5",
        "3 mv.m mv.new-peer v6",
    ];
    assert_eq!(told(other.as_ref(), &m, &new).await, expected);
    for peer in [&old, &new] {
        assert!(told(other.as_ref(), &v, peer).await.is_empty());
    }
    // Everybody hears of it who asks what has changed, and the next message continues.
    let people = [m.clone(), old.clone(), new.clone(), v.clone()];
    let news = other.heads(&people, before.position).await.unwrap().heads;
    for (peer, seq) in [(&old, 5), (&new, 3)] {
        for member in [&m, peer] {
            let of = |it: &&stompbox::store::Head| {
                it.user == *member && it.room == RoomId::direct(&m, peer)
            };
            assert_eq!(news.iter().find(of).map(|it| it.seq), Some(seq), "{member}");
        }
        let next = other.append(keyed(peer, &m, "next")).await.unwrap();
        assert_eq!(next.message.seq, seq + 1);
    }
    assert!(news.iter().all(|it| it.user != v));
    assert!(other.user(&v).await.unwrap().is_none());
    // What the visitor wrote stays for ever, what was written to him goes when it would have.
    other.purge(LATER, UnixMillis(0)).await.unwrap();
    let expected = ["1 mv.m mv.new-peer v4", "3 mv.m mv.new-peer v6"];
    assert_eq!(told(other.as_ref(), &m, &new).await, expected);
    // It counts that he wrote to them, and they to him.
    let room = RoomId::direct(&m, &new);
    for who in [&m, &new] {
        assert!(
            one.wrote_since(room, who, UnixMillis(1)).await.unwrap(),
            "{who}"
        );
    }
    let export = one.export(&m, None, 100, u64::MAX).await.unwrap();
    assert!(export.iter().any(|it| it.text == "v4"));
}

pub(super) async fn what_was_on_its_way_during_a_merge_follows(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "ms.v").await,
        register(one.as_ref(), "ms.m").await,
    );
    let peer = user("ms.peer");
    write(one.as_ref(), &peer, &v, "before").await;
    one.merge(merge("ms.v", &m)).await.unwrap();
    assert_eq!(one.gather(NOW).await.unwrap(), 0, "nothing has strayed");
    // It was checked before the merge, and is committed after it.
    write(other.as_ref(), &peer, &v, "late").await;
    assert_eq!(other.gather(NOW).await.unwrap(), 1);
    let expected = ["1 ms.peer ms.m before", "2 ms.peer ms.m late"];
    assert_eq!(told(one.as_ref(), &m, &peer).await, expected);
    assert!(told(one.as_ref(), &v, &peer).await.is_empty());
    assert_eq!(one.gather(NOW).await.unwrap(), 0);
}

pub(super) async fn notes_and_talks_with_the_account_become_its_notes(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "own.v").await,
        register(one.as_ref(), "own.m").await,
    );
    write(one.as_ref(), &m, &m, "n0").await;
    write(one.as_ref(), &v, &v, "n1").await;
    write(one.as_ref(), &v, &m, "t2").await;
    write(one.as_ref(), &m, &v, "t3").await;
    assert_eq!(
        other.merge(merge("own.v", &m)).await.unwrap(),
        Merged::Done(v.clone())
    );
    let told_to_himself = told(one.as_ref(), &m, &m).await;
    assert_eq!(told_to_himself.len(), 4);
    assert_eq!(told_to_himself[0], "1 own.m own.m n0");
    for (at, line) in told_to_himself.iter().enumerate() {
        assert!(
            line.starts_with(&format!("{} own.m own.m ", at + 1)),
            "{line}"
        );
    }
    assert!(told(one.as_ref(), &v, &m).await.is_empty());
    assert!(told(one.as_ref(), &v, &v).await.is_empty());
    let heads = one.heads(&[m, v], Position::START).await.unwrap().heads;
    assert_eq!(heads.len(), 1, "{heads:?}");
}

pub(super) async fn what_was_written_before_a_take_over_stays(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "tk.v").await,
        register(one.as_ref(), "tk.m").await,
    );
    let (peer, silent) = (user("tk.peer"), user("tk.silent"));
    write(one.as_ref(), &v, &peer, "before").await;
    write(one.as_ref(), &peer, &v, "before2").await;
    write(one.as_ref(), &v, &silent, "only-before").await;
    let taken = TakeOver {
        user_id: v.clone(),
        taken_at_before: None,
        last_seen_before: NOW,
        token: hash("tk.v-2"),
        token_expires_at: LATER,
        now: UnixMillis(NOW.0 + 10),
    };
    assert!(one.take_over(taken).await.unwrap());
    let mut after = keyed(&v, &peer, "after");
    after.timestamp = UnixMillis(NOW.0 + 20);
    one.append(after).await.unwrap();
    let done = other.merge(merge("tk.v-2", &m)).await.unwrap();
    assert_eq!(done, Merged::Done(v.clone()));
    assert_eq!(
        told(one.as_ref(), &m, &peer).await,
        ["1 tk.m tk.peer after"]
    );
    let stays = ["1 tk.v tk.peer before", "2 tk.peer tk.v before2"];
    assert_eq!(told(one.as_ref(), &v, &peer).await, stays);
    let stays = ["1 tk.v tk.silent only-before"];
    assert_eq!(told(one.as_ref(), &v, &silent).await, stays);
    assert!(told(one.as_ref(), &m, &silent).await.is_empty());
    let room = RoomId::direct(&m, &peer);
    let wrote = one.wrote_since(room, &peer, UnixMillis(1)).await.unwrap();
    assert!(!wrote, "he wrote to whoever had the address before");
    let heads = one.heads(&[v], Position::START).await.unwrap().heads;
    assert!(heads.is_empty(), "nobody is a member by the old address");
}

pub(super) async fn a_key_goes_along_with_its_message(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "key.v").await,
        register(one.as_ref(), "key.m").await,
    );
    let peer = user("key.peer");
    write(one.as_ref(), &v, &peer, "same").await;
    write(one.as_ref(), &v, &peer, "only-v").await;
    write(one.as_ref(), &peer, &v, "same").await;
    write(one.as_ref(), &m, &peer, "same").await;
    // In his talk with the account both have used one key.
    write(one.as_ref(), &v, &m, "both").await;
    write(one.as_ref(), &m, &v, "both").await;
    assert_eq!(
        other.merge(merge("key.v", &m)).await.unwrap(),
        Merged::Done(v)
    );
    for (from, to, text, seq) in [
        (&m, &peer, "only-v", 3),
        (&m, &peer, "same", 1),
        (&peer, &m, "same", 4),
        (&m, &m, "both", 1),
    ] {
        let again = one.append(keyed(from, to, text)).await.unwrap();
        assert!(again.duplicate, "{from} {text}");
        assert_eq!(again.message.seq, seq, "{from} {text}");
    }
    let range = one
        .range(RoomId::direct(&m, &peer), 0, u64::MAX, 10)
        .await
        .unwrap();
    let ids: Vec<_> = range
        .messages
        .iter()
        .map(|it| it.client_id.is_some())
        .collect();
    assert_eq!(
        ids,
        [true, false, true, true],
        "two of one writer never have one key"
    );
}

pub(super) async fn the_longer_ban_counts(both: &Both) {
    let [one, other] = both;
    for (name, his, hers, expected) in [
        ("ban.1", Some(10), Some(20), Some(20)),
        ("ban.2", Some(20), Some(10), Some(20)),
        ("ban.3", None, Some(10), None),
        ("ban.4", Some(10), None, None),
    ] {
        let v = visit(one.as_ref(), &format!("{name}.v")).await;
        let m = register(one.as_ref(), &format!("{name}.m")).await;
        for (who, until) in [(&v, his), (&m, hers)] {
            let ban = Ban {
                subject: Subject::User(who.clone()),
                act: BanAct::Mute,
                until: until.map(|ms| UnixMillis(NOW.0 + ms)),
                reason: format!("{who}"),
                by: "admin".to_owned(),
                created_at: NOW,
            };
            one.put_ban(ban).await.unwrap();
        }
        // One that only the visitor has.
        let only = Ban {
            subject: Subject::User(v.clone()),
            act: BanAct::Ban,
            until: None,
            reason: String::new(),
            by: "admin".to_owned(),
            created_at: NOW,
        };
        one.put_ban(only).await.unwrap();
        other.merge(merge(&format!("{name}.v"), &m)).await.unwrap();
        let bans = one.bans(NOW).await.unwrap();
        let of = |who: &UserId, act: BanAct| {
            let it = bans
                .iter()
                .find(|it| it.subject == Subject::User(who.clone()) && it.act == act);
            it.map(|it| it.until.map(|until| until.0 - NOW.0))
        };
        assert_eq!(of(&m, BanAct::Mute), Some(expected), "{name}");
        assert_eq!(of(&m, BanAct::Ban), Some(None), "{name}");
        assert_eq!((of(&v, BanAct::Mute), of(&v, BanAct::Ban)), (None, None));
        one.lift(Subject::User(m.clone()), BanAct::Mute)
            .await
            .unwrap();
        one.lift(Subject::User(m), BanAct::Ban).await.unwrap();
    }
}

pub(super) async fn addresses_and_secrets_lead_on(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "ali.v").await,
        register(one.as_ref(), "ali.m").await,
    );
    let somebody = register(one.as_ref(), "ali.x").await;
    assert_eq!(one.follow(v.clone()).await.unwrap(), v);
    assert_eq!(one.moved(hash("ali.v")).await.unwrap(), None);
    assert_eq!(
        one.merge(merge("ali.v", &m)).await.unwrap(),
        Merged::Done(v.clone())
    );
    assert_eq!(other.follow(v.clone()).await.unwrap(), m);
    assert_eq!(other.follow(m.clone()).await.unwrap(), m);
    assert_eq!(other.moved(hash("ali.v")).await.unwrap(), Some(m.clone()));
    assert_eq!(
        other.visitor_by_token(hash("ali.v"), NOW).await.unwrap(),
        None
    );
    let again = other.merge(merge("ali.v", &m)).await.unwrap();
    assert_eq!(
        again,
        Merged::Already(v.clone()),
        "it is the same whenever it comes"
    );
    let another = other.merge(merge("ali.v", &somebody)).await.unwrap();
    assert_eq!(another, Merged::NoVisitor);
    // No site may speak for the address that leads to the account.
    let site = External {
        user_id: v.clone(),
        name: "악당".to_owned(),
        now: NOW,
    };
    assert_eq!(one.admit_external(site).await.unwrap(), Admitted::Taken);
    // A second visitor of the same person.
    let second = visit(one.as_ref(), "ali.v2").await;
    assert_eq!(
        other.merge(merge("ali.v2", &m)).await.unwrap(),
        Merged::Done(second.clone())
    );
    for old in [&v, &second] {
        assert_eq!(one.follow(old.clone()).await.unwrap(), m);
    }
    // With the account ends what leads to it.
    one.erase(&m, UnixMillis(0)).await.unwrap();
    assert_eq!(other.follow(v.clone()).await.unwrap(), v);
    assert_eq!(other.moved(hash("ali.v")).await.unwrap(), None);
}

pub(super) async fn only_a_visitor_becomes_a_part_of_somebody(both: &Both) {
    let [one, other] = both;
    let (v, m) = (
        visit(one.as_ref(), "only.v").await,
        register(one.as_ref(), "only.m").await,
    );
    let unknown = other.merge(merge("only.nobody", &m)).await.unwrap();
    assert_eq!(unknown, Merged::NoVisitor);
    let mut late = merge("only.v", &m);
    late.now = LATER;
    assert_eq!(other.merge(late).await.unwrap(), Merged::NoVisitor);
    let guest = visit(one.as_ref(), "only.guest").await;
    for nobody in [user("only.nobody"), guest, v.clone()] {
        let refused = other.merge(merge("only.v", &nobody)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert!(
        one.visitor_by_token(hash("only.v"), NOW)
            .await
            .unwrap()
            .is_some()
    );
    // A site's own user takes a visitor in, too.
    let site = External {
        user_id: user("only.site"),
        name: "사이트".to_owned(),
        now: NOW,
    };
    assert_eq!(one.admit_external(site).await.unwrap(), Admitted::New);
    let done = other.merge(merge("only.v", &user("only.site"))).await;
    assert_eq!(done.unwrap(), Merged::Done(v));
}
