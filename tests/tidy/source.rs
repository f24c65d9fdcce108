//! Source files: how they open, what they may not hold, and the numbers that only go down.

use syn::visit::{self, Visit};

use crate::files::{self, File};
use crate::imports::{Names, module_of};

/// Files of `src` with more than 400 lines. It may only become smaller; a file that grows past the
/// line is split instead.
const LONG_FILES: usize = 0;

/// Functions that are allowed to be longer than the 70 lines which clippy holds.
const LONG_FUNCTIONS: usize = 0;

/// Names that say nothing.
const EMPTY_SUFFIXES: [&str; 7] = [
    "Manager",
    "Helper",
    "Util",
    "Data",
    "Info",
    "Impl",
    "Processor",
];

/// Rooms and files that would hold anything.
const EMPTY_MODULES: [&str; 7] = [
    "util", "utils", "common", "misc", "prelude", "helper", "helpers",
];

#[test]
fn every_file_opens_with_what_it_is() {
    for file in files::rust() {
        assert!(
            file.text.starts_with("//! "),
            "{} does not open with //!",
            file.path
        );
        let first = file.text.lines().next().unwrap_or_default();
        assert!(first.len() > 8, "{}: '{first}' says nothing", file.path);
    }
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    struct Unfinished(Vec<String>);
    impl<'ast> Visit<'ast> for Unfinished {
        fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
            if attribute.path().is_ident("ignore") {
                self.0.push("#[ignore]".to_owned());
            }
        }
        fn visit_macro(&mut self, called: &'ast syn::Macro) {
            for name in ["todo", "dbg", "unimplemented"] {
                if called.path.is_ident(name) {
                    self.0.push(format!("{name}!"));
                }
            }
            visit::visit_macro(self, called);
        }
    }
    let mut wrong = Vec::new();
    for file in files::rust() {
        let mut unfinished = Unfinished(Vec::new());
        unfinished.visit_file(&file.parsed());
        wrong.extend(
            unfinished
                .0
                .iter()
                .map(|what| format!("{}: {what}", file.path)),
        );
        for (index, line) in file.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            for word in ["TODO", "FIXME", "XXX", "HACK"] {
                if comment
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|part| part == word)
                {
                    wrong.push(format!("{}:{}: {word}", file.path, index + 1));
                }
            }
        }
    }
    // This file names them all.
    wrong.retain(|line| !line.starts_with("tests/tidy/"));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn long_files_become_fewer() {
    let files = files::with_ending(&["src"], ".rs");
    let long: Vec<_> = files
        .iter()
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, _)| *lines > 400)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    ratchet("LONG_FILES", LONG_FILES, &long);
}

#[test]
fn long_functions_become_fewer() {
    let named = |file: &File| {
        let count = file.text.matches("clippy::too_many_lines").count();
        (count > 0 && !file.path.starts_with("tests/tidy/")).then(|| file.path.clone())
    };
    let long: Vec<_> = files::rust().iter().filter_map(named).collect();
    ratchet("LONG_FUNCTIONS", LONG_FUNCTIONS, &long);
}

fn ratchet(name: &str, allowed: usize, found: &[String]) {
    let list = found.join("\n");
    assert!(
        found.len() <= allowed,
        "more than {allowed} ({name}):\n{list}"
    );
    assert!(
        found.len() >= allowed,
        "only {} are left: set {name} in tests/tidy/source.rs to that",
        found.len()
    );
}

#[test]
fn every_file_is_part_of_its_crate() {
    for file in files::with_ending(&["src", "tests/it"], ".rs") {
        let (folder, name) = file.path.rsplit_once('/').unwrap();
        let stem = name.trim_end_matches(".rs");
        if ["lib", "main"].contains(&stem) {
            continue;
        }
        let (parents, child) = match stem {
            "mod" => {
                let (above, folder_name) = folder.rsplit_once('/').unwrap();
                (candidates(above), folder_name)
            }
            stem => (candidates(folder), stem),
        };
        let declared = format!("mod {child};");
        let declares = |parent: &String| {
            let path = files::root().join(parent);
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&declared))
        };
        assert!(
            parents.iter().any(declares),
            "{}: nobody says `{declared}`",
            file.path
        );
    }
}

/// The files that may declare what lies in a folder.
fn candidates(folder: &str) -> Vec<String> {
    let named = ["mod.rs", "lib.rs", "main.rs"];
    let mut paths: Vec<_> = named
        .iter()
        .map(|name| format!("{folder}/{name}"))
        .collect();
    paths.push(format!("{folder}.rs"));
    paths
}

#[test]
fn names_say_something() {
    for file in files::with_ending(&["src"], ".rs") {
        let module = module_of(&file.path);
        for part in &module {
            assert!(!EMPTY_MODULES.contains(&part.as_str()), "{}", file.path);
        }
        for name in Names::of(&file.parsed(), &module).types {
            let empty = EMPTY_SUFFIXES
                .iter()
                .find(|suffix| name.ends_with(**suffix));
            assert_eq!(empty, None, "{}: {name}", file.path);
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for file in files::with_ending(&["src"], ".rs") {
        assert!(
            !file.text.contains("#[allow("),
            "{}: use #[expect]",
            file.path
        );
        assert!(
            !file.text.contains("#![allow("),
            "{}: use #[expect]",
            file.path
        );
    }
}
