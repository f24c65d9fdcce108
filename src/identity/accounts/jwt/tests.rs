//! Forged tokens of every class, and what happens to each.
//!
//! Invariant: every forgery is one change to a token that is taken, so that nothing is refused for
//! another reason than the one that is tested.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"another secret of thirty-two octets";

/// A private key as `openssl genpkey -algorithm ed25519` writes it.
pub(in crate::identity::accounts) fn pem(seed: u8) -> String {
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let der = [&head[..], &[seed; 32]].concat();
    let text = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn material(secret: &[u8]) -> KeyMaterial {
    KeyMaterial {
        secret: secret.to_vec(),
        key: None,
        secret_previous: None,
        key_previous: None,
    }
}

fn jwt(material: &KeyMaterial) -> Jwt {
    Jwt::new(material, JwtSettings::default()).unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Signed with HS256 whatever the header says.
pub(in crate::identity::accounts) fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{text}.{mac}")
}

fn user() -> UserId {
    "user_0123456789abc".parse().unwrap()
}

fn genuine(jwt: &Jwt) -> String {
    let life = jwt.access_ttl();
    jwt.sign(&user(), Kind::Member, SignInId(7), NOW, life)
        .unwrap()
}

/// The header and the claims of a token.
fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let octets = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice::<Value>(&octets).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

fn refuses(jwt: &Jwt, token: &str, about: &str) {
    let problem = jwt.read(token, NOW).expect_err(about);
    assert_eq!(problem.code, Code::Unauthorized, "{about}");
}

#[test]
fn a_genuine_token_is_taken_until_it_ends_and_a_little_longer() {
    let jwt = jwt(&material(SECRET));
    let token = genuine(&jwt);
    assert!(jwt.claims_to_be_ours(&token));
    let (header, claims) = parts(&token);
    let again = signed(&header, &claims, SECRET);
    assert!(jwt.read(&again, NOW).is_ok(), "the tests sign as we do");
    let end = NOW.after(jwt.access_ttl());
    let spoken = Spoken::Account {
        user_id: user(),
        sign_in: SignInId(7),
        expires_at: end,
    };
    let seconds = Duration::from_secs;
    assert_eq!(jwt.read(&token, NOW), Ok(spoken.clone()));
    assert_eq!(
        jwt.read(&token, NOW.before(seconds(30))),
        Ok(spoken.clone())
    );
    assert_eq!(jwt.read(&token, end.after(seconds(29))), Ok(spoken));
    let late = jwt.read(&token, end.after(seconds(30))).unwrap_err();
    assert_eq!(late.code, Code::TokenExpired);
    let early = jwt.read(&token, NOW.before(seconds(31))).unwrap_err();
    assert_eq!(early.code, Code::Unauthorized);
}

#[test]
fn forged_headers_are_refused() {
    let jwt = jwt(&material(SECRET));
    let (header, claims) = parts(&genuine(&jwt));
    let kid = header["kid"].as_str().unwrap();
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(OTHER), "alg": "HS256"});
    let check = |name: &str, value: Value, key: &[u8]| {
        let mut header = header.clone();
        header[name] = value;
        refuses(&jwt, &signed(&header, &claims, key), &header.to_string());
    };
    for alg in [
        "none", "None", "nOnE", "NONE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256",
    ] {
        check("alg", json!(alg), SECRET);
    }
    check("alg", json!(null), SECRET);
    check("alg", json!(["HS256"]), SECRET);
    for kid in [
        "../../dev/null",
        "",
        "0",
        "' OR 1=1 --",
        "/proc/self/environ",
        "http://x/y",
        &kid[1..],
    ] {
        check("kid", json!(kid), SECRET);
        check("kid", json!(kid), b"");
    }
    check("kid", json!(null), SECRET);
    check("kid", json!(7), SECRET);
    check("jwk", jwk, OTHER);
    check("jku", json!("https://evil.example/jwks"), SECRET);
    check("x5u", json!("https://evil.example/cert"), SECRET);
    check("x5c", json!(["AAAA"]), SECRET);
    check("crit", json!(["exp"]), SECRET);
    let mut nameless = header.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    refuses(&jwt, &signed(&nameless, &claims, SECRET), "no kid");
}

#[test]
fn forged_claims_are_refused() {
    let jwt = jwt(&material(SECRET));
    let (header, claims) = parts(&genuine(&jwt));
    let now = NOW.0 / 1_000;
    let check = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        refuses(
            &jwt,
            &signed(&header, &claims, SECRET),
            &format!("{name}: {}", claims[name]),
        );
    };
    for name in [
        "iss", "aud", "sub", "jti", "iat", "nbf", "exp", "kind", "roles", "sid",
    ] {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        refuses(&jwt, &signed(&header, &claims, SECRET), name);
        check(name, json!(null));
        check(name, json!({}));
    }
    for name in ["exp", "nbf", "iat"] {
        check(name, json!(format!("{}", now + 900)));
        check(name, json!(now as f64 + 900.5));
        check(name, json!(-1));
        check(name, json!(u64::MAX));
        check(name, json!(1e300));
        check(name, json!(true));
    }
    check("exp", json!(now + 401 * 24 * 3_600));
    check("exp", json!(253_402_300_800_u64));
    check("exp", json!(now - 1_000));
    check("nbf", json!(now + 31));
    check("iat", json!(now + 31));
    for (name, value) in [
        ("iss", "evil"),
        ("aud", "other"),
        ("aud", "stompbox-admin"),
        ("sub", ""),
        ("sub", "a/b"),
        ("kind", "root"),
        ("sid", "dev_"),
        ("sid", "../x"),
        ("jti", ""),
    ] {
        check(name, json!(value));
    }
    check("aud", json!(["stompbox"]));
    check("roles", json!("admin"));
}

#[test]
fn a_public_key_is_no_secret() {
    let with_key = KeyMaterial {
        key: Some(pem(7)),
        ..material(SECRET)
    };
    let jwt = jwt(&with_key);
    let token = genuine(&jwt);
    assert!(jwt.read(&token, NOW).is_ok());
    let (header, claims) = parts(&token);
    assert_eq!(header["alg"], "EdDSA");
    let jwks = jwt.jwks();
    let key = &jwks["keys"][0];
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert_eq!(key["kid"], header["kid"]);
    assert!(!jwks.to_string().contains("\"d\""));
    let x = key["x"].as_str().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(x).unwrap();
    for secret in [x.as_bytes(), &raw, key.to_string().as_bytes()] {
        for alg in ["HS256", "EdDSA"] {
            let mut header = header.clone();
            header["alg"] = json!(alg);
            refuses(&jwt, &signed(&header, &claims, secret), alg);
        }
    }
}

#[test]
fn what_is_broken_or_of_another_key_is_refused() {
    let ours = jwt(&material(SECRET));
    let token = genuine(&ours);
    let foreign = genuine(&jwt(&material(OTHER)));
    refuses(&ours, &foreign, "another key");
    assert!(!ours.claims_to_be_ours(&foreign));
    let (header, claims) = parts(&token);
    refuses(
        &ours,
        &signed(&header, &claims, OTHER),
        "our kid, another key",
    );
    for end in 0..token.len() {
        refuses(&ours, &token[..end], "cut");
    }
    for at in 0..token.len() {
        let mut octets = token.clone().into_bytes();
        octets[at] ^= 1;
        if let Ok(changed) = String::from_utf8(octets) {
            refuses(&ours, &changed, "one bit");
        }
    }
    refuses(
        &ours,
        &format!("{token}{}", "A".repeat(10_000_000)),
        "10 MB",
    );
    refuses(&ours, &"a.".repeat(4_000), "dots");
    refuses(&ours, &format!("{token}."), "four parts");
    for text in ["", ".", "..", "...", "null", "\0", "Bearer x"] {
        refuses(&ours, text, text);
    }
}

#[test]
fn a_key_that_was_replaced_is_believed_as_long_as_it_is_named() {
    let before = jwt(&material(SECRET));
    let token = genuine(&before);
    let rotated = KeyMaterial {
        secret_previous: Some(SECRET.to_vec()),
        ..material(OTHER)
    };
    assert!(jwt(&rotated).read(&token, NOW).is_ok());
    refuses(&jwt(&material(OTHER)), &token, "not named any more");
    let first = KeyMaterial {
        key: Some(pem(1)),
        ..material(SECRET)
    };
    let second = KeyMaterial {
        key: Some(pem(2)),
        key_previous: Some(pem(1)),
        ..material(SECRET)
    };
    let token = genuine(&jwt(&first));
    assert!(jwt(&second).read(&token, NOW).is_ok());
    assert_eq!(jwt(&second).jwks()["keys"].as_array().unwrap().len(), 2);
    // From secrets to keys: what the secret signed is still believed.
    assert!(jwt(&first).read(&genuine(&before), NOW).is_ok());
    let both = genuine(&jwt(&second));
    refuses(&jwt(&first), &both, "a key of the future");
}

#[test]
fn weak_keys_are_refused() {
    let check = |material: &KeyMaterial, error: KeyError| {
        let made = Jwt::new(material, JwtSettings::default());
        assert_eq!(made.err(), Some(error));
    };
    check(&material(&SECRET[..31]), KeyError::Short);
    let broken = |key: &str| KeyMaterial {
        key: Some(key.to_owned()),
        ..material(SECRET)
    };
    check(&broken("no key"), KeyError::Pem);
    check(&broken(&pem(1).replace("MC4C", "MC4D")), KeyError::Pem);
    assert_eq!(format!("{:?}", material(SECRET)), "KeyMaterial(..)");
    assert!(!format!("{:?}", jwt(&material(SECRET))).contains("0123456789"));
}

#[test]
fn the_command_lines_token_speaks_for_nobody_else() {
    let jwt = jwt(&material(SECRET));
    let token = jwt.system_token(NOW).unwrap();
    let read = jwt.read(&token, NOW);
    assert!(matches!(read, Ok(Spoken::System { .. })));
    let (header, claims) = parts(&token);
    for (name, value) in [
        ("sub", json!("user_0123456789abc")),
        ("kind", json!("member")),
        ("sid", json!(SignInId(7).to_string())),
        ("aud", json!("stompbox")),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        refuses(&jwt, &signed(&header, &claims, SECRET), name);
    }
    let late = jwt.read(&token, NOW.after(Duration::from_secs(91)));
    assert_eq!(late.unwrap_err().code, Code::TokenExpired);
}
