//! Replays the fuzz corpus, so that what was once found stays found.
//!
//! The checks are those of the fuzz targets: `fuzz/checks`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../fuzz/checks/decoder.rs"]
mod decoder;
#[path = "../../fuzz/checks/destinations.rs"]
mod destinations;
#[path = "../../fuzz/checks/session.rs"]
mod session;
#[path = "../../fuzz/checks/sockjs.rs"]
mod sockjs;
#[path = "../../fuzz/checks/websocket.rs"]
mod websocket;

/// Every file of a corpus, in the order of names.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: PathBuf| {
        let octets = std::fs::read(&path).unwrap();
        (path, octets)
    };
    paths.into_iter().map(read).collect()
}

static DECODER: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| octets("decoder"));
static SESSION: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| octets("session"));
static DESTINATIONS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| octets("destinations"));
static SOCKJS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| octets("sockjs"));
static WEBSOCKET: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| octets("websocket"));

fn octets(target: &str) -> Vec<Vec<u8>> {
    inputs(target)
        .into_iter()
        .map(|(_, octets)| octets)
        .collect()
}

/// Pieces of the corpus joined, with some octets changed: what a fuzzer tries first.
fn any_input(corpus: &'static [Vec<u8>]) -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(which, from, to)| {
        let seed = which.get(corpus);
        let (from, to) = (from.index(seed.len() + 1), to.index(seed.len() + 1));
        seed[from.min(to)..from.max(to)].to_vec()
    });
    let whole = any::<Index>().prop_map(|which| which.get(corpus).clone());
    let octet = prop_oneof![
        prop::sample::select(&b"\0\n\r:\\\xffASsFfTPDE"[..]),
        any::<u8>()
    ];
    let changes = prop::collection::vec((any::<Index>(), octet), 0..4);
    let pieces = prop::collection::vec(prop_oneof![piece, whole.clone()], 0..3);
    (whole, pieces, changes).prop_map(|(whole, pieces, changes)| {
        let mut input = whole;
        input.extend(pieces.concat());
        for (at, octet) in changes {
            let at = at.index(input.len());
            input[at] = octet;
        }
        input
    })
}

/// Runs the check on every input; a failure names the file.
fn replay(target: &str, check: fn(&[u8])) {
    for (path, octets) in inputs(target) {
        let outcome = std::panic::catch_unwind(|| check(&octets));
        assert!(outcome.is_ok(), "{} fails", path.display());
    }
}

#[test]
fn the_decoder_withstands_its_corpus() {
    replay("decoder", decoder::check);
}

#[test]
fn the_session_withstands_its_corpus() {
    replay("session", session::check);
}

#[test]
fn destinations_withstand_their_corpus() {
    replay("destinations", destinations::check);
}

#[test]
fn sockjs_withstands_its_corpus() {
    replay("sockjs", sockjs::check);
}

#[test]
fn the_frames_of_websocket_withstand_their_corpus() {
    replay("websocket", websocket::check);
}

proptest! {
    #[test]
    fn the_decoder_withstands_what_is_near_its_corpus(input in any_input(&DECODER)) {
        decoder::check(&input);
    }

    #[test]
    fn the_session_withstands_what_is_near_its_corpus(input in any_input(&SESSION)) {
        session::check(&input);
    }

    #[test]
    fn destinations_withstand_what_is_near_their_corpus(input in any_input(&DESTINATIONS)) {
        destinations::check(&input);
    }

    #[test]
    fn sockjs_withstands_what_is_near_its_corpus(input in any_input(&SOCKJS)) {
        sockjs::check(&input);
    }

    #[test]
    fn the_frames_of_websocket_withstand_what_is_near_their_corpus(input in any_input(&WEBSOCKET)) {
        websocket::check(&input);
    }
}
