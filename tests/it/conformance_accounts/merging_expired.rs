//! A merge moves nothing that has expired: the account would keep it.

use stompbox::model::UnixMillis;
use stompbox::model::UserId;
use stompbox::store::accounts::{Merge, Merged};

use super::merging::{keyed, merge, told};
use super::{Both, NOW, register, user, visit};

pub(super) async fn what_has_expired_before_a_merge_goes(both: &Both) {
    let [one, other] = both;
    let v = visit(one.as_ref(), "me.v").await;
    let m = register(one.as_ref(), "me.m").await;
    let (peer, silent) = (user("me.peer"), user("me.silent"));
    let merged_at = UnixMillis(NOW.0 + 20);
    // Removed by no purge until the merge.
    let expired = |to: &UserId, text: &str| {
        let mut append = keyed(&v, to, text);
        append.expires_at = Some(UnixMillis(NOW.0 + 10));
        append
    };
    one.append(keyed(&m, &peer, "m1")).await.unwrap();
    one.append(expired(&peer, "gone1")).await.unwrap();
    one.append(keyed(&v, &peer, "v2")).await.unwrap();
    one.append(expired(&peer, "gone3")).await.unwrap();
    one.append(keyed(&peer, &v, "p4")).await.unwrap();
    one.append(expired(&silent, "gone5")).await.unwrap();
    let merge = Merge {
        now: merged_at,
        ..merge("me.v", &m)
    };
    assert_eq!(one.merge(merge).await.unwrap(), Merged::Done(v.clone()));
    let expected = [
        "1 me.m me.peer m1",
        "2 me.m me.peer v2",
        "3 me.peer me.m p4",
    ];
    assert_eq!(told(other.as_ref(), &m, &peer).await, expected);
    assert!(told(other.as_ref(), &m, &silent).await.is_empty());
    for peer in [&peer, &silent] {
        assert!(told(other.as_ref(), &v, peer).await.is_empty());
    }
    // Its key is free again, and the next message continues.
    let again = other.append(keyed(&m, &peer, "gone1")).await.unwrap();
    assert_eq!((again.duplicate, again.message.seq), (false, 4));
}
