//! What windows draw from the byte account, and that they give everything back.

use super::*;
use crate::budget::{Evict as _, Memory, MemorySettings, Owner};
use crate::model::Network;

const WIDE: OutboxLimits = OutboxLimits {
    frames_max: 1_000,
    bytes_max: 512 << 10,
};

const ADDRESS: &str = "192.0.2.1";

fn memory(bytes_max: u64) -> Arc<Memory> {
    Memory::new(MemorySettings { bytes_max })
}

fn session_on(memory: &Arc<Memory>) -> Arc<HubSession> {
    let owner = Owner {
        memory: Arc::clone(memory),
        address: ADDRESS,
    };
    let outbox = Arc::new(Outbox::with_owner(WIDE, Arc::new(owner)));
    HubSession::new(SessionId(1), user("b"), "".into(), UnixMillis(0), outbox)
}

fn open(session: &HubSession, prefetch: u32) -> Arc<Window> {
    session.open_window(Opening {
        limits: WIDE,
        ..opening(AckMode::Client, Version::V1_2, prefetch)
    })
}

fn large(number: usize, is_shared: bool) -> Content {
    Content {
        body: Bytes::from(vec![b'x'; 10_000]),
        is_shared,
        ..content(number)
    }
}

fn held(memory: &Arc<Memory>) -> u64 {
    let network = Network::of(ADDRESS.parse::<std::net::IpAddr>().unwrap());
    memory.pool().held_by_network(network)
}

#[test]
fn what_is_unsettled_and_what_waits_is_covered_until_it_is_settled() {
    let memory = memory(1 << 30);
    let session = session_on(&memory);
    let window = open(&session, 5);
    for number in 1..=10 {
        window.offer(large(number, false));
        session.outbox.try_pull();
    }
    let own = memory.used();
    assert!((100_000..110_000).contains(&own), "{own}");
    session
        .settle(&named(Version::V1_2, 5, 5), Verdict::Ack)
        .unwrap();
    let half = memory.used();
    assert!((50_000..60_000).contains(&half), "{half}");
    session.close_windows("s");
    while session.outbox.try_pull().is_some() {}
    session.rest();
    assert_eq!((memory.used(), held(&memory)), (0, 0));
}

#[test]
fn a_body_that_many_keep_counts_to_the_share_only() {
    let memory = memory(1 << 30);
    let session = session_on(&memory);
    let window = open(&session, 100);
    for number in 1..=10 {
        window.offer(large(number, true));
        while session.outbox.try_pull().is_some() {}
    }
    session.outbox.rest();
    let (own, share) = (memory.used(), held(&memory));
    assert!((1_000..9_000).contains(&own), "{own}");
    assert!((100_000..125_000).contains(&share), "{share}");
    drop((window, session));
    assert_eq!((memory.used(), held(&memory)), (0, 0));
}

#[test]
fn a_window_that_is_not_granted_more_is_closed_and_its_session_cut() {
    let memory = memory(400_000);
    let session = session_on(&memory);
    let window = open(&session, 100);
    let mut taken = 0;
    while window.accept(large(taken, false)) {
        session.outbox.try_pull();
        taken += 1;
        assert!(taken < 100);
    }
    // Half of seven eighths, less the share of what the outbox covers.
    assert!((13..=17).contains(&taken), "{taken}");
    let cut = Some(Pulled::Cut(CloseReason::SLOW_CONSUMER));
    assert_eq!(session.outbox.try_pull(), cut);
    assert_eq!(window.unsettled(), 0);
    drop((window, session));
    assert_eq!((memory.used(), held(&memory)), (0, 0));
}

#[test]
fn an_eviction_cuts_the_session() {
    let memory = memory(1 << 30);
    let session = session_on(&memory);
    let window = open(&session, 100);
    window.offer(large(1, false));
    window.kept.evict();
    assert!(session.outbox.is_cut());
}

#[test]
fn headers_without_texts_are_covered_as_what_they_take() {
    let memory = memory(1 << 30);
    let session = session_on(&memory);
    let window = open(&session, 100);
    for number in 1..=10 {
        window.offer(Content {
            headers: vec![("a".into(), "".into()); 60],
            ..content(number)
        });
        while session.outbox.try_pull().is_some() {}
    }
    session.outbox.rest();
    // Each is a place in a list, and two allocations.
    assert!(memory.used() >= 10 * 60 * 64, "{}", memory.used());
}
