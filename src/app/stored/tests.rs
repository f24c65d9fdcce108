//! Shares of what is stored: whose they are, when they come back, and what keeping them costs.

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn stored() -> Arc<Stored> {
    Stored::new(StoreSizes {
        visitors: 100 << 10,
        members: 100 << 10,
        ..StoreSizes::default()
    })
}

fn by(address: &str, user: &str, kind: Kind) -> Claimant {
    Claimant {
        user: Some(user.parse().unwrap()),
        kind,
        ..Claimant::stranger(Network::of(address.parse().unwrap()))
    }
}

/// A message of so many bytes.
fn reserve(
    stored: &Stored,
    by: &Claimant,
    bytes: u64,
    now: UnixMillis,
) -> Result<Reservation, Refused> {
    let aging = stored.of(by.kind);
    aging.end(now);
    let slots = (
        aging.slot(now.after(aging.life())),
        aging.row_slot(now.after(aging.row_life())),
    );
    Reservation::take(aging.account(by), (bytes + MESSAGE_COST_BYTES, 0), slots)
}

fn fill(stored: &Stored, by: &Claimant, now: UnixMillis) -> u64 {
    let mut bytes = 0;
    while let Ok(reserved) = reserve(stored, by, 512, now) {
        reserved.keep();
        bytes += 1_024;
    }
    bytes
}

#[test]
fn one_visitor_and_one_network_have_a_share_that_comes_back() {
    let stored = stored();
    let user = |number: u32| by("192.0.2.1", &format!("user_{number}"), Kind::Anonymous);
    assert_eq!(fill(&stored, &user(1), NOW), 20 << 10);
    for number in 2..50 {
        fill(&stored, &user(number), NOW);
    }
    let network = user(1).network;
    assert_eq!(stored.visitors().held_by_network(network), 50 << 10);
    let elsewhere = by("192.0.2.2", "user_x", Kind::Anonymous);
    assert!(fill(&stored, &elsewhere, NOW) > 8 << 10);
    let before = NOW.after(Duration::from_secs(23 * 3_600));
    assert_eq!(fill(&stored, &user(1), before), 0);
    let after = NOW.after(Duration::from_secs(26 * 3_600));
    assert_eq!(fill(&stored, &user(1), after), 20 << 10);
    assert_eq!(stored.visitors().used(), 20 << 10);
}

#[test]
fn what_is_not_stored_does_not_count() {
    let stored = stored();
    let visitor = by("192.0.2.1", "user_a", Kind::Anonymous);
    drop(reserve(&stored, &visitor, 512, NOW).unwrap());
    assert_eq!(stored.visitors().used(), 0);
    assert!(reserve(&stored, &visitor, 60 << 10, NOW).is_err());
    assert_eq!(stored.visitors().used(), 0);
}

#[test]
fn visitors_leave_members_theirs() {
    let stored = stored();
    for number in 0..200 {
        let visitor = by(&format!("192.0.2.{number}"), "user_a", Kind::Anonymous);
        fill(&stored, &visitor, NOW);
    }
    let member = by("192.0.2.1", "user_m", Kind::Member);
    assert_eq!(fill(&stored, &member, NOW), 20 << 10);
    let tomorrow = NOW.after(Duration::from_secs(26 * 3_600));
    assert_eq!(fill(&stored, &member, tomorrow), 20 << 10);
}

/// A pool that no test exhausts.
fn large() -> Arc<Stored> {
    Stored::new(StoreSizes {
        visitors: 64 << 30,
        ..StoreSizes::default()
    })
}

#[test]
fn many_writers_of_one_network_are_counted_in_bounded_memory() {
    let stored = large();
    for number in 0..100_000_u32 {
        // The 65,536 networks of one IPv6 /48, and more.
        let address = format!("2001:db8:1:{:x}::1", number % 0x1_0000);
        let visitor = by(&address, &format!("user_{number}"), Kind::Anonymous);
        reserve(&stored, &visitor, 512, NOW).unwrap().keep();
    }
    let (accounts, sums, rest) = stored.visitors.sizes();
    assert!(accounts <= 32_768, "{accounts} accounts");
    assert_eq!((sums, rest), (1, 0));
    // Nothing of it is lost, and the share of the /48 is what it was.
    let widest = Network::of("2001:db8:1::1".parse().unwrap()).widest();
    let held = stored.visitors().held_by_network(widest);
    assert!(held >= 100_000 * 1_024, "{held} bytes");
    let later = NOW.after(Duration::from_secs(26 * 3_600));
    let other = by("192.0.2.1", "user_x", Kind::Anonymous);
    reserve(&stored, &other, 512, later).unwrap().keep();
    assert_eq!(stored.visitors().held_by_network(widest), 0);
}

#[test]
fn many_networks_are_counted_in_bounded_memory() {
    let stored = large();
    for number in 0..50_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let visitor = by(&format!("10.{a}.{b}.{c}"), "user_a", Kind::Anonymous);
        reserve(&stored, &visitor, 512, NOW).unwrap().keep();
    }
    for hours in 1..3 {
        let later = NOW.after(Duration::from_secs(hours * 3_600));
        stored.visitors.end(later);
    }
    let (accounts, sums, rest) = stored.visitors.sizes();
    assert_eq!((accounts, sums, rest), (0, 8_192, 1));
    assert_eq!(stored.visitors().used(), 50_000 * 1_024);
    stored
        .visitors
        .end(NOW.after(Duration::from_secs(26 * 3_600)));
    assert_eq!(stored.visitors().used(), 0);
    assert_eq!(stored.visitors.sizes(), (0, 0, 0));
}

#[test]
fn a_slot_is_looked_through_once_although_its_neighbour_comes_again() {
    let stored = large();
    let aging = &stored.visitors;
    let next = UnixMillis((aging.slot(NOW) + 1) * aging.slot_ms());
    let last = UnixMillis(next.0 - 1);
    let visitor = by("192.0.2.1", "user_a", Kind::Anonymous);
    reserve(&stored, &visitor, 512, last).unwrap().keep();
    for _ in 0..10 {
        aging.end(next);
        aging.end(last);
    }
    // Looked through twice, it would be idle and a part of the sum of its network.
    assert_eq!(aging.sizes(), (1, 0, 0));
    aging.end(UnixMillis(next.0 + aging.slot_ms()));
    assert_eq!(aging.sizes(), (0, 1, 0));
}

#[test]
fn rows_count_for_as_long_as_they_are_kept() {
    let stored = stored();
    let visitor = by("192.0.2.1", "user_a", Kind::Anonymous);
    let aging = &stored.visitors;
    let slots = (
        aging.slot(NOW.after(aging.life())),
        aging.row_slot(NOW.after(aging.row_life())),
    );
    let costs = (512 + MESSAGE_COST_BYTES, VISITOR_COST_BYTES);
    let reserved = Reservation::take(aging.account(&visitor), costs, slots);
    reserved.unwrap().keep_with_conversation();
    let rows = VISITOR_COST_BYTES + MESSAGE_COST_BYTES;
    let held = || -> u64 {
        let account = aging.account(&visitor);
        account.take(0).unwrap();
        stored.visitors().used()
    };
    assert_eq!(held(), 512 + MESSAGE_COST_BYTES + rows);
    let day = 24 * 3_600;
    for (days, expected) in [(2, rows), (89, rows), (95, 0)] {
        aging.end(NOW.after(Duration::from_secs(days * day)));
        let used = stored.visitors().used();
        assert!(
            (expected..expected + 1_024).contains(&used),
            "{days}: {used}"
        );
    }
}

#[test]
fn answers_count_to_the_share_of_their_caller() {
    let stored = stored();
    let visitor = by("192.0.2.1", "user_a", Kind::Anonymous);
    let mut kept = 0;
    let problem = loop {
        match stored.reserve_answer(&visitor, NOW) {
            Ok(reserved) => reserved.keep_with(512),
            Err(problem) => break problem,
        }
        kept += 1;
    };
    assert_eq!(kept, 20);
    assert_eq!(problem.code, Code::LimitExceeded);
    let elsewhere = by("192.0.2.2", "user_b", Kind::Anonymous);
    assert!(stored.reserve_answer(&elsewhere, NOW).is_ok());
}

#[test]
fn a_refusal_says_what_is_full_for_whom_and_what_to_do() {
    for kind in [Kind::Anonymous, Kind::Member] {
        for why in [Refused::User, Refused::Network, Refused::Full] {
            let problem = refusal(why, kind);
            let whose = match why {
                Refused::User => "You have",
                Refused::Network => "on your network",
                Refused::Full => "This server",
            };
            assert!(problem.detail.contains(whose), "{}", problem.detail);
            let does = ["Wait until", "Send again"];
            assert!(
                does.iter().any(|what| problem.detail.contains(what)),
                "{}",
                problem.detail
            );
            assert_eq!(problem.retry_after_ms, Some(60_000));
        }
    }
}
