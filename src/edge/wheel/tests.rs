//! The promises of the wheel, in time that is advanced.

use tokio::time::{advance, timeout};

use super::*;

fn wheel() -> (Wheel, TaskTracker) {
    let tracker = TaskTracker::new();
    (Wheel::new(tracker.clone()), tracker)
}

/// How late an alarm for this time rang; the time may have been advanced by hand.
async fn lateness(alarm: &mut Alarm, at: Instant) -> Duration {
    alarm.await;
    let now = Instant::now();
    assert!(now >= at, "{:?} early", at - now);
    now - at
}

/// One tick, and what the timer of the runtime rounds up to.
const LATE_MAX: Duration = Duration::from_millis(51);

#[tokio::test(start_paused = true)]
async fn an_alarm_is_never_early_and_at_most_a_tick_late() {
    let (wheel, _) = wheel();
    for millis in [
        0, 1, 49, 50, 51, 99, 1_000, 25_000, 51_150, 51_200, 51_250, 90_001, 3_600_000,
    ] {
        let at = Instant::now() + Duration::from_millis(millis);
        let mut alarm = wheel.alarm(at);
        let late = lateness(&mut alarm, at).await;
        assert!(late <= LATE_MAX, "{millis} ms: {late:?} late");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_alarms_ring_each_in_its_time() {
    let (wheel, _) = wheel();
    let begun = Instant::now();
    let alarms = (0..10_000_u64).map(|n| {
        // Spread over ten minutes by a step that has no common divisor with it.
        let at = begun + Duration::from_millis(n * 7_919 % 600_000);
        let mut alarm = wheel.alarm(at);
        async move { lateness(&mut alarm, at).await }
    });
    let latest = futures_util::future::join_all(alarms).await;
    assert!(latest.into_iter().max().unwrap() <= LATE_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_is_moved_rings_at_its_new_time_only() {
    let (wheel, _) = wheel();
    let begun = Instant::now();
    let seconds = |n: u64| begun + Duration::from_secs(n);
    let mut alarm = wheel.alarm(seconds(10));
    // Later, again and again: it does not ring meanwhile.
    for n in 11..100 {
        assert!(timeout(Duration::from_secs(1), &mut alarm).await.is_err());
        alarm.set(seconds(n + 10));
    }
    // Earlier, while it is waited for by nobody, and while it is.
    alarm.set(seconds(95));
    assert!(lateness(&mut alarm, seconds(95)).await <= LATE_MAX);
    alarm.set(seconds(200));
    let (late, ()) = tokio::join!(lateness(&mut alarm, seconds(200)), async {});
    assert!(late <= LATE_MAX);
    // Once rung it stays so until it is set anew.
    alarm.await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_is_moved_to_and_fro_rings_once_at_the_last_time() {
    let (wheel, _) = wheel();
    let begun = Instant::now();
    let mut alarm = wheel.alarm(begun + Duration::from_secs(50));
    for n in (1..50).rev() {
        alarm.set(begun + Duration::from_secs(n));
        alarm.set(begun + Duration::from_secs(n + 40));
    }
    let at = begun + Duration::from_secs(41);
    assert!(lateness(&mut alarm, at).await <= LATE_MAX);
    assert_eq!(alarm.deadline(), at);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_alarm_and_begins_again() {
    let (wheel, tracker) = wheel();
    assert_eq!(tracker.len(), 0, "a wheel without alarms runs nothing");
    for _ in 0..3 {
        let far = Instant::now() + Duration::from_secs(3_600);
        let alarms: Vec<_> = (0..100).map(|_| wheel.alarm(far)).collect();
        assert_eq!(tracker.len(), 1);
        drop(alarms);
        tracker.close();
        let ended = timeout(Duration::from_millis(1), tracker.wait());
        assert!(
            ended.await.is_ok(),
            "the task waits for alarms that are gone"
        );
        tracker.reopen();
    }
    let at = Instant::now() + Duration::from_secs(1);
    assert!(lateness(&mut wheel.alarm(at), at).await <= LATE_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_forgotten() {
    let (wheel, _) = wheel();
    let _kept = wheel.alarm(Instant::now() + Duration::from_secs(3_600));
    for _ in 0..1_000 {
        drop(wheel.alarm(Instant::now() + Duration::from_secs(5)));
    }
    advance(Duration::from_secs(6)).await;
    tokio::task::yield_now().await;
    let filed: usize = wheel
        .0
        .lock()
        .ticks
        .iter()
        .map(|tick| tick.filed.len())
        .sum();
    assert_eq!(filed, 1);
}

#[tokio::test(start_paused = true)]
async fn what_moved_alarms_leave_behind_wakes_nobody() {
    let (wheel, _) = wheel();
    let begun = Instant::now();
    let millis = |n: u64| begun + Duration::from_millis(n);
    let alarms: Vec<_> = (0..100)
        .map(|n| wheel.alarm(millis(10_000 + n * 50)))
        .collect();
    for alarm in &alarms {
        alarm.set(millis(5_000));
        alarm.set(millis(40_000));
    }
    // The first wakes the task, which files all of them under the second.
    for (woken_ms, next_ms) in [(0, 5_000), (5_000, 40_000)] {
        sleep_until(millis(woken_ms + 60)).await;
        let ring = wheel.0.lock();
        assert_eq!(ring.next, wheel.0.tick_of(millis(next_ms)));
    }
    for alarm in alarms {
        assert!(lateness(&mut { alarm }, millis(40_000)).await <= LATE_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_long_sleep_nothing_is_lost() {
    let (wheel, _) = wheel();
    let begun = Instant::now();
    let alarms: Vec<_> = (0..2_000)
        .map(|n| wheel.alarm(begun + Duration::from_millis(n * 50)))
        .collect();
    advance(Duration::from_secs(600)).await;
    for alarm in alarms {
        assert!(timeout(LATE_MAX, alarm).await.is_ok());
    }
}
