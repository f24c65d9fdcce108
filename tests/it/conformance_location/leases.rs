//! Rules about leases, peers and what the cluster remembers beside registrations.

use std::sync::Arc;
use std::time::Duration;

use stompbox::location::{Peer, PeerState, Renewal, StoreClaim};
use stompbox::model::{
    ClientIdentifier, Incarnation, NamedNetworks, Standing, UnixMillis, Unkept, Width,
};

use super::rig::{Engine, Rig, SHORT, VISITS, session, sessions, topic, user, wanted};

on_every_engine! {
    entries_without_a_lease_of_the_same_life_do_not_count
    a_renewal_only_extends
    a_claim_takes_the_lease_from_an_older_life
    a_released_lease_is_gone_and_only_its_own_life_releases_it
    peers_are_the_live_nodes_with_their_states
    the_first_store_has_the_cluster
    after_a_flush_a_claim_and_a_registration_restore_everything
    a_visitor_stands_under_the_last_fingerprint_only
    a_visitor_without_a_row_is_remembered_for_an_hour
    a_network_forgets_its_own_visitors_and_nobody_elses
}

/// One IPv4 address.
fn address(number: u8) -> NamedNetworks {
    let name = ClientIdentifier::from_mac(&[number; 32]);
    NamedNetworks {
        levels: [(name, Width::Address)].into_iter().collect(),
        multiple: 1,
    }
}

/// One /64 of an IPv6 /48 with many.
fn net64(number: u16) -> NamedNetworks {
    let [high, low] = number.to_be_bytes();
    let name = |kind: u8, high, low| {
        let mut mac = [kind; 32];
        (mac[0], mac[1]) = (high, low);
        ClientIdentifier::from_mac(&mac)
    };
    let levels = [
        (name(64, high, low), Width::Net64),
        (name(56, 0, low % 8), Width::Net56),
        (name(48, 0, 0), Width::Net48),
    ];
    NamedNetworks {
        levels: levels.into_iter().collect(),
        multiple: 1,
    }
}

async fn entries_without_a_lease_of_the_same_life_do_not_count(rig: Rig) {
    let rig = rig.with_short_leases();
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (bob, news) = (user("bob"), topic("news"));
    a.attach(&[session(&bob, 1)]).await.unwrap();
    b.attach(&[session(&bob, 2)]).await.unwrap();
    a.want(&[(news.clone(), 1)]).await.unwrap();
    b.want(&[(news.clone(), 1)]).await.unwrap();
    rig.end_lease("b");
    assert_eq!(sessions(&*a, &bob).await, [1]);
    assert_eq!(wanted(&*a, &news).await, ["a"]);
    // Time ends a lease as well, unless it is renewed.
    rig.pass(SHORT / 2).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
    rig.pass(SHORT * 5 / 8).await;
    assert_eq!(sessions(&*a, &bob).await, [1]);
    rig.pass(SHORT).await;
    assert!(sessions(&*a, &bob).await.is_empty());
    assert!(wanted(&*a, &news).await.is_empty());
}

async fn a_renewal_only_extends(rig: Rig) {
    let rig = rig.with_short_leases();
    let a = rig.life("a", 1).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert!(a.peers().await.unwrap().is_empty());
    a.claim().await.unwrap();
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
    rig.pass(SHORT + Duration::from_millis(50)).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert!(a.peers().await.unwrap().is_empty());
}

async fn a_claim_takes_the_lease_from_an_older_life(rig: Rig) {
    let rig = rig.with_short_leases();
    let old = rig.node("a", 1).await;
    let young = rig.node("a", 2).await;
    let foreign = Renewal::Foreign(Incarnation(2));
    assert_eq!(old.renew().await.unwrap(), foreign);
    assert_eq!(young.renew().await.unwrap(), Renewal::Extended);
    old.drain().await.unwrap();
    let peers = young.peers().await.unwrap();
    assert_eq!(peers[0].state, PeerState::Up);
    // A renewal of the older life must not have made the lease longer.
    rig.pass(SHORT * 5 / 8).await;
    assert_eq!(old.renew().await.unwrap(), foreign);
    rig.pass(SHORT / 2).await;
    assert_eq!(young.renew().await.unwrap(), Renewal::Missing);
}

async fn a_released_lease_is_gone_and_only_its_own_life_releases_it(rig: Rig) {
    let old = rig.node("a", 1).await;
    let young = rig.node("a", 2).await;
    old.release().await.unwrap();
    assert_eq!(young.renew().await.unwrap(), Renewal::Extended);
    young.release().await.unwrap();
    assert_eq!(young.renew().await.unwrap(), Renewal::Missing);
    assert!(young.peers().await.unwrap().is_empty());
}

async fn peers_are_the_live_nodes_with_their_states(rig: Rig) {
    let rig = rig.with_short_leases();
    let b = rig.node("b", 2).await;
    let a = rig.node("a", 1).await;
    let _c = rig.node("c", 3).await;
    b.drain().await.unwrap();
    rig.end_lease("c");
    let peer = |name: &str, life, state| Peer {
        node: name.parse().unwrap(),
        incarnation: Incarnation(life),
        state,
    };
    let expected = vec![
        peer("a", 1, PeerState::Up),
        peer("b", 2, PeerState::Draining),
    ];
    assert_eq!(a.peers().await.unwrap(), expected);
    // A draining node renews its lease and goes on draining, and what is there still counts.
    assert_eq!(b.renew().await.unwrap(), Renewal::Extended);
    assert_eq!(a.peers().await.unwrap(), expected);
    let bob = user("bob");
    b.attach(&[session(&bob, 1)]).await.unwrap();
    assert_eq!(sessions(&*a, &bob).await, [1]);
    rig.pass(SHORT + Duration::from_millis(50)).await;
    assert!(a.peers().await.unwrap().is_empty());
}

async fn the_first_store_has_the_cluster(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    assert_eq!(a.claim_store("one").await.unwrap(), StoreClaim::Same);
    assert_eq!(b.claim_store("one").await.unwrap(), StoreClaim::Same);
    let other = StoreClaim::Other("one".to_owned());
    assert_eq!(b.claim_store("two").await.unwrap(), other);
    assert_eq!(a.claim_store("one").await.unwrap(), StoreClaim::Same);
}

async fn a_visitor_without_a_row_is_remembered_for_an_hour(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    let here = ClientIdentifier::from_mac(&[1; 32]);
    let other = ClientIdentifier::from_mac(&[2; 32]);
    let visitor = |standing, seen| {
        Arc::new(Unkept {
            made_at: UnixMillis(1_800_000_000_000),
            standing,
            name: "손님 a|b%".into(),
            client_identifier: here.clone(),
            last_seen: UnixMillis(seen),
        })
    };
    let loose = |seen| visitor(Standing::Loose { taken_at: None }, seen);
    let [one, two, three] = ["one", "two", "three"].map(user);
    assert_eq!(b.introduced(&one).await.unwrap(), None);
    assert!(b.loose(&here).await.unwrap().is_empty());
    let taken_at = Some(UnixMillis(7));
    for standing in [Standing::FIRM, Standing::Firm { taken_at }] {
        a.introduce(&one, &visitor(standing, 1), &address(1))
            .await
            .unwrap();
        let noted = b.introduced(&one).await.unwrap();
        assert_eq!(noted, Some(visitor(standing, 1)));
        assert!(b.loose(&here).await.unwrap().is_empty(), "a firm one");
    }
    let taken = visitor(Standing::Loose { taken_at }, 5);
    for (user, visitor) in [
        (&one, loose(2)),
        (&two, loose(3)),
        (&one, loose(4)),
        (&three, taken.clone()),
    ] {
        a.introduce(user, &visitor, &address(1)).await.unwrap();
    }
    let noted = [(one.clone(), loose(4)), (three.clone(), taken)];
    assert_eq!(b.loose(&here).await.unwrap(), noted, "the last two");
    assert!(b.loose(&other).await.unwrap().is_empty());
    // Whoever registers a session introduces its visitor again.
    let mut entry = session(&two, 2);
    entry.1.visitor = Some(loose(6));
    a.attach(&[entry]).await.unwrap();
    match &rig.engine {
        Engine::Memory(_) => {
            rig.pass(Duration::from_secs(3_599)).await;
            assert_eq!(b.loose(&here).await.unwrap(), noted);
            a.claim().await.unwrap();
            rig.pass(Duration::from_secs(2)).await;
            assert!(b.loose(&here).await.unwrap().is_empty());
            assert_eq!(b.introduced(&one).await.unwrap(), None);
            assert_eq!(
                b.introduced(&two).await.unwrap(),
                Some(loose(6)),
                "connected"
            );
        }
        Engine::Redis(redis) => {
            assert_eq!(b.introduced(&two).await.unwrap(), Some(loose(6)));
            for key in [
                format!("ident:{here}"),
                "anon:user_one".to_owned(),
                "anon:user_two".to_owned(),
            ] {
                let seconds: i64 = redis.ask(&["TTL", &key]);
                assert!((3_590..=3_600).contains(&seconds), "{key}: {seconds}");
            }
        }
    }
}

async fn a_visitor_stands_under_the_last_fingerprint_only(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    let here = ClientIdentifier::from_mac(&[1; 32]);
    let other = ClientIdentifier::from_mac(&[2; 32]);
    let visitor = |client: &ClientIdentifier, standing| {
        Arc::new(Unkept {
            made_at: UnixMillis(1_800_000_000_000),
            standing,
            name: "Guest".into(),
            client_identifier: client.clone(),
            last_seen: UnixMillis(5),
        })
    };
    let loose = Standing::Loose { taken_at: None };
    let [one, two] = ["one", "two"].map(user);
    a.introduce(&one, &visitor(&here, loose), &address(1))
        .await
        .unwrap();
    for (visitor, expected) in [
        (visitor(&here, loose), (2, 0)),
        (visitor(&other, loose), (1, 1)),
        (visitor(&other, Standing::FIRM), (1, 0)),
        (visitor(&here, loose), (2, 0)),
        (visitor(&here, Standing::FIRM), (1, 0)),
    ] {
        a.introduce(&two, &visitor, &address(1)).await.unwrap();
        let found = [&here, &other].map(|client| b.loose(client));
        let [here, other] = found;
        let counts = (here.await.unwrap().len(), other.await.unwrap().len());
        assert_eq!(counts, expected, "{visitor:?}");
    }
}

async fn a_network_forgets_its_own_visitors_and_nobody_elses(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    a.claim().await.unwrap();
    let visitor = Arc::new(Unkept {
        made_at: UnixMillis(1_800_000_000_000),
        standing: Standing::FIRM,
        name: "Guest".into(),
        client_identifier: ClientIdentifier::from_mac(&[1; 32]),
        last_seen: UnixMillis(5),
    });
    let neighbours: Vec<_> = (0..20).map(|n| user(&format!("neighbour{n}"))).collect();
    for (user, number) in neighbours.iter().zip(100..) {
        a.introduce(user, &visitor, &address(number)).await.unwrap();
    }
    let rented: Vec<_> = (0..400).map(|n| user(&format!("rented{n}"))).collect();
    let mut connected = session(&rented[0], 1);
    connected.1.visitor = Some(Arc::clone(&visitor));
    a.attach(&[connected]).await.unwrap();
    for (user, number) in rented.iter().zip(0..) {
        let node = if number % 2 == 0 { &a } else { &b };
        node.introduce(user, &visitor, &net64(number))
            .await
            .unwrap();
    }
    let mut remembered = Vec::new();
    for user in neighbours.iter().chain(&rented) {
        remembered.push(b.introduced(user).await.unwrap().is_some());
    }
    let (neighbours, rented) = remembered.split_at(neighbours.len());
    assert_eq!(neighbours, [true; 20]);
    let (connected, rented) = rented.split_first().unwrap();
    assert!(connected, "who is connected is found");
    // A network alone ends at half of what the others have left free.
    let latest = rented.len() - (VISITS - 20) / 2;
    assert!(!rented[..latest].contains(&true));
    assert!(!rented[latest..].contains(&false));
    // When less than a sixteenth is free, the network that has most loses for newcomers.
    let newcomers = [("x", 30), ("y", 15), ("z", 12), ("last", 10)];
    for ((name, number), network) in newcomers.iter().zip(1..) {
        for at in 0..*number {
            let user = user(&format!("{name}{at}"));
            a.introduce(&user, &visitor, &address(network))
                .await
                .unwrap();
        }
    }
    for (name, number) in newcomers.iter().chain(&[("neighbour", 20)]) {
        for at in 0..*number {
            let user = user(&format!("{name}{at}"));
            assert!(a.introduced(&user).await.unwrap().is_some(), "{user}");
        }
    }
}

async fn after_a_flush_a_claim_and_a_registration_restore_everything(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (bob, news) = (user("bob"), topic("news"));
    a.attach(&[session(&bob, 1)]).await.unwrap();
    rig.flush();
    assert!(sessions(&*b, &bob).await.is_empty());
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    a.claim().await.unwrap();
    a.attach(&[session(&bob, 1)]).await.unwrap();
    a.want(&[(news.clone(), 1)]).await.unwrap();
    assert_eq!(sessions(&*b, &bob).await, [1]);
    assert_eq!(wanted(&*b, &news).await, ["a"]);
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
}
