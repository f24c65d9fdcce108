//! What holds for every destination that a client may write, and for every rule of an operator.
//!
//! The input is two texts with a NUL between them: what is sent to, and what is subscribed to (or a
//! table of rules). Shared by the fuzz target and by the test that replays the corpus.

use stompbox::model::{Destination, Kind, Pattern, Prefixes, is_pattern};
use stompbox::policy::{Rules, is_reserved, may_send, may_subscribe, patterns};

/// Checks one input; panics when something does not hold.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (left, right) = text.split_once('\0').unwrap_or((&text, ""));
    let open = Rules::parse("all /topic/** anyone; all /queue/** anyone; send /user/** anyone")
        .expect("valid rules");
    let default = Rules::default();
    // Whatever an operator writes is taken or refused.
    let _taken = Rules::parse(right);
    let prefixes = Prefixes::default();
    let (left, right) = (parsed(&prefixes, left), parsed(&prefixes, right));
    for destination in [&left, &right].into_iter().flatten() {
        one(&default, &open, destination);
    }
    if let (Some(Destination::Topic(sent)), Some(Destination::Topic(subscribed))) = (&left, &right)
    {
        two(&open, sent, subscribed);
    }
}

/// What is read is written so that it reads back.
fn parsed(prefixes: &Prefixes, text: &str) -> Option<Destination> {
    let destination = prefixes.parse(text).ok()?;
    let canonical = destination.to_string();
    let again = prefixes.parse(&canonical);
    assert_eq!(again.as_ref(), Ok(&destination), "{text:?} {canonical:?}");
    Some(destination)
}

fn one(default: &Rules, open: &Rules, destination: &Destination) {
    for kind in [Kind::Anonymous, Kind::Member] {
        let sends = may_send(open, kind, destination).is_ok();
        assert!(
            sends || may_send(default, kind, destination).is_err(),
            "who opens everything opens no less: {destination}"
        );
        match destination {
            Destination::Topic(text) | Destination::Queue(text) if sends => {
                assert!(!is_reserved(text), "{text}");
                assert!(!is_pattern(text), "{text}");
            }
            Destination::User(rest) => {
                assert!(kind == Kind::Member || may_send(default, kind, destination).is_err());
                assert!(!sends || rest.contains('/'), "{rest}");
            }
            Destination::App(_) | Destination::ReplyQueue(_) => assert!(sends),
            Destination::UserQueue(_) | Destination::TempQueue(_) => assert!(!sends),
            Destination::Topic(_) | Destination::Queue(_) => {}
        }
        let subscribes = may_subscribe(open, kind, destination).is_ok();
        match destination {
            Destination::App(_) | Destination::ReplyQueue(_) => assert!(!subscribes),
            Destination::Topic(text) if subscribes && !is_pattern(text) => {
                assert!(!is_reserved(text), "{text}");
            }
            Destination::Topic(_)
            | Destination::Queue(_)
            | Destination::User(_)
            | Destination::UserQueue(_)
            | Destination::TempQueue(_) => {}
        }
    }
}

fn two(open: &Rules, sent: &str, subscribed: &str) {
    let (Ok(pattern), Ok(other)) = (Pattern::parse(subscribed), Pattern::parse(sent)) else {
        // Neither can be compared: too long for a pattern, which only matters where there is one.
        let refused = may_subscribe(open, Kind::Member, &Destination::Topic(subscribed.into()));
        let is_meant = is_pattern(subscribed) && Pattern::parse(subscribed).is_err();
        assert!(!is_meant || refused.is_err(), "{subscribed}");
        return;
    };
    assert_eq!(pattern.overlaps(&other), other.overlaps(&pattern));
    assert!(!pattern.covers(&other) || pattern.overlaps(&other));
    if !is_pattern(sent) {
        let matches = pattern.matches(sent);
        assert_eq!(matches, pattern.covers(&other), "{subscribed} {sent}");
        assert_eq!(matches, pattern.overlaps(&other), "{subscribed} {sent}");
    }
    if patterns::is_open_to_patterns(sent) {
        assert!(!is_reserved(sent), "{sent}");
    }
}
