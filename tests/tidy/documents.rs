//! Documents: links that lead somewhere, invariants with their tests, a reason per dependency.

use std::collections::{BTreeMap, BTreeSet};

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
    let tests = tests();
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

/// The headings of a last column that names tests.
const TEST_COLUMNS: [&str; 2] = ["test", "held by"];
/// What a cell says instead when the row above names the test.
const SAME_AS_ABOVE: [&str; 2] = ["same", "the same"];
/// Tests of contracts and of what happens to databases, by the beginnings of their paths.
const SUITES: [&str; 2] = ["conformance_", "store_postgres"];
/// So many underscores has no helper of a suite.
const UNDERSCORES_OF_A_CASE: usize = 3;
/// How the attribute of a test begins.
const TEST_ATTRIBUTES: [&str; 2] = ["#[test]", "#[tokio::test"];
/// So many underscores has no setting and no metric: such a name in a document is a test.
const UNDERSCORES_OF_A_TEST: usize = 5;

#[test]
fn tests_named_in_tables_exist() {
    let tests = tests();
    let mut unknown = Vec::new();
    for document in documents() {
        for cell in test_cells(&document.text) {
            let missing = quoted(cell).filter(|name| !tests.contains(*name));
            unknown.extend(missing.map(|name| format!("{}: {name}", document.path)));
        }
    }
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn tests_named_in_sentences_exist() {
    let tests = tests();
    let mut unknown = Vec::new();
    for document in documents() {
        for name in quoted(&document.text) {
            let is_snake_case = name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let is_test = is_snake_case && name.matches('_').count() >= UNDERSCORES_OF_A_TEST;
            if is_test && !tests.contains(name) {
                unknown.push(format!("{}: {name}", document.path));
            }
        }
    }
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn every_table_of_bounds_names_tests() {
    let security = files::read("docs/security.md");
    let (bounds, _attacks) = security.split_once("<!-- attacks -->").unwrap();
    let cells = test_cells(bounds);
    assert!(cells.len() > 100, "only {} rows are checked", cells.len());
    let tables = tables(bounds).len();
    let named = tables_of_tests(bounds).len();
    assert_eq!(named, tables, "a table's last column is not `test`");
    let without = cells.iter().filter(|cell| {
        let names_a_test = quoted(cell).next().is_some();
        !names_a_test && !SAME_AS_ABOVE.contains(cell)
    });
    let without: Vec<_> = without.collect();
    assert!(without.is_empty(), "rows without a test: {without:?}");
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all tests, and of the cases of the suites that engines share.
fn tests() -> BTreeSet<String> {
    let files = files::rust();
    let tests = files.iter().flat_map(|file| test_names(&file.text));
    let suites = files.iter().filter(|file| is_suite(&file.path));
    let text = suites.map(|file| file.text.as_str()).collect::<Vec<_>>();
    tests.chain(cases(&text.join("\n"))).collect()
}

/// Files whose functions are cases: a test of each engine calls them, or a macro makes a test of each.
fn is_suite(path: &str) -> bool {
    SUITES
        .iter()
        .any(|prefix| path.starts_with(&format!("tests/it/{prefix}")))
}

/// The functions with the name of a sentence that something else in the suite names too, which is what runs them.
fn cases(text: &str) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for name in text.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        *count.entry(name).or_default() += 1;
    }
    let defined = text
        .split("async fn ")
        .skip(1)
        .filter_map(|rest| rest.split('(').next());
    let run = defined
        .filter(|name| name.matches('_').count() >= UNDERSCORES_OF_A_CASE && count[name] > 1);
    run.map(str::to_owned).collect()
}

/// The functions below an attribute of a test. Not by syntax: those inside `proptest!` are tokens of a macro.
fn test_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        is_test |= TEST_ATTRIBUTES.iter().any(|it| line.starts_with(it));
        if is_test && let Some((_, rest)) = line.split_once("fn ") {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            names.push(rest[..end.unwrap_or(rest.len())].to_owned());
            is_test = false;
        }
    }
    names
}

#[test]
fn functions_that_are_no_tests_are_not_taken_for_tests() {
    let text = "fn before() {}\n    #[tokio::test(start_paused = true)]\n    async fn a_test() {}\nfn after() {}\n\
        #[cfg(test)]\nfn helper() {}\n#[test]\n// Why.\n#[ignore]\nfn another() {}";
    assert_eq!(test_names(text), ["a_test", "another"]);
    let text = "on_every_engine! { one_case_that_runs }\nasync fn one_case_that_runs() {}\n\
        async fn one_case_that_nothing_runs() {}\nfn helper() {}";
    assert_eq!(cases(text), ["one_case_that_runs"]);
}

/// The tables of a document, each as its lines.
fn tables(text: &str) -> Vec<Vec<&str>> {
    let mut tables: Vec<Vec<&str>> = Vec::new();
    let mut is_in_table = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            is_in_table = false;
            continue;
        }
        match tables.last_mut() {
            Some(table) if is_in_table => table.push(line),
            _ => tables.push(vec![line]),
        }
        is_in_table = true;
    }
    tables
}

fn tables_of_tests(text: &str) -> Vec<Vec<&str>> {
    let mut tables = tables(text);
    tables.retain(|table| TEST_COLUMNS.contains(&last_cell(table[0])));
    tables
}

/// The last cell of every row of the tables whose last column names tests.
fn test_cells(text: &str) -> Vec<&str> {
    // The heading and the line below it are no rows.
    let rows = tables_of_tests(text)
        .into_iter()
        .flat_map(|table| table.into_iter().skip(2));
    rows.map(last_cell).collect()
}

fn last_cell(line: &str) -> &str {
    let line = line.trim().trim_end_matches('|');
    line.rsplit('|').next().unwrap_or_default().trim()
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
                "{path} looks generated: a line of {longest} bytes"
            );
        }
    }
}
