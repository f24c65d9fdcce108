//! Places and rates of networks, when there are few and when there are many. Not here: the pools themselves
//! (`budget`). Invariant: a crowd that holds most never keeps a newcomer out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::tests::settings;
use super::*;
use crate::budget::MemorySettings;

fn admission(settings: &EdgeSettings) -> Arc<Admission> {
    Admission::new(settings, &Arc::default(), &memory())
}

fn memory() -> Arc<Memory> {
    Memory::new(MemorySettings { bytes_max: 0 })
}

impl Admission {
    /// A session of a stranger at this address.
    fn open(&self, client: IpAddr) -> Result<Permit, Refusal> {
        let stranger = self.multiples.stranger(client);
        self.session(&stranger, Eviction::Allowed)
    }
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

#[tokio::test(start_paused = true)]
async fn one_network_does_not_use_up_the_handshakes_of_all() {
    let mut settings = settings();
    settings.connection_rate = 100;
    settings.connection_burst = 50;
    let admission = admission(&settings);
    let admitted = |client: IpAddr| {
        let one = |_: &u32| admission.open(client).is_ok();
        (0..100).filter(one).count()
    };
    assert_eq!(admitted(CLIENT), 10);
    assert_eq!(admitted([192, 0, 2, 2].into()), 10);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(admitted(CLIENT), 5);
    for last in 3..=200 {
        admission.open([198, 51, 100, last].into()).ok();
    }
    assert_eq!(admitted(CLIENT), 0);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(admitted(CLIENT), 10);
}

/// How many sessions a client opens until one is refused.
fn admitted(admission: &Admission, client: &str) -> usize {
    let client = client.parse().unwrap();
    (0..1_000)
        .take_while(|_| admission.open(client).is_ok())
        .count()
}

#[tokio::test(start_paused = true)]
async fn handshakes_of_a_56_and_a_48_are_limited_too() {
    let mut settings = settings();
    settings.connection_rate = 1_000;
    settings.connection_burst = 500;
    let admission = admission(&settings);
    assert_eq!(admitted(&admission, "2001:db8::1"), 100, "a /64");
    assert_eq!(
        admitted(&admission, "2001:db8:0:1::1"),
        50,
        "the rest of its /56"
    );
    assert_eq!(
        admitted(&admission, "2001:db8:0:2::1"),
        0,
        "nothing of its /56 is left"
    );
    assert_eq!(
        admitted(&admission, "2001:db8:0:100::1"),
        50,
        "the rest of its /48"
    );
    assert_eq!(admitted(&admission, "2001:db8:0:200::1"), 0);
    assert_eq!(admitted(&admission, "192.0.2.1"), 100, "others");
}

#[tokio::test(start_paused = true)]
async fn a_named_network_has_a_multiple_up_to_what_the_node_has() {
    let mut settings = settings();
    settings.connection_rate = 1_000;
    settings.connection_burst = 500;
    let check = |multiple: u32, expected: usize| {
        let named = vec![("192.0.2.0/24".parse().unwrap(), multiple)];
        let admission = Admission::new(&settings, &Arc::new(Multiples::new(named)), &memory());
        assert_eq!(admitted(&admission, "192.0.2.1"), expected, "{multiple}");
    };
    check(1, 100);
    check(3, 300);
    check(20, 500);
}

#[tokio::test(start_paused = true)]
async fn networks_with_a_full_bucket_are_forgotten() {
    let mut settings = settings();
    settings.connection_rate = 100_000;
    settings.connection_burst = 100_000;
    let admission = admission(&settings);
    for n in 0..5_000_u32 {
        let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        admission.open(client.into()).unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let levels = admission.handshakes.levels.lock().unwrap();
    assert!(
        levels.networks.len() <= NETWORKS_MAX,
        "{}",
        levels.networks.len()
    );
}

#[test]
fn a_place_is_given_back_when_its_permit_is_dropped() {
    let mut settings = settings();
    settings.connections_max = 1;
    let admission = admission(&settings);
    let first = admission.open(CLIENT).unwrap();
    assert_eq!(admission.open(CLIENT).unwrap_err(), Refusal::Full);
    assert_eq!(admission.sessions(), 1);
    drop(first);
    assert!(admission.open(CLIENT).is_ok());
}

#[test]
fn a_network_is_one_ipv4_address_or_one_ipv6_64() {
    let mut settings = settings();
    settings.connections_per_net = 1;
    let admission = admission(&settings);
    let count = |text: &str| {
        let network = Network::of(text.parse().unwrap());
        admission.socket(&Claimant::stranger(network), Eviction::Allowed)
    };
    let _a = count("192.0.2.1").unwrap();
    let _b = count("192.0.2.2").unwrap();
    assert!(count("::ffff:192.0.2.1").is_err());
    let c = count("2001:db8::1").unwrap();
    assert!(count("2001:db8::ffff:1").is_err());
    assert!(count("2001:db8:0:1::1").is_ok());
    drop(c);
    assert!(count("2001:db8::2").is_ok());
}

#[test]
fn a_network_holds_a_part_of_what_is_free() {
    let mut settings = settings();
    settings.connections_max = 1_000;
    let admission = admission(&settings);
    let fill = |client: &str| -> Vec<Permit> {
        let client = client.parse().unwrap();
        std::iter::from_fn(|| admission.open(client).ok()).collect()
    };
    let crowd = fill("192.0.2.1");
    // Of the 875 that visitors may have.
    assert_eq!(crowd.len(), 438);
    assert_eq!(fill("192.0.2.2").len(), 219, "another address");
    let rented: Vec<_> = (0..200)
        .flat_map(|n| fill(&format!("2001:db8:0:{n:x}00::1")))
        .collect();
    assert_eq!(rented.len(), 219, "a whole /48");
    drop((crowd, rented));
    assert_eq!(admission.sessions(), 0);
    assert_eq!(fill("192.0.2.3").len(), 438);
}

#[derive(Debug, Default)]
struct Told(AtomicUsize);

impl Evict for Told {
    fn evict(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_newcomer_gets_a_place_of_the_largest_network_when_few_are_left() {
    let mut settings = settings();
    settings.connections_max = 1_142;
    let admission = admission(&settings);
    let told: [Arc<Told>; 5] = std::array::from_fn(|_| Arc::default());
    let mut held = Vec::new();
    for (last, told) in (1..).zip(&told) {
        let whose: Arc<dyn Evict> = Arc::<Told>::clone(told);
        let permits = std::iter::from_fn(|| admission.open([192, 0, 2, last].into()).ok());
        // 500, 250, 125, 62 and 31 of the thousand that visitors may have.
        held.extend(
            permits
                .take(500 >> (last - 1))
                .map(|it| it.evictable(Arc::downgrade(&whose))),
        );
    }
    assert_eq!(admission.sessions(), 968);
    let newcomer: IpAddr = [198, 51, 100, 1].into();
    let places: Vec<_> = (0..60).map(|_| admission.open(newcomer)).collect();
    assert!(places.iter().all(Result::is_ok));
    let lost: Vec<_> = told
        .iter()
        .map(|told| told.0.load(Ordering::Relaxed))
        .collect();
    assert!(lost[0] >= 28 && lost[1..] == [0; 4], "{lost:?}");
    // A member of the crowd itself gets nothing of the others.
    assert!(admission.open(CLIENT).is_err());
}

#[test]
fn a_handful_of_places_is_not_shared_out() {
    let mut settings = settings();
    settings.connections_max = 2;
    let admission = admission(&settings);
    let held: Vec<_> = (0..3).map(|_| admission.open(CLIENT)).collect();
    assert_eq!(held.iter().filter(|one| one.is_ok()).count(), 2);
    assert_eq!(held[2].as_ref().unwrap_err(), &Refusal::Full);
}

#[tokio::test(start_paused = true)]
async fn no_rate_is_no_limit() {
    let admission = admission(&settings());
    let held: Vec<_> = (0..10_000)
        .map_while(|_| admission.open(CLIENT).ok())
        .collect();
    assert_eq!(held.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_beyond_the_rate_ends_no_session() {
    let mut settings = settings();
    settings.connections_max = 114;
    settings.connection_rate = 100;
    settings.connection_burst = 1_000;
    let admission = admission(&settings);
    let told = Arc::new(Told::default());
    let whose: Arc<dyn Evict> = told.clone();
    let admit = |address: [u8; 4]| {
        let permit = admission.open(address.into());
        permit.map(|permit| permit.evictable(Arc::downgrade(&whose)))
    };
    // The newcomer has used up their rate.
    while admission.open([198, 51, 100, 1].into()).is_ok() {}
    let mut crowd = Vec::new();
    for (last, number) in (1..).zip([50, 25, 12, 6, 3, 2, 1, 1]) {
        crowd.extend(std::iter::from_fn(|| admit([192, 0, 2, last]).ok()).take(number));
    }
    assert_eq!(admission.sessions(), 100);
    assert_eq!(told.0.load(Ordering::Relaxed), 0);
    let refused = admit([198, 51, 100, 1]).unwrap_err();
    assert_eq!(
        (refused, told.0.load(Ordering::Relaxed)),
        (Refusal::NetworkRate, 0)
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    let admitted = admit([198, 51, 100, 1]);
    assert!(admitted.is_ok() && told.0.load(Ordering::Relaxed) > 0);
}

#[test]
fn others_lose_for_one_thing_only_when_the_other_is_held() {
    // What is refused of what is free, and at all.
    let evicting = |first: [bool; 2], second: [bool; 2]| {
        let evicted = std::cell::RefCell::new(Vec::new());
        let take = |name: char, refused: [bool; 2]| {
            let evicted = &evicted;
            move |eviction: Eviction| {
                if eviction == Eviction::Allowed {
                    evicted.borrow_mut().push(name);
                }
                match refused[usize::from(eviction != Eviction::Never)] {
                    true => Err(Refusal::Memory),
                    false => Ok(()),
                }
            }
        };
        let outcome = both(take('a', first), take('b', second));
        (
            outcome.is_ok(),
            evicted.into_inner().into_iter().collect::<String>(),
        )
    };
    let (free, short, none) = ([false, false], [true, false], [true, true]);
    assert_eq!(evicting(free, free), (true, "b".to_owned()));
    assert_eq!(evicting(short, free), (true, "a".to_owned()));
    assert_eq!(evicting(free, none), (false, "b".to_owned()));
    assert_eq!(evicting(none, short), (false, "a".to_owned()));
    assert_eq!(evicting(short, short), (true, "ab".to_owned()));
    assert_eq!(evicting(short, none), (false, String::new()));
}

/// As many visitors as get in, from a thousand addresses of which none has more than another.
fn visitors_everywhere(admission: &Admission) -> Vec<Permit> {
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut held = Vec::new();
    for third in 0..4 {
        for last in 1..=250 {
            let permit = admission.open([192, 0, third, last].into());
            held.extend(permit.map(|permit| permit.evictable(Arc::downgrade(&told))));
        }
    }
    held
}

#[test]
fn visitors_of_many_networks_have_seven_eighths_of_the_sessions() {
    let mut settings = settings();
    settings.connections_max = 800;
    let admission = admission(&settings);
    let mut held = visitors_everywhere(&admission);
    assert_eq!(admission.sessions(), 700);
    let newcomer = admission.multiples.stranger([198, 51, 100, 1].into());
    let refusal = admission.session(&newcomer, Eviction::Allowed).unwrap_err();
    assert_eq!(refusal, Refusal::Full);
    let unknown = admission.unknown(&newcomer, refusal).unwrap();
    let mut reserved = admission.session(&unknown, Eviction::Never).unwrap();
    // A visitor does not stay there, and a member does.
    for eviction in [Eviction::Possible, Eviction::Allowed] {
        assert_eq!(
            reserved.retake(eviction, &newcomer).unwrap_err(),
            Refusal::Full
        );
    }
    reserved.identify(&unknown);
    assert_eq!(admission.sessions(), 701);
    // A session of a visitor ends, and the next one takes its place and not the reserve.
    held.pop();
    let elsewhere = admission.multiples.stranger([198, 51, 100, 3].into());
    let another = admission.unknown(&elsewhere, Refusal::Full).unwrap();
    let mut another = admission.session(&another, Eviction::Never).unwrap();
    for eviction in [Eviction::Possible, Eviction::Allowed] {
        another.retake(eviction, &elsewhere).unwrap();
    }
    assert!(admission.open([198, 51, 100, 2].into()).is_err());
    let members: Vec<_> = (0..200)
        .map_while(|_| admission.session(&unknown, Eviction::Never).ok())
        .collect();
    assert!(members.len() >= 49, "{}", members.len());
    assert!(admission.sessions() <= 800);
}

#[test]
fn the_reserve_is_for_want_of_places_and_not_for_the_share_of_a_network() {
    let mut settings = settings();
    settings.connections_max = 800;
    let admission = admission(&settings);
    let crowd: Vec<_> = std::iter::from_fn(|| admission.open(CLIENT).ok()).collect();
    assert_eq!(crowd.len(), 350);
    let stranger = admission.multiples.stranger(CLIENT);
    let refused = admission.unknown(&stranger, Refusal::Network);
    assert_eq!(refused.unwrap_err(), Refusal::Network);
    let _visitors = visitors_everywhere(&admission);
    assert!(admission.unknown(&stranger, Refusal::Network).is_ok());
    for refusal in [Refusal::Rate, Refusal::Busy] {
        assert_eq!(admission.unknown(&stranger, refusal).unwrap_err(), refusal);
    }
    settings.connections_max = 10;
    let handful = self::admission(&settings);
    let _visitors = visitors_everywhere(&handful);
    assert_eq!(handful.sessions(), 10);
    assert!(handful.unknown(&stranger, Refusal::Full).is_err());
}

#[test]
fn who_is_not_known_yet_is_pushed_out_by_the_next_and_never_keeps_them_out() {
    let mut settings = settings();
    settings.connections_max = 800;
    let admission = admission(&settings);
    let waiting = admission.waiting();
    let told: Vec<Arc<Told>> = (0..1_000).map(|_| Arc::default()).collect();
    let enter = |told: &Arc<Told>, client: IpAddr| {
        let whose: Arc<dyn Evict> = Arc::<Told>::clone(told);
        waiting.enter(
            &admission.multiples.stranger(client),
            Arc::downgrade(&whose),
        )
    };
    let is_out = |told: &Arc<Told>| told.0.load(Ordering::Relaxed) > 0;
    // One address sends sockets without an end, others have come before and come after it.
    let early: Vec<_> = (1..=5)
        .map(|last| enter(&told[usize::from(last)], [198, 51, 100, last].into()))
        .collect();
    let flood: Vec<_> = (100..1_000).map(|n| enter(&told[n], CLIENT)).collect();
    let late: Vec<_> = (6..=9)
        .map(|last| enter(&told[usize::from(last)], [198, 51, 100, last].into()))
        .collect();
    // A quarter of the reserve of a hundred.
    assert!(waiting.len() <= 25, "{}", waiting.len());
    assert!(!told[1..=9].iter().any(is_out));
    assert!(told[100..980].iter().all(is_out), "the oldest of the flood");
    assert!(!is_out(&told[999]));
    drop((early, flood, late));
    assert_eq!(waiting.len(), 0);
}
