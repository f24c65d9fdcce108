//! Replays the fuzz corpus, so that what was once found stays found.
//!
//! The checks are those of the fuzz targets: `fuzz/checks`.

use std::path::{Path, PathBuf};

#[path = "../../fuzz/checks/decoder.rs"]
mod decoder;
#[path = "../../fuzz/checks/session.rs"]
mod session;

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
