//! Hashes of passwords: Argon2id (RFC 9106) as PHC strings, in memory that a thread keeps.
//!
//! Not here: on which threads and how many at a time (`passwords`). Invariants: a thread allocates the memory of a
//! hash once, keeps [`HASH_BYTES`] of it and frees it when it ends; a hash that needs more than [`MEMORY_KIB_MAX`] or
//! [`PASSES_MAX`] is that of no password. Giving the memory back after each hash would map and clear 4,864 pages for
//! the next one, and interrupt every core twice for it.

use std::cell::RefCell;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};

use super::super::random::random;

/// Memory of one hash, in KiB; passes; lanes: what OWASP recommends for Argon2id.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Memory of one hash, in bytes.
pub(super) const HASH_BYTES: u64 = (MEMORY_KIB as u64) << 10;

/// What a hash may need that was not made here.
const MEMORY_KIB_MAX: u32 = 64 << 10;
const PASSES_MAX: u32 = 10;

/// A hash of nothing that anybody knows, with the same costs: for e-mails that nobody has.
pub(super) const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3RvbXBib3gtZHVtbXktMQ$\
                                YW4gb3V0cHV0IG9mIG5vIHBhc3N3b3JkIGF0IGFsbC4";

thread_local! {
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// The hash of a password with a new salt, as a PHC string. `None` when it cannot be computed.
pub(super) fn hash(password: &[u8]) -> Option<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    let salt = Salt::new(&random::<{ Salt::RECOMMENDED_LENGTH }>().ok()?).ok()?;
    let algorithm = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let hashed = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).ok()?,
        salt: Some(salt),
        hash: Some(output(
            &algorithm,
            password,
            &salt,
            Params::DEFAULT_OUTPUT_LEN,
        )?),
    };
    Some(hashed.to_string())
}

/// How many bytes it takes to compute this hash: those of a hash that is made here, unless it needs more and may.
pub(super) fn bytes(hash: &str) -> u64 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| allowed(&hash));
    params.map_or(HASH_BYTES, |it| {
        (u64::from(it.m_cost()) << 10).max(HASH_BYTES)
    })
}

/// What a hash needs, if it may need that.
fn allowed(hash: &PasswordHash) -> Option<Params> {
    let params = Params::try_from(hash).ok()?;
    (params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX).then_some(params)
}

/// Whether this is the password of that hash, compared in constant time. A hash that is not allowed takes as long as
/// one that is made here.
pub(super) fn is_of(password: &[u8], hash: &str) -> bool {
    let compared = |hash: &str| {
        let known = PasswordHash::new(hash).ok()?;
        let algorithm = Algorithm::try_from(known.algorithm.as_str()).ok()?;
        let version = Version::try_from(known.version?).ok()?;
        let algorithm = Argon2::new(algorithm, version, allowed(&known)?);
        let expected = known.hash?;
        Some(output(&algorithm, password, &known.salt?, expected.len())? == expected)
    };
    compared(hash).unwrap_or_else(|| {
        let _takes_as_long = compared(DUMMY);
        false
    })
}

fn output(algorithm: &Argon2<'_>, password: &[u8], salt: &[u8], len: usize) -> Option<Output> {
    let mut buffer = [0; Output::MAX_LENGTH];
    let out = buffer.get_mut(..len)?;
    MEMORY
        .with_borrow_mut(|memory| {
            let blocks = algorithm.params().block_count();
            if memory.len() < blocks {
                memory.resize(blocks, Block::new());
            }
            let blocks = memory.as_mut_slice();
            let hashed = algorithm.hash_password_into_with_memory(password, salt, out, blocks);
            if memory.len() > MEMORY_KIB as usize {
                memory.truncate(MEMORY_KIB as usize);
                memory.shrink_to_fit();
            }
            hashed
        })
        .ok()?;
    Output::new(out).ok()
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn hashes_are_those_of_the_crate_whatever_was_in_the_memory() {
        let theirs = Argon2::default();
        for password in ["correct horse battery", "", "한국어 비밀번호"] {
            let ours = hash(password.as_bytes()).unwrap();
            assert!(ours.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
            theirs
                .verify_password(password.as_bytes(), ours.as_str())
                .unwrap();
            let hashed = theirs
                .hash_password(password.as_bytes())
                .unwrap()
                .to_string();
            assert!(is_of(password.as_bytes(), &hashed));
            assert!(!is_of(b"another one", &hashed));
        }
    }

    #[test]
    fn a_hash_of_other_costs_is_read_and_what_is_none_opens_nothing() {
        let params = Params::new(32_768, 1, 2, Some(24)).unwrap();
        let dearer = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hashed = dearer.hash_password(b"imported").unwrap().to_string();
        assert!(is_of(b"imported", &hashed));
        assert!(!is_of(b"exported", &hashed));
        for none in [
            "",
            "no hash",
            "$argon2id$v=19$m=19456,t=2,p=1$c3RvbXBib3g",
            "$2b$10$abc",
        ] {
            assert!(!is_of(b"imported", none), "{none}");
        }
    }

    #[test]
    fn a_hash_that_needs_too_much_opens_nothing_and_none_keeps_more_than_ours() {
        let hashed = |memory_kib: u32, passes: u32| {
            let params = Params::new(memory_kib, passes, 1, None).unwrap();
            let algorithm = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            algorithm.hash_password(b"imported").unwrap().to_string()
        };
        for (memory_kib, passes, is_allowed) in [
            (MEMORY_KIB_MAX, 1, true),
            (8, PASSES_MAX, true),
            (MEMORY_KIB_MAX + 1, 1, false),
            (8, PASSES_MAX + 1, false),
        ] {
            let hash = hashed(memory_kib, passes);
            assert_eq!(is_of(b"imported", &hash), is_allowed, "{hash}");
            let kept = MEMORY.with_borrow(Vec::capacity);
            assert!(kept <= MEMORY_KIB as usize, "{kept} KiB");
            let needed = match is_allowed {
                true => (u64::from(memory_kib) << 10).max(HASH_BYTES),
                false => HASH_BYTES,
            };
            assert_eq!(bytes(&hash), needed);
        }
        assert_eq!(bytes("no hash"), HASH_BYTES);
    }

    #[test]
    fn nobodys_hash_costs_what_everybodys_costs() {
        let parsed = PasswordHash::new(DUMMY).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(costs, (MEMORY_KIB, PASSES, LANES));
        assert_eq!(parsed.hash.unwrap().len(), Params::DEFAULT_OUTPUT_LEN);
    }
}
