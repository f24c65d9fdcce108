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

/// The headings of a last column that names tests.
const TEST_COLUMNS: [&str; 2] = ["test", "held by"];
/// So many underscores has no setting and no metric: such a name in a document is a test.
const UNDERSCORES_OF_A_TEST: usize = 5;

#[test]
fn tests_named_in_tables_exist() {
    let names = Names::read();
    let mut unknown = Vec::new();
    for document in documents() {
        for cell in test_cells(&document.text) {
            let quoted = cell.split('`').skip(1).step_by(2);
            let missing = quoted.filter(|name| !names.has(name));
            unknown.extend(missing.map(|name| format!("{}: {name}", document.path)));
        }
    }
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn tests_named_in_sentences_exist() {
    let names = Names::read();
    let mut unknown = Vec::new();
    for document in documents() {
        for name in document.text.split('`').skip(1).step_by(2) {
            let is_snake_case = name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let is_test = is_snake_case && name.matches('_').count() >= UNDERSCORES_OF_A_TEST;
            if is_test && !names.functions.contains(name) {
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
    // The limits of one network, which say what a crowd needs, have their tests in the table after them.
    assert_eq!(named, tables - 1, "a table's last column is not `test`");
}

/// What exists that a document may name in a column of tests.
struct Names {
    functions: BTreeSet<String>,
    cargo: String,
    paths: Vec<String>,
}

impl Names {
    fn read() -> Self {
        let mut files = files::rust();
        files.retain(|file| file.path.starts_with("src/") || file.path.starts_with("tests/"));
        Self {
            functions: files
                .iter()
                .flat_map(|file| function_names(&file.text))
                .collect(),
            cargo: files::read("Cargo.toml"),
            paths: files.into_iter().map(|file| file.path).collect(),
        }
    }

    /// Whether a name in a column of tests stands for something that exists: a function, a module, a file, or a
    /// dependency whose bound it is. A word with a capital is a type or a setting, which other tests look at.
    fn has(&self, name: &str) -> bool {
        if name.contains('/') {
            return self.paths.iter().any(|path| path.ends_with(name));
        }
        let module = name.replace("::", "/");
        let is_module = |path: &String| {
            let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
            path.ends_with(&format!("/{module}"))
        };
        let last = name.rsplit("::").next().unwrap_or(name);
        name.contains(char::is_uppercase)
            || self.functions.contains(last)
            || self.cargo.contains(&format!("\n{name} = "))
            || self.paths.iter().any(is_module)
    }
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
