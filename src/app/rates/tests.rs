//! What one session may send.

use super::*;
use crate::app::tests::somebody;

fn activity() -> Activity {
    let speaker = Speaker::new(Arc::new(somebody("a")), None);
    Activity::new(
        speaker,
        std::net::Ipv4Addr::LOCALHOST.into(),
        &AppSettings::default(),
    )
}

#[test]
fn frames_of_one_connection_are_limited() {
    let activity = activity();
    let rate = Rate {
        capacity: 3,
        per_10_min: 1,
    };
    let taken = (0..5).filter(|_| activity.take_frame(rate).is_ok()).count();
    assert_eq!(taken, 3);
    let off = Rate {
        capacity: 0,
        per_10_min: 0,
    };
    assert!(activity.take_frame(off).is_ok());
    let prepaid = activity.prepaid();
    assert!((0..5).all(|_| prepaid.take_frame(rate).is_ok()));
}

#[test]
fn three_hundred_refusals_in_a_minute_are_abuse() {
    let activity = activity();
    let verdicts: Vec<bool> = (0..REFUSALS_MAX).map(|_| activity.is_abusive()).collect();
    assert_eq!(verdicts.iter().filter(|abusive| **abusive).count(), 1);
    assert_eq!(verdicts.last(), Some(&true));
}
