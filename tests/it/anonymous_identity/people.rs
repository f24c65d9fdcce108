//! People who share an address and a browser, in every order: what each one writes is meant for
//! the person whom he knows under an address, and must reach that person or nobody.
//!
//! Not here: what a step does and what is checked after it (`model`). Invariant: a failing case
//! is reproduced by its seed, interleavings included.

use std::time::Duration;

use proptest::prelude::*;
use stompbox::identity::{Recognition, VisitorSettings};
use stompbox::model::UserId;

use super::model::Model;
use super::world::{World, bare};

/// How a person's client treats what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Stores nothing and sends no Origin.
    Forgets,
    /// The same, and asks not to be recognised.
    OptsOut,
    /// Sends no Origin, keeps the secret and presents it.
    Keeps,
    /// A browser on our page, with its cookie.
    Browses,
    /// A tab of its own on our page: asks for a fresh visitor once and keeps that secret.
    OpensTab,
}

/// A habit and an address.
pub(super) type Client = (Habit, &'static str);

/// Two who may take each other's address over, and some others. Few, because a fingerprint opens
/// nothing where several are loose.
fn cast() -> impl Strategy<Value = Vec<Client>> {
    use Habit::{Browses, Forgets, Keeps, OpensTab, OptsOut};
    const SHARED: &str = "192.0.2.7";
    const OTHER: &str = "198.51.100.1";
    let pair = prop::sample::select(vec![
        [Forgets, Forgets],
        [Forgets, Keeps],
        [Keeps, Keeps],
        [Keeps, Browses],
    ]);
    let others = vec![
        (OpensTab, SHARED),
        (Browses, SHARED),
        (OptsOut, SHARED),
        (Forgets, OTHER),
        (Keeps, OTHER),
    ];
    (pair, prop::sample::subsequence(others, 0..4)).prop_map(|(pair, others)| {
        let pair = pair.map(|habit| (habit, SHARED));
        pair.into_iter().chain(others).collect()
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Connect,
    /// With a secret that opens nothing.
    ConnectStale,
    Disconnect,
    Crash,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// All at once, interleaved by the seed.
    Acts(Vec<(usize, Act)>, u64),
    Wait(Duration),
    /// One shows his address to the other, outside of the service.
    Tell(usize, usize),
    /// One writes to somebody whom he knows: it is checked.
    Write(usize, prop::sample::Index),
    /// Something that was checked, at this or at an earlier step, is committed and delivered.
    Commit(prop::sample::Index),
    /// A visitor makes an account of his address.
    Upgrade(usize),
    /// A visitor becomes a part of the account that he has already.
    Merge(usize),
    /// A visitor goes on in another browser.
    Carry(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Reduced to the number of people in the case.
    let person = || 0..60_usize;
    let act = prop_oneof![
        6 => Just(Act::Connect),
        1 => Just(Act::ConnectStale),
        4 => Just(Act::Disconnect),
        1 => Just(Act::Crash),
    ];
    let wait = prop_oneof![
        0..20_u64,
        0..30_000_u64,
        0..600_000_u64,
        3_600_000..4_000_000_u64
    ];
    prop_oneof![
        8 => (prop::collection::vec((person(), act), 1..4), any::<u64>())
            .prop_map(|(acts, seed)| Step::Acts(acts, seed)),
        5 => wait.prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        3 => (person(), person()).prop_map(|(from, to)| Step::Tell(from, to)),
        8 => (person(), any::<prop::sample::Index>()).prop_map(|(from, to)| Step::Write(from, to)),
        7 => any::<prop::sample::Index>().prop_map(Step::Commit),
    ]
}

/// The same, and what people with accounts do.
fn step_with_accounts() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => step(),
        1 => (0..60_usize).prop_map(Step::Upgrade),
        1 => (0..60_usize).prop_map(Step::Merge),
        1 => (0..60_usize).prop_map(Step::Carry),
    ]
}

pub(super) fn unlimited(mode: Recognition) -> VisitorSettings {
    VisitorSettings {
        mode,
        per_network: 0,
        ..VisitorSettings::default()
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nobody_receives_what_was_meant_for_another(
        mode in prop_oneof![3 => Just(Recognition::Hint), 1 => Just(Recognition::Token)],
        cast in cast(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        run(async {
            Model::new(mode, cast).await.run(steps).await;
        });
    }

    #[test]
    fn who_stores_nothing_and_is_alone_on_his_fingerprint_gets_his_id_back_within_the_hour(
        visits in prop::collection::vec(
            (prop_oneof![Just(0), 0..9_000_000_u64], prop_oneof![Just(0), 0..5_400_000_u64]),
            2..20,
        ),
        neighbours in prop::collection::vec(any::<bool>(), 20),
    ) {
        run(async {
            let world = World::new(unlimited(Recognition::Hint)).await;
            let mut last: Option<(UserId, Duration)> = None;
            for ((stay, away), neighbour) in visits.into_iter().zip(neighbours) {
                let (opened, session) = world.connect(&bare("192.0.2.7", "b"), None).await.unwrap();
                let user_id = opened.principal.user_id;
                if let Some((before, away)) = last {
                    let is_within = away < Duration::from_secs(3600);
                    assert_eq!(user_id == before, is_within, "after {away:?}");
                }
                world.wait(Duration::from_millis(stay)).await;
                world.disconnect(&session, false).await;
                if neighbour {
                    // Another browser behind the same address is another fingerprint.
                    world.connect(&bare("192.0.2.7", "c"), None).await.unwrap();
                }
                let away = Duration::from_millis(away);
                world.wait(away).await;
                last = Some((user_id, away));
            }
        });
    }
}

proptest! {
    // Fewer: each has a file, and passwords that cost what passwords cost.
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nobody_receives_or_lists_what_was_meant_for_another_with_accounts_merges_and_links(
        mode in prop_oneof![3 => Just(Recognition::Hint), 1 => Just(Recognition::Token)],
        cast in cast(),
        steps in prop::collection::vec(step_with_accounts(), 1..160),
    ) {
        run(async {
            let world = World::with_accounts(unlimited(mode)).await;
            Model::in_world(world, mode, cast).run(steps).await;
        });
    }
}

/// The same of the property with accounts: visitors do become members, parts of members, and go on
/// elsewhere.
#[test]
fn the_people_of_these_tests_do_become_members() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let cases = (cast(), prop::collection::vec(step_with_accounts(), 160));
    let mut changes = [0; 3];
    for _ in 0..20 {
        let (cast, steps) = cases.new_tree(&mut runner).unwrap().current();
        run(async {
            let world = World::with_accounts(unlimited(Recognition::Hint)).await;
            let mut model = Model::in_world(world, Recognition::Hint, cast);
            model.run(steps).await;
            for (all, one) in changes.iter_mut().zip(model.changes) {
                *all += one;
            }
        });
    }
    let [upgrades, merges, carried] = changes;
    assert!(upgrades > 10, "{upgrades} upgrades");
    assert!(merges > 3, "{merges} merges");
    assert!(carried > 5, "{carried} carried to another browser");
}

/// The property above means something only if people do take each other's addresses over, and do
/// reach each other.
#[test]
fn the_people_of_these_tests_do_meet() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let cases = (cast(), prop::collection::vec(step(), 160));
    let (mut delivered, mut taken_over, mut late) = (0, 0, 0);
    for _ in 0..100 {
        let (cast, steps) = cases.new_tree(&mut runner).unwrap().current();
        run(async {
            let mut model = Model::new(Recognition::Hint, cast).await;
            model.run(steps).await;
            delivered += model.delivered;
            taken_over += model.taken_over;
            late += model.late;
        });
    }
    assert!(delivered > 100, "{delivered} messages");
    assert!(taken_over > 20, "{taken_over} addresses changed hands");
    assert!(late > 5, "{late} messages came too late");
}
