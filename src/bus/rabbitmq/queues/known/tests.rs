//! Which queues are known, for how long, and what is due about them.

use tokio::time::advance;

use super::*;
use crate::budget::Refused;
use crate::bus::queue::Made;
use crate::model::{Kind, Network};

const PLAIN: QueueArguments = QueueArguments {
    message_ttl: None,
    expires: None,
    length_max: None,
};

fn settings() -> QueueSettings {
    QueueSettings {
        queues_max: 2,
        consumers_max: 2,
        expires: Duration::from_secs(60),
        ..QueueSettings::default()
    }
}

/// A service that no share limits.
fn service() -> Claimant {
    Claimant {
        multiple: 1_000,
        kind: Kind::Bot,
        ..Claimant::stranger(Network::of([192, 0, 2, 1].into()))
    }
}

fn visitor(last: u8) -> Claimant {
    Claimant::stranger(Network::of([192, 0, 2, last].into()))
}

fn wish(named: &QueueArguments) -> Wish {
    Wish::new(named, &service(), &settings()).unwrap()
}

fn declared() -> Declared {
    Declared {
        made: Made::of(&PLAIN, Kind::Bot, &settings()).unwrap(),
        octets_max: 1,
        drops_oldest: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_made_sure_of_before_it_could_have_expired() {
    let known = Known::new(settings());
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(true));
    known.note("/queue/a", Some(declared()));
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(false));
    let other = QueueArguments {
        length_max: Some(7),
        ..PLAIN
    };
    assert_eq!(known.use_it("/queue/a", &wish(&other), false), Ok(true));
    advance(Duration::from_secs(19)).await;
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(false));
    advance(Duration::from_secs(2)).await;
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(true));
    // One with arguments that are not known may expire sooner.
    known.note("/queue/a", None);
    assert!(known.is_foreign("/queue/a"));
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(false));
    advance(Duration::from_secs(11)).await;
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(true));
    known.note("/queue/a", None);
    known.doubt("/queue/a");
    assert_eq!(known.use_it("/queue/a", &wish(&PLAIN), false), Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_queue_has_its_place_for_as_long_as_it_is_used_or_kept() {
    let known = Arc::new(Known::new(settings()));
    let limit = Err(QueueError::Share {
        of: Scarce::Queues,
        why: Refused::Full,
    });
    for name in ["/queue/a", "/queue/b"] {
        assert_eq!(known.use_it(name, &wish(&PLAIN), false), Ok(true));
        known.note(name, Some(declared()));
    }
    let mut counted = known.count().unwrap();
    counted.at("/queue/a");
    assert_eq!(known.use_it("/queue/c", &wish(&PLAIN), false), limit);
    assert_eq!(known.use_it("/queue/DLQ.a", &wish(&PLAIN), true), Ok(true));
    known.forget("/queue/DLQ.a");
    // What was there keeps its place, what never came about does not.
    known.forget("/queue/b");
    assert_eq!(known.use_it("/queue/c", &wish(&PLAIN), false), limit);
    advance(Duration::from_secs(61)).await;
    assert_eq!(known.use_it("/queue/c", &wish(&PLAIN), false), Ok(true));
    drop(counted);
    assert_eq!(
        known.use_it("/queue/d", &wish(&PLAIN), false),
        limit,
        "a was used until now"
    );
    let both = [known.count(), known.count()];
    assert_eq!(known.count().err(), Some(QueueError::Limit("consumers")));
    drop(both);
    assert!(known.count().is_ok());
}

/// Many places, and minutes that are shorter than the life of other queues.
fn large() -> QueueSettings {
    QueueSettings {
        queues_max: 100,
        visitor_expires: Duration::from_secs(300),
        ..QueueSettings::default()
    }
}

fn plain(known: &Known, queue: &str, by: &Claimant) -> Result<bool, QueueError> {
    known.use_it(queue, &Wish::plain(by, &large()).unwrap(), false)
}

fn declared_for(by: &Claimant) -> Declared {
    Declared {
        made: Wish::plain(by, &large()).unwrap().made,
        octets_max: 1,
        drops_oldest: false,
    }
}

#[tokio::test(start_paused = true)]
async fn visitors_of_one_network_leave_queues_to_others_and_theirs_are_forgotten_within_minutes() {
    let known = Known::new(large());
    let fill = |by: &Claimant| {
        let made = |number: &u32| plain(&known, &format!("/queue/{}.{number}", by.network), by);
        let made = (0..100).take_while(|number| made(number).is_ok()).count();
        for number in 0..made {
            let queue = format!("/queue/{}.{number}", by.network);
            known.note(&queue, Some(declared_for(by)));
        }
        made
    };
    // A quarter is for members and bots; one address ends at half of the rest.
    assert_eq!(fill(&visitor(1)), 38);
    assert_eq!(fill(&visitor(2)), 19);
    let refused = plain(&known, "/queue/more", &visitor(1));
    let why = Refused::Network;
    let of = Scarce::Queues;
    assert_eq!(refused, Err(QueueError::Share { of, why }));
    assert_eq!(plain(&known, "/queue/bot", &service()), Ok(true));
    advance(Duration::from_secs(301)).await;
    known.tasks(0);
    assert_eq!(known.queues.used(), 1);
    assert_eq!(fill(&visitor(1)), 37, "a bot at the same address has one");
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_is_to_be_removed_and_one_that_a_member_needs_is_to_be_kept() {
    let known = Arc::new(Known::new(large()));
    let (bot, anyone) = (service(), visitor(1));
    plain(&known, "/queue/idle", &bot).unwrap();
    known.note("/queue/idle", Some(declared_for(&bot)));
    plain(&known, "/queue/busy", &bot).unwrap();
    known.note("/queue/busy", Some(declared_for(&bot)));
    let mut consumer = known.count().unwrap();
    consumer.at("/queue/busy");
    // A visitor made it, a bot uses it.
    plain(&known, "/queue/needed", &anyone).unwrap();
    plain(&known, "/queue/needed", &bot).unwrap();
    known.note("/queue/needed", Some(declared_for(&anyone)));
    assert_eq!(known.tasks(10), []);
    advance(Duration::from_secs(101)).await;
    let keep = Task::Keep(declared_for(&anyone));
    assert_eq!(known.tasks(10), [("/queue/needed".into(), keep.clone())]);
    assert_eq!(known.tasks(10), []);
    advance(Duration::from_secs(200)).await;
    let due = [
        ("/queue/idle".into(), Task::Remove),
        ("/queue/needed".into(), keep),
    ];
    assert_eq!(known.tasks(10), due);
    // It was not empty: tried again later, and known meanwhile.
    assert_eq!(known.tasks(10), []);
    let since = Instant::now();
    known.removed("/queue/idle", since);
    known.removed("/queue/busy", since);
    assert_eq!(known.queues.used(), 2);
    assert_eq!(
        plain(&known, "/queue/busy", &bot),
        Ok(true),
        "it is made sure of again"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_counted_less_and_less_often() {
    let known = Known::new(large());
    let by = visitor(1);
    plain(&known, "/queue/a", &by).unwrap();
    known.note("/queue/a", Some(declared_for(&by)));
    for _ in 0..10 {
        let portion = known.take_bytes(&by, 744).unwrap();
        known.has("/queue/a", portion);
    }
    assert_eq!(known.bytes.pool().used(), 12 << 10);
    let mut counts = 0;
    for _ in 0..200 {
        advance(Duration::from_secs(1)).await;
        counts += known.tasks(10).len();
    }
    assert!((4..=8).contains(&counts), "{counts}");
    known.counted("/queue/a", 2);
    assert_eq!(known.bytes.pool().used(), 4 << 10);
    // What is in a queue that RabbitMQ has removed is gone.
    advance(Duration::from_secs(301)).await;
    known.tasks(0);
    assert_eq!((known.queues.used(), known.bytes.pool().used()), (0, 0));
}
