//! Documents: links that lead somewhere, invariants with their tests, a reason per dependency.

use std::collections::BTreeSet;

use crate::files::{self, File};

fn documents() -> Vec<File> {
    let mut documents = files::with_ending(&[""], ".md");
    documents.retain(|file| !file.path.starts_with("web/") || file.path.ends_with("README.md"));
    documents
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = document
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        for target in links(&document.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => files::root().join(&document.path),
                path => files::root().join(folder).join(path),
            };
            if !file.exists() {
                broken.push(format!("{}: {target}", document.path));
            } else if !anchor.is_empty() && file.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(&file).unwrap();
                if !anchors(&text).contains(anchor) {
                    broken.push(format!("{}: {target} (no such heading)", document.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The targets of `[text](target)` and `src="target"` outside code blocks, but for those outside.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 1 {
            continue;
        }
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            for rest in part.split(opening).skip(1) {
                let target = rest.split(closing).next().unwrap_or_default();
                found.push(target.split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    let outside = |target: &String| target.contains("://") || target.starts_with("mailto:");
    found.retain(|target| !target.is_empty() && !outside(target));
    found
}

/// The anchors of a document's headings, as the usual renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn what_a_document_says_is_held_by_tests_that_exist() {
    let tests: BTreeSet<String> = files::rust()
        .iter()
        .flat_map(|file| function_names(&file.text))
        .collect();
    let mut unknown = Vec::new();
    for document in documents() {
        for names in document.text.split("Held by ").skip(1) {
            let sentence = names.split(['.', '\n']).next().unwrap_or_default();
            let words = sentence.split('`').skip(1).step_by(2);
            for name in words.filter(|word| !word.contains('/')) {
                let name = name.rsplit("::").next().unwrap_or(name);
                if !tests.contains(name) {
                    unknown.push(format!("{}: {name}", document.path));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn every_numbered_invariant_of_the_architecture_names_its_test() {
    let text = files::read("docs/architecture.md");
    let Some(section) = text.split("\n## Invariants").nth(1) else {
        panic!("docs/architecture.md has no section 'Invariants'");
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut expected = 1;
    for paragraph in section.split("\n\n").flat_map(numbered) {
        let (number, words) = paragraph.split_once(". ").unwrap();
        assert_eq!(
            number.parse(),
            Ok(expected),
            "invariants are numbered in order"
        );
        expected += 1;
        assert!(
            words.contains("Held by `"),
            "invariant {number} names no test"
        );
    }
    assert!(expected > 1, "there are no numbered invariants");
}

/// The items of a numbered list, each with its following lines.
fn numbered(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in text.lines() {
        let digits = line.chars().take_while(char::is_ascii_digit).count();
        if digits > 0 && line[digits..].starts_with(". ") {
            items.push(line.to_owned());
        } else if let Some(last) = items.last_mut() {
            last.push(' ');
            last.push_str(line.trim());
        }
    }
    items
}

fn function_names(text: &str) -> Vec<String> {
    let after = text.split("fn ").skip(1);
    after
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn every_dependency_has_its_line_with_a_reason() {
    let cargo: toml::Table = files::read("Cargo.toml").parse().unwrap();
    let mut used = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(table) = cargo.get(section).and_then(toml::Value::as_table) {
            used.extend(table.keys().cloned());
        }
    }
    let text = files::read("docs/dependencies.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut explained = BTreeSet::new();
    for row in rows {
        let (name, rest) = row.split_once('`').unwrap();
        let reason = rest.trim_matches(['|', ' ']);
        assert!(reason.len() > 20, "{name}: '{reason}' is no reason");
        assert!(explained.insert(name.to_owned()), "{name} stands twice");
    }
    let missing: Vec<_> = used.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&used).collect();
    assert!(
        missing.is_empty(),
        "without a line in docs/dependencies.md: {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "in docs/dependencies.md, but not used: {gone:?}"
    );
}

#[test]
fn every_dependency_is_used() {
    let cargo: toml::Table = files::read("Cargo.toml").parse().unwrap();
    let mut sources: Vec<_> = files::rust().into_iter().map(|file| file.text).collect();
    sources.push(files::read("build.rs"));
    for section in ["dependencies", "dev-dependencies"] {
        for name in cargo[section].as_table().unwrap().keys() {
            let name = name.replace('-', "_");
            let is_named = |text: &String| {
                let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                words.into_iter().any(|word| word == name)
            };
            assert!(
                sources.iter().any(is_named),
                "{name} is named nowhere: remove it"
            );
        }
    }
}

#[test]
fn code_of_others_is_fetched_and_not_committed() {
    let ignored = files::read(".gitignore");
    assert!(
        ignored.contains("node_modules"),
        ".gitignore lets node_modules in"
    );
    for path in files::paths(&[""]) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let vendored = ["vendor/", "third_party/", "node_modules/"];
        let foreign = vendored.iter().any(|folder| path.contains(folder))
            || name.contains(".min.")
            || name.contains(".umd.");
        assert!(
            !foreign,
            "{path} is the work of others: fetch it by its package manager"
        );
        if path.ends_with(".js") || path.ends_with(".css") {
            let text = files::read(&path);
            let longest = text.lines().map(str::len).max().unwrap_or(0);
            assert!(
                longest < 500,
                "{path} looks generated: a line of {longest} octets"
            );
        }
    }
}
