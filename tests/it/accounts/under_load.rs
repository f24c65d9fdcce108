//! What passwords cost: the same for everybody, and bounded for all together.

use std::time::{Duration, Instant};

use stompbox::identity::accounts::AccountSettings;
use stompbox::model::Code;

use super::world::{PASSWORD, World, from};

fn unlimited() -> AccountSettings {
    AccountSettings {
        failures: 0,
        failures_per_net: 0,
        logins_per_net: 0,
        ..AccountSettings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_address_takes_as_long_as_somebodys() {
    let world = World::with(unlimited()).await;
    world.register("kim@example.com").await;
    let measure = async |email: &str| {
        let began = Instant::now();
        let wrong = world.login(email, "wrong horse battery").await;
        assert_eq!(wrong.unwrap_err().code, Code::Unauthorized);
        began.elapsed()
    };
    // The medians of turns that alternate, so that what else the machine does hits both.
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for turn in 0..15 {
        known.push(measure("kim@example.com").await);
        unknown.push(measure(&format!("nobody{turn}@example.com")).await);
    }
    known.sort_unstable();
    unknown.sort_unstable();
    let ratio = known[7].as_secs_f64() / unknown[7].as_secs_f64();
    assert!(
        (0.5..2.0).contains(&ratio),
        "{ratio}: {:?} {:?}",
        known[7],
        unknown[7]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_who_sign_in_at_once_wait_for_a_moment_or_are_told_to_come_back() {
    let world = World::with(unlimited()).await;
    let kim = world.register("kim@example.com").await;
    let here = from(1);
    let all = (0..500).map(|_| world.login_from(&here, "kim@example.com", PASSWORD, None));
    let all = futures_util::future::join_all(all);
    // Meanwhile whoever is signed in does not wait for them: no turn of his takes long.
    let (signed_in, began) = (&kim.access_token, Instant::now());
    let bystander = async {
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let turn = Instant::now();
            world.principal(signed_in).await.unwrap();
            longest = longest.max(turn.elapsed());
            tokio::task::yield_now().await;
        }
        longest
    };
    let (answers, longest) = tokio::join!(all, bystander);
    let took = began.elapsed();
    let mut taken = 0;
    for answer in answers {
        match answer {
            Ok(_) => taken += 1,
            Err(problem) => {
                assert_eq!(problem.code, Code::TryLater);
                assert!(problem.retry_after_ms.is_some());
            }
        }
    }
    assert!((1..=70).contains(&taken), "{taken}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    // And the next one is let in.
    assert!(world.login("kim@example.com", PASSWORD).await.is_ok());
}
