//! Secrets and cookies: what is genuine reads back, and nothing else is read.

use std::sync::Arc;

use super::*;
use crate::store::VISIT_LIFE;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

const VISIT: Visit = Visit {
    address: [1, 2, 3, 4, 5, 6, 7, 8, 9],
    made_at: UnixMillis(1_800_000_000_000),
    used_at: UnixMillis(1_800_000_000_001),
    is_cookie: false,
    is_loose: true,
    is_korean: false,
};

fn key(text: &[u8]) -> FingerprintKey {
    FingerprintKey::from_bytes(text)
}

fn cookies(text: &[u8]) -> VisitorCookies {
    let clock = Arc::new(|| NOW);
    VisitorCookies::new(key(text), Duration::from_secs(60), clock)
}

#[test]
fn a_signed_secret_reads_back_under_its_key_only() {
    let ours = key(b"ours");
    for flags in 0..8 {
        let visit = Visit {
            is_loose: flags & 1 != 0,
            is_korean: flags & 2 != 0,
            is_cookie: flags & 4 != 0,
            ..VISIT
        };
        let told = visit.tell(&ours);
        assert_eq!(told.len(), 56);
        assert!(is_visitor_token(&told));
        assert_eq!(Visit::read(&ours, &told), Some(visit));
        assert_eq!(Visit::read(&key(b"theirs"), &told), None);
        assert_eq!(Claim::read(&ours, &told), Some(Claim::of(visit)));
    }
}

#[test]
fn a_changed_secret_is_not_read() {
    let ours = key(b"ours");
    let told = VISIT.tell(&ours);
    for at in 0..told.len() {
        let mut bytes = told.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(Claim::read(&ours, &changed), None, "{at}");
    }
    for text in [
        "",
        "new",
        "sbv2.",
        "sbv2",
        &told[..told.len() - 1],
        &format!("{told}A"),
    ] {
        assert_eq!(Claim::read(&ours, text), None, "{text}");
    }
}

#[test]
fn the_store_names_a_secret_by_address_and_time_of_making() {
    let slid = Visit {
        used_at: UnixMillis(1_900_000_000_000),
        is_loose: false,
        ..VISIT
    };
    assert_eq!(slid.token(), VISIT.token());
    assert_eq!(slid.token(), token_of(&VISIT.user_id(), VISIT.made_at));
    let later = Visit {
        made_at: UnixMillis(1_800_000_000_001),
        ..VISIT
    };
    assert_ne!(later.token(), VISIT.token());
    let next = VISIT.next(&key(b"ours"));
    assert_ne!(next.user_id(), VISIT.user_id());
    assert_eq!(next, VISIT.next(&key(b"ours")));
    assert_ne!(next, VISIT.next(&key(b"theirs")));
}

#[test]
fn a_random_secret_reads_back_and_shows_nothing() {
    let secret = Secret([7; SECRET_BYTES]);
    let told = secret.tell();
    assert_eq!(told.len(), 48);
    assert_eq!(secret.hash(), <[u8; 32]>::from(Sha256::digest(&told)));
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    let zeros = Secret([0; SECRET_BYTES]).tell();
    let unused_bits = format!("{}B", &zeros[..zeros.len() - 1]);
    for text in [
        "",
        "new",
        "sbv1.",
        &zeros[1..],
        &zeros[..zeros.len() - 1],
        &format!("{zeros}A"),
        &format!("{zeros}="),
        &zeros.replace("sbv1", "sbv2"),
        &zeros.replace('A', "+"),
        &unused_bits,
    ] {
        assert!(Claim::read(&key(b"ours"), text).is_none(), "{text}");
    }
}

#[test]
fn a_genuine_cookie_is_kept_and_everything_else_replaced() {
    let ours = cookies(b"ours");
    let (value, presented) = ours.cookie_for(None).unwrap();
    assert!(!presented);
    assert_eq!(ours.secret_in(&value).as_ref(), Some(&value));
    let random = Secret([9; SECRET_BYTES]);
    let old = ours.value_of(&random);
    assert_eq!(ours.secret_in(&old), Some(random.tell()));

    let (foreign, _) = cookies(b"theirs").cookie_for(None).unwrap();
    let forged = format!("{}.{}", random.tell(), "A".repeat(22));
    let check = |header: &str, kept: Option<&str>| {
        let (found, presented) = ours.cookie_for(Some(header)).unwrap();
        let is_kept = kept == Some(found.as_str());
        assert_eq!(
            (is_kept, presented),
            (kept.is_some(), kept.is_some()),
            "{header}"
        );
        assert!(ours.secret_in(&found).is_some());
    };
    check(&format!("sb_vid={value}"), Some(&value));
    check(&format!("sb_vid={old}"), Some(&old));
    check(&format!("a=b; sb_vid={value}; c=d"), Some(&value));
    check(&format!("sb_vid={forged}; sb_vid={value}"), Some(&value));
    check(&format!("sb_vid={value};sb_vid={forged}"), Some(&value));
    check(&format!("xsb_vid={value}"), None);
    check(&format!("sb_vid={foreign}"), None);
    check(&format!("sb_vid={forged}"), None);
    check(&format!("sb_vid={}", random.tell()), None);
    check(&format!("sb_vid={value}A"), None);
    check("sb_vid=", None);
    check("", None);
}

#[test]
fn a_cookie_is_looked_up_once_it_is_older_than_a_visit() {
    let ours = cookies(b"ours");
    let is_old = |value: &str| ours.old_in(&format!("a=b; sb_vid={value}")).is_some();
    let (fresh, _) = ours.cookie_for(None).unwrap();
    assert!(!is_old(&fresh));
    let of_age = |age: Duration| {
        Visit::at([1; 9])
            .told_at(NOW.before(age))
            .tell(&key(b"ours"))
    };
    assert!(!is_old(&of_age(VISIT_LIFE)));
    assert!(is_old(&of_age(VISIT_LIFE + Duration::from_millis(1))));
    let random = ours.value_of(&Secret([9; SECRET_BYTES]));
    assert_eq!(ours.claim_in(&random).unwrap().visit, None);
    assert!(is_old(&random));
    assert!(!is_old("invented"));
}

#[test]
fn the_cookie_is_hidden_from_scripts_and_secure_under_tls() {
    let plain = cookies(b"k");
    assert_eq!(
        plain.set_cookie("v", false),
        "sb_vid=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
    );
    assert!(plain.set_cookie("v", true).ends_with("; Secure"));
    assert!(
        plain
            .clear_cookie(false)
            .starts_with("sb_vid=; Path=/; Max-Age=0;")
    );
}
