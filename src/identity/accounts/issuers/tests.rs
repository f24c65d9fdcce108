//! Tokens of sites: whose are taken, and whose are not.
//!
//! Invariant: no key of anybody stands here; the one token by RSA was signed once, and its key
//! thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;
use crate::identity::accounts::jwt::tests::signed;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const MODULUS: &str = concat!(
    "nINYn6AqkUmLYVRV8TkbW-a-KazPqKsaA6tvNExFQqQfqu-kQxnWmjODHjq5L5LJVaxyae_zGURkuhve9BoFwyzgaK",
    "TpN3hbZ_XKEZe7gGKfPeBRhuA5vLagD7PQulyCJy96DYBhCLZoBQ9-R_U-KEmAdqVXuS6ZBMJorlDVCCRyXPA9Uzvv",
    "g1D67GE6_rAjdIrcfyQt-LXBxvlqLVl-j0UYTzuM-YTfRL6RuzqQgxB0hzpzIFHDJDAjabd1ySccAHL040WQ5ybR4B",
    "W11xE1yDpwOxomX9bFcoJEfAkcOzzeC8RKbPeg1RmGeaJCZrAWFNAnk5UiS-Vlqj-4w4j-2w",
);
const BY_RSA: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIxIn0.eyJpc3MiOiJodHRwczovL3Nob3AuZXhhbXBsZS",
    "IsImF1ZCI6WyJjaGF0Iiwib3RoZXIiXSwic3ViIjoiNDIiLCJqdGkiOiJhIiwiaWF0IjoxNzAwMDAwMDAwLCJuYmYi",
    "OjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDkwMCwibmFtZSI6IktpbSIsInJvbGVzIjpbImFkbWluIl19.l3W5sVPuZ",
    "X-AYgqZAYHu_i3FWOH79wOMTHa57sFMER2WYk-bguIF_c7KymR3qCa438NkZSAL2vza_xEqKJOVqoQP0jy0KqJiSbo",
    "dlnuuQ7kS6b0lTnPnDzWhSBlbXtNzmukOgpEIaWzlYs0JbVIbtrJ9J0N9z7hDno4muG0Ut8RpJ4U55HvIhL5fix2YB",
    "lRR0fo0wCAGabVKK0PszpZursRLXso_kWvRFnUv2w7OXJW_VapBzaGZDXEa9Eikn86rnVsi0VSt_I-iaRf_3dfW-Wh",
    "nanU9Hmn3brqNIeCkBHzds_QxdaPUd0fhnRcCgUVBBqWlWfBRAUtUK06uWP3Qww",
);

fn rsa_set() -> Vec<u8> {
    let key =
        json!({"kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", "n": MODULUS, "e": "AQAB"});
    json!({"keys": [{"kty": "oct", "kid": "r1", "k": "AAAA"}, key]})
        .to_string()
        .into_bytes()
}

fn issuer(name: &str, keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        name: name.to_owned(),
        iss: format!("https://{name}.example"),
        aud: "chat".to_owned(),
        keys,
        roles_claim: "roles".to_owned(),
        name_claim: "name".to_owned(),
        may_make_admins: false,
    }
}

fn issuers(settings: &[IssuerSettings]) -> Issuers {
    Issuers::new(settings, Duration::from_secs(30)).unwrap()
}

fn claims() -> Value {
    let now = NOW.0 / 1_000;
    json!({"iss": "https://shop.example", "aud": "chat", "sub": "42", "jti": "a", "iat": now,
           "nbf": now, "exp": now + 900, "name": "Kim"})
}

fn by_secret(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

#[tokio::test]
async fn a_sites_token_by_its_secret_speaks_for_the_sites_user() {
    let shop = issuer("shop", KeySource::Secret(SECRET.to_vec()));
    let site = issuers(std::slice::from_ref(&shop));
    let user = site.read(&by_secret(&claims()), NOW).await.ok().unwrap();
    assert_eq!((user.user_id.as_str(), user.name.as_str()), ("42", "Kim"));
    assert_eq!(
        (user.kind, user.expires_at),
        (Kind::Member, NOW.after(Duration::from_secs(900)))
    );
    let refuses = async |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        let read = site.read(&by_secret(&claims), NOW).await;
        assert!(read.is_err(), "{name}: {}", claims[name]);
    };
    let now = NOW.0 / 1_000;
    refuses("iss", json!("https://evil.example")).await;
    refuses("aud", json!("other")).await;
    refuses("aud", json!(["other"])).await;
    refuses("sub", json!("a/b")).await;
    refuses("sub", json!(7)).await;
    refuses("jti", json!("")).await;
    refuses("exp", json!(now - 31)).await;
    refuses("exp", json!((now + 900).to_string())).await;
    refuses("exp", json!(now as f64 + 0.5)).await;
    refuses("nbf", json!(now + 31)).await;
    for name in ["iss", "aud", "sub", "jti", "exp"] {
        refuses(name, json!(null)).await;
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(site.read(&by_secret(&claims), NOW).await.is_err(), "{name}");
    }
    let other = signed(
        &json!({"alg": "HS256"}),
        &claims(),
        b"another secret of thirty-two octets",
    );
    assert!(site.read(&other, NOW).await.is_err());
    let none = signed(&json!({"alg": "none"}), &claims(), SECRET);
    assert!(site.read(&none, NOW).await.is_err());
    // With two sites each is under its own name.
    let two = issuers(&[shop, issuer("club", KeySource::Jwks(rsa_set()))]);
    let user = two.read(&by_secret(&claims()), NOW).await.ok().unwrap();
    assert_eq!(user.user_id.as_str(), "shop.42");
}

#[tokio::test]
async fn a_sites_public_key_verifies_and_is_no_secret() {
    let mut shop = issuer("shop", KeySource::Jwks(rsa_set()));
    let user = issuers(std::slice::from_ref(&shop))
        .read(BY_RSA, NOW)
        .await
        .ok()
        .unwrap();
    assert_eq!((user.user_id.as_str(), user.kind), ("42", Kind::Member));
    shop.may_make_admins = true;
    let site = issuers(&[shop]);
    let user = site.read(BY_RSA, NOW).await.ok().unwrap();
    assert_eq!(user.kind, Kind::Admin);
    for secret in [MODULUS.as_bytes(), &rsa_set(), b"AAAA"] {
        for alg in ["HS256", "RS256"] {
            let header = json!({"alg": alg, "kid": "r1"});
            let read = site.read(&signed(&header, &claims(), secret), NOW).await;
            assert!(read.is_err(), "{alg}");
        }
    }
    let changed = BY_RSA.replacen("eyJhbGciOiJSUzI1NiIs", "eyJhbGciOiJQUzI1NiIs", 1);
    assert!(site.read(&changed, NOW).await.is_err());
    assert!(
        site.read(BY_RSA, NOW.after(Duration::from_secs(1_000)))
            .await
            .is_err()
    );
}

#[test]
fn issuers_that_cannot_be_used_are_refused() {
    let check = |settings: &[IssuerSettings], words: &str| {
        let error = Issuers::new(settings, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    let shop = issuer("shop", KeySource::Secret(SECRET.to_vec()));
    check(&[shop.clone(), shop.clone()], "twice");
    check(
        &[issuer("shop", KeySource::Secret(SECRET[..31].to_vec()))],
        "32 octets",
    );
    check(
        &[issuer(
            "shop",
            KeySource::JwksUrl("http://example.com/jwks".to_owned()),
        )],
        "https://",
    );
    check(
        &[issuer("shop", KeySource::Jwks(b"{}".to_vec()))],
        "JWK set",
    );
    let symmetric = json!({"keys": [{"kty": "oct", "kid": "a", "k": "AAAA", "alg": "HS256"}]});
    check(
        &[issuer(
            "shop",
            KeySource::Jwks(symmetric.to_string().into_bytes()),
        )],
        "JWK set",
    );
    check(
        &[IssuerSettings {
            aud: String::new(),
            ..shop
        }],
        "aud=",
    );
}

/// A site of the test's own. It answers every request with what `answer` makes of its text, until
/// the test ends.
struct Site {
    url: String,
    asked: Arc<AtomicUsize>,
    work: TaskTracker,
    end: tokio_util::sync::CancellationToken,
}

impl Site {
    async fn new(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let (asked, work) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        let end = tokio_util::sync::CancellationToken::new();
        let counter = Arc::clone(&asked);
        let serving = async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::AcqRel);
                let mut request = Vec::new();
                while !is_whole(&request) && stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
                // Without an answer the line is held open: a site that hangs.
                let request = String::from_utf8_lossy(&request).into_owned();
                let Some(body) = answer(&request) else {
                    std::mem::forget(stream);
                    continue;
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _left = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        };
        work.spawn(end.clone().run_until_cancelled_owned(serving));
        Self {
            url,
            asked,
            work,
            end,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }

    async fn end(self) {
        self.end.cancel();
        self.work.close();
        self.work.wait().await;
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).map(|rest| {
        rest.lines()
            .next()
            .unwrap()
            .trim()
            .parse::<usize>()
            .unwrap()
    });
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn keys_behind_a_url_are_asked_for_once_a_minute_and_outlive_the_site() {
    let site = Site::new(|_| Some(String::from_utf8(rsa_set()).unwrap())).await;
    let all = issuers(&[issuer("shop", KeySource::JwksUrl(site.url.clone()))]);
    let minutes = |minutes: u64| NOW.after(Duration::from_secs(60 * minutes));
    for _ in 0..3 {
        assert!(all.read(BY_RSA, NOW).await.is_ok());
    }
    assert_eq!(site.asked(), 1);
    // A kid that nobody knows makes it ask, but not more often than that.
    let unknown = signed(&json!({"alg": "RS256", "kid": "nobody"}), &claims(), SECRET);
    for _ in 0..10 {
        assert!(all.read(&unknown, NOW).await.is_err());
        assert!(all.read(&unknown, minutes(1)).await.is_err());
    }
    assert_eq!(site.asked(), 2);
    site.end().await;
    // The site is away: old keys are as good as new ones, for a day.
    assert!(all.read(BY_RSA, minutes(12)).await.is_ok());
    let late = all.read(BY_RSA, minutes(24 * 60 + 2)).await.err().unwrap();
    assert_eq!(late.code, Code::TryLater);
}

#[tokio::test]
async fn a_site_that_is_asked_about_tokens_is_asked_once_a_minute_for_each() {
    let answer = |request: &str| {
        assert!(
            request.contains("uthorization: Bearer the-secret"),
            "{request}"
        );
        let exp = NOW.0 / 1_000 + 90;
        Some(match request.contains("token=good") {
            true => json!({"active": true, "sub": "42", "exp": exp, "name": "Kim"}).to_string(),
            false => json!({"active": false, "sub": "42"}).to_string(),
        })
    };
    let site = Site::new(answer).await;
    let keys = KeySource::Introspect {
        url: site.url.clone(),
        secret: "the-secret".to_owned(),
    };
    let settings = IssuerSettings {
        iss: String::new(),
        ..issuer("gatrix", keys)
    };
    let all = issuers(&[settings]);
    let seconds = |seconds| NOW.after(Duration::from_secs(seconds));
    for _ in 0..3 {
        let user = all.read("good", NOW).await.ok().unwrap();
        assert_eq!(user.user_id.as_str(), "42");
        assert!(all.read("bad", NOW).await.is_err());
    }
    assert_eq!(site.asked(), 2);
    assert!(all.read("good", seconds(61)).await.is_ok());
    assert_eq!(site.asked(), 3);
    // Never beyond its end, whatever is remembered.
    assert!(all.read("good", seconds(91)).await.is_err());
    assert!(all.read("two words", NOW).await.is_err());
    assert!(all.read("", NOW).await.is_err());
    assert_eq!(site.asked(), 4);
    site.end().await;
}

#[tokio::test]
async fn a_site_that_hangs_or_says_too_much_is_given_up() {
    let hangs = Site::new(|_| None).await;
    let floods = Site::new(|_| Some(format!("{{\"keys\":[{}]}}", " ".repeat(100_000)))).await;
    for site in [&hangs, &floods] {
        let all = issuers(&[issuer("shop", KeySource::JwksUrl(site.url.clone()))]);
        let began = std::time::Instant::now();
        assert!(all.read(BY_RSA, NOW).await.is_err());
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    hangs.end().await;
    floods.end().await;
}

#[test]
fn remembered_users_and_answers_of_sites_are_bounded() {
    let admitted = Admitted::new();
    let fetch = Fetch::new();
    let asked = Asked::new(String::new(), String::new(), fetch);
    for number in 0..2 * ADMITTED_MAX {
        admitted.note(&number.to_string().parse().unwrap(), "Kim");
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        asked.remember(hash, None, NOW);
    }
    assert!(admitted.0.len() <= ADMITTED_MAX);
    assert!(asked.remembered() <= ADMITTED_MAX);
}
