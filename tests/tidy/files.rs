//! The files of the repository, as the other checks read them.
//!
//! Invariant: what is built or fetched (target, node_modules, data) is never looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 8] = [
    ".git",
    "target",
    "node_modules",
    "data",
    "artifacts",
    "corpus",
    "coverage",
    ".vscode",
];

/// A text file of the repository.
pub(crate) struct File {
    /// Its path from the root, with `/` between the parts.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

impl File {
    /// The text as a syntax tree.
    pub(crate) fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One file by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of all files below these folders (`""` for the root), sorted.
pub(crate) fn paths(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut found);
    }
    let relative = |path: PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    let mut found: Vec<_> = found.into_iter().map(relative).collect();
    found.sort();
    found
}

/// The files below these folders whose names end so.
pub(crate) fn with_ending(folders: &[&str], ending: &str) -> Vec<File> {
    let paths = paths(folders)
        .into_iter()
        .filter(|path| path.ends_with(ending));
    paths
        .map(|path| File {
            text: read(&path),
            path,
        })
        .collect()
}

/// All Rust files that we write.
pub(crate) fn rust() -> Vec<File> {
    with_ending(&["src", "tests", "benches", "examples", "fuzz"], ".rs")
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return; // A folder that does not exist (yet) holds no files.
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || FOREIGN.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
