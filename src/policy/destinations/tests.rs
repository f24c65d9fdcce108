//! Who may do what where, as tables, and that no table opens what is somebody's.

use proptest::prelude::*;

use super::*;
use crate::model::Prefixes;

const YES: Option<Code> = None;
const FORBIDDEN: Option<Code> = Some(Code::Forbidden);
const MEMBERS: Option<Code> = Some(Code::AnonymousNotAllowed);
const UNKNOWN: Option<Code> = Some(Code::UnknownDestination);
const INVALID: Option<Code> = Some(Code::ValidationFailed);

fn code(verdict: Result<(), Problem>) -> Option<Code> {
    verdict.err().map(|problem| problem.code)
}

/// What a visitor may do by the default rules.
fn check(text: &str, send: Option<Code>, subscribe: Option<Code>) {
    let destination = Destination::parse(text).unwrap();
    let rules = Rules::default();
    let kind = Kind::Anonymous;
    let found = code(may_send(&rules, kind, &destination));
    assert_eq!(found, send, "SEND {text}");
    let found = code(may_subscribe(&rules, kind, &destination));
    assert_eq!(found, subscribe, "SUBSCRIBE {text}");
    // A member may what a visitor may, and besides what only members may.
    let members = |found: Option<Code>| found.filter(|code| *code != Code::AnonymousNotAllowed);
    let found = code(may_send(&rules, Kind::Member, &destination));
    assert_eq!(found, members(send), "SEND {text}");
    let found = code(may_subscribe(&rules, Kind::Member, &destination));
    assert_eq!(found, members(subscribe), "SUBSCRIBE {text}");
}

#[test]
fn every_destination_is_open_to_those_whom_it_concerns() {
    check("/app/chat.send", YES, UNKNOWN);
    check("/app/anything", YES, UNKNOWN);
    for queue in crate::model::UserQueue::ALL {
        check(queue.as_str(), FORBIDDEN, YES);
    }
    check("/user/queue/other", FORBIDDEN, YES);
    check("/user/topic/other", FORBIDDEN, YES);
    check("/user/anything", FORBIDDEN, YES);
    check("/user/queue/messages/x", FORBIDDEN, YES);
    check("/user/bob/queue/other", MEMBERS, FORBIDDEN);
    check("/user/bob/topic/other", MEMBERS, FORBIDDEN);
    check("/user/bob/other", MEMBERS, YES);
    check("/user/user_0000000000000/other", MEMBERS, FORBIDDEN);
    check("/user/user_0000000000000", FORBIDDEN, FORBIDDEN);
    check("/topic/news", YES, YES);
    check("/topic/news.kr/today", YES, YES);
    check("/topic/뉴스", YES, YES);
    check("/topic/100%", YES, YES);
    check("/topic/100%zz", YES, YES);
    check("/topic/a%20b", YES, YES);
    check("/topic/a%2Fb", YES, YES);
    check("/queue/jobs", YES, YES);
    check("/queue/a%2Fb", YES, YES);
    check("/temp-queue/a", FORBIDDEN, YES);
    let reply = "/reply-queue/0123456789abcdef0123456789abcdef";
    check(reply, YES, FORBIDDEN);
}

#[test]
fn names_of_the_service_are_guarded() {
    for text in [
        "/topic/room.01j9",
        "/topic/ROOM.1",
        "/topic/ｒｏｏｍ.01j9",
        "/topic/announce/x",
        "/topic/x-user0123456789",
        "/queue/errors-user4f2a91bc",
    ] {
        check(text, FORBIDDEN, FORBIDDEN);
    }
    check("/topic/rooms", YES, YES);
    check("/queue/DLQ.jobs", FORBIDDEN, YES);
    check("/queue/dlq.jobs", FORBIDDEN, YES);
    for queue in [
        "messages",
        "errors",
        "replies",
        "notifications",
        "presence",
        "calls",
    ] {
        for rest in ["bob/queue", "bob/QUEUE", "user_0000000000000/queue"] {
            let text = format!("/user/{rest}/{queue}");
            let destination = Destination::parse(&text).unwrap();
            let found = may_send(&Rules::default(), Kind::Member, &destination);
            assert_eq!(code(found), FORBIDDEN, "{text}");
        }
    }
}

#[test]
fn wildcards_are_for_subscriptions_to_topics() {
    for text in [
        "/topic/*",
        "/topic/**",
        "/topic/a/*",
        "/topic/a.*",
        "/topic/a.#",
        "/topic/#",
        "/topic/*/a",
        "/topic/room.*",
    ] {
        check(text, INVALID, YES);
    }
    for text in [
        "/topic/>",
        "/topic/a.>",
        "/topic/**/a",
        "/queue/*",
        "/queue/a.#",
        &format!("/topic{}", "/*".repeat(32)),
    ] {
        check(text, INVALID, INVALID);
    }
    check("/user/queue/*", FORBIDDEN, INVALID);
    check("/user/**", FORBIDDEN, INVALID);
    check("/user/*/other", INVALID, INVALID);
    check("/user/*/queue/other", INVALID, FORBIDDEN);
    check("/topic/c#", YES, YES);
    check("/topic/a*b", YES, YES);
}

#[test]
fn encoded_separators_but_for_the_slash_are_refused() {
    for text in [
        "/topic/room%2e1",
        "/topic/room%2E1",
        "/topic/%2e%2e",
        "/topic/a%5cb",
        "/topic/a%00",
        "/topic/a%0d%0ab",
        "/topic/a%252fb",
        "/topic/a%7f",
        "/queue/a%2eb",
    ] {
        check(text, INVALID, INVALID);
    }
    check("/user/queue/a%2eb", FORBIDDEN, INVALID);
}

#[test]
fn dead_letters_are_for_those_who_may_read_the_queue() {
    let rules = Rules::parse("subscribe /queue/secret member; all /queue/** anyone").unwrap();
    let may = |kind, text: &str| {
        let destination = Destination::parse(text).unwrap();
        code(may_subscribe(&rules, kind, &destination))
    };
    for text in [
        "/queue/secret",
        "/queue/DLQ.secret",
        "/queue/DLQ.DLQ.secret",
    ] {
        assert_eq!(may(Kind::Anonymous, text), MEMBERS, "{text}");
        assert_eq!(may(Kind::Member, text), YES, "{text}");
    }
    assert_eq!(may(Kind::Anonymous, "/queue/DLQ.open"), YES);
}

#[test]
fn ones_own_may_be_written_with_ones_name() {
    let me: UserId = "me".parse().unwrap();
    assert_eq!(own(&me, "me/queue/x"), "queue/x");
    assert_eq!(own(&me, "queue/x"), "queue/x");
    assert_eq!(own(&me, "mean/queue/x"), "mean/queue/x");
    assert_eq!(own(&me, "me"), "me");
}

/// Tables that open everything that a table can open.
fn any_rules() -> impl Strategy<Value = Rules> {
    let tables = &[
        Rules::DEFAULT,
        "all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
        "send /user/*/queue/** anyone; subscribe /topic/** member",
        "",
    ];
    prop::sample::select(&tables[..]).prop_map(|table| Rules::parse(table).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_table_opens_what_is_somebodys_or_the_services(
        rules in any_rules(),
        is_member: bool,
        queue_fans_out: bool,
        text in "/(user|topic|queue|sub)(/(bob|user_0000000000000|queue|topic|messages|Errors|room\\.1|ROOM.1|announce|x|\\*|\\*\\*|#|>|DLQ\\.x|a%2fb|a%2e)){1,4}",
    ) {
        let kind = if is_member { Kind::Member } else { Kind::Anonymous };
        let prefixes = Prefixes { queue_fans_out, ..Prefixes::default() };
        let Ok(destination) = prefixes.parse(&text) else {
            return Ok(());
        };
        let kept = destination.to_string();
        if may_subscribe(&rules, kind, &destination).is_ok() {
            // By its name nobody reaches what is another's, and no wildcard leaves its family.
            prop_assert!(!kept.starts_with("/user/user_"), "{}", kept);
            prop_assert!(!kept.starts_with("/user/bob/queue"), "{}", kept);
            prop_assert!(is_pattern(&kept) || !kept.to_lowercase().starts_with("/topic/room."));
            prop_assert!(is_pattern(&kept) || !kept.starts_with("/topic/announce"));
            if is_pattern(&kept) {
                let pattern = Pattern::parse(&kept).unwrap();
                prop_assert!(!pattern.matches("/user/bob/queue/x"), "{}", kept);
                prop_assert!(!pattern.matches("/reply-queue/x"), "{}", kept);
            }
        }
        if may_send(&rules, kind, &destination).is_ok() {
            prop_assert!(!is_pattern(&kept), "{}", kept);
            let folded = kept.to_lowercase();
            for reserved in ["/topic/room.", "/topic/announce", "/user/queue/", "/queue/dlq."] {
                prop_assert!(!folded.starts_with(reserved), "{}", kept);
            }
            let segments: Vec<_> = folded.split('/').collect();
            let own = segments.get(3..5);
            let is_of_service = |own| own == ["queue", "messages"] || own == ["queue", "errors"];
            prop_assert!(segments[1] != "user" || !own.is_some_and(is_of_service), "{}", kept);
        }
    }
}
