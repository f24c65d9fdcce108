//! The house: who imports whom, which crates stay in which files, what is pure.
//!
//! The table of rooms stands in `docs/architecture.md` and nowhere else.

use std::collections::BTreeMap;

use crate::files::{self, File};
use crate::imports::{Names, module_of, modules_for_tests};

/// A row of the table.
struct Room {
    storey: u32,
    may_import: Vec<String>,
}

/// The files in which a crate may be named. Composition is not among them: the engines' own
/// constructors take addresses.
const CONFINED: [(&str, &[&str]); 22] = [
    ("lapin", &["src/bus/rabbitmq"]),
    ("redis", &["src/location/redis", "src/quota/redis"]),
    ("deadpool_redis", &["src/location/redis", "src/quota/redis"]),
    ("rusqlite", &["src/store/sqlite"]),
    ("tokio_postgres", &["src/store/postgres"]),
    ("deadpool_postgres", &["src/store/postgres"]),
    ("refinery", &["src/store/"]),
    ("axum", &["src/edge/"]),
    ("hyper", &["src/edge/"]),
    ("hyper_util", &["src/edge/"]),
    ("tokio_tungstenite", &["src/edge/"]),
    ("clap", &["src/node/cli"]),
    ("utoipa", &["src/edge/"]),
    ("chacha20poly1305", &["src/edge/rest/keys"]),
    ("qrcode", &["src/edge/rest/"]),
    (
        "ureq",
        &["src/node/cli/client", "src/identity/accounts/fetch"],
    ),
    ("argon2", &["src/identity/accounts/hashes"]),
    ("zxcvbn", &["src/identity/accounts/strength"]),
    (
        "jsonwebtoken",
        &["src/identity/accounts/jwt", "src/identity/accounts/issuers"],
    ),
    ("lettre", &["src/mail/smtp"]),
    ("mio", &["src/bench/"]),
    ("hdrhistogram", &["src/bench/"]),
];

/// Rooms that decide by values alone.
const PURE: [&str; 7] = [
    "stomp",
    "sockjs",
    "websocket",
    "model",
    "session",
    "routing",
    "policy",
];

/// What a pure room may not name: clocks, randomness, runtimes, the outside.
const IMPURE: [&str; 10] = [
    "tokio",
    "tokio_util",
    "futures_util",
    "async_trait",
    "tracing",
    "metrics",
    "rand",
    "getrandom",
    "std::fs",
    "std::net::TcpStream",
];

/// The table of the section "Rooms" in `docs/architecture.md`.
fn table() -> BTreeMap<String, Room> {
    let text = files::read("docs/architecture.md");
    let section = text.split("\n## Rooms").nth(1).expect_section();
    let section = section.split("\n## ").next().unwrap();
    let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
    let mut words = Vec::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        let storey = cells[1].parse().unwrap();
        words.push((name.clone(), cells[2].to_owned()));
        let may_import = Vec::new();
        rooms.insert(name, Room { storey, may_import });
    }
    for (name, cell) in words {
        let may_import = imports_of_cell(&cell, &rooms);
        rooms.get_mut(&name).unwrap().may_import = may_import;
    }
    rooms
}

/// A cell is "nothing", a list of rooms, or "storeys 0-3": everything on those storeys.
fn imports_of_cell(cell: &str, rooms: &BTreeMap<String, Room>) -> Vec<String> {
    if let Some(range) = cell.strip_prefix("storeys 0-") {
        let top: u32 = range.parse().unwrap();
        let below = rooms.iter().filter(|(_, room)| room.storey <= top);
        return below.map(|(name, _)| name.clone()).collect();
    }
    let named = cell
        .split(',')
        .map(|name| name.trim().trim_matches('`').to_owned());
    named.filter(|name| name != "nothing").collect()
}

trait Section<'a> {
    fn expect_section(self) -> &'a str;
}

impl<'a> Section<'a> for Option<&'a str> {
    fn expect_section(self) -> &'a str {
        self.unwrap_or_else(|| panic!("docs/architecture.md has no section 'Rooms'"))
    }
}

/// The files of the crate, without those that only tests see.
fn sources() -> Vec<(File, Names)> {
    let mut files = files::with_ending(&["src"], ".rs");
    let for_tests: Vec<_> = files
        .iter()
        .flat_map(|file| modules_for_tests(&file.parsed(), &module_of(&file.path)))
        .collect();
    let is_for_tests = |path: &str| {
        let module = module_of(path);
        for_tests.iter().any(|tests| module.starts_with(tests))
    };
    files.retain(|file| !is_for_tests(&file.path));
    let read = |file: File| {
        let names = Names::of(&file.parsed(), &module_of(&file.path));
        (file, names)
    };
    files.into_iter().map(read).collect()
}

fn room_of(path: &str) -> Option<String> {
    let module = module_of(path);
    module.first().cloned()
}

#[test]
fn the_table_of_rooms_is_that_of_the_crate() {
    let table = table();
    let library = files::read("src/lib.rs");
    let declared = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    let declared: Vec<_> = declared.map(|name| name.trim_end_matches(';')).collect();
    assert_eq!(
        declared.len(),
        table.len(),
        "rooms in src/lib.rs and in the table"
    );
    let storeys: Vec<_> = declared
        .iter()
        .map(|name| match table.get(*name) {
            Some(room) => room.storey,
            None => panic!("{name} is not in the table of docs/architecture.md"),
        })
        .collect();
    assert!(
        storeys.is_sorted(),
        "src/lib.rs lists the rooms in storey order"
    );
}

#[test]
fn a_room_may_import_lower_storeys_only() {
    let table = table();
    for (name, room) in &table {
        for other in &room.may_import {
            let below = &table[other];
            assert!(below.storey < room.storey, "{name} may not import {other}");
        }
    }
}

#[test]
fn rooms_import_as_the_table_says() {
    let table = table();
    let mut wrong = Vec::new();
    for (file, names) in sources() {
        let Some(room) = room_of(&file.path) else {
            continue; // lib.rs and main.rs are above all rooms.
        };
        let may_import = &table[&room].may_import;
        for other in names
            .rooms
            .iter()
            .filter(|other| table.contains_key(*other))
        {
            if *other != room && !may_import.contains(other) {
                wrong.push(format!("{}: {room} imports {other}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn features_do_not_import_each_other() {
    let features: Vec<_> = files::paths(&["src/app"])
        .iter()
        .map(|path| module_of(path).get(1).cloned().unwrap_or_default())
        .collect();
    // What every feature needs is no feature.
    let allowed = |feature: &str| ["", "ids", "rates", "speaker", "tests"].contains(&feature);
    for (file, names) in sources() {
        let module = module_of(&file.path);
        if module.first().is_none_or(|room| room != "app") || module.len() < 2 {
            continue;
        }
        for other in features
            .iter()
            .filter(|other| **other != module[1] && !allowed(other))
        {
            let path = format!("crate::app::{other}");
            let imports = names
                .paths
                .iter()
                .any(|p| p == &path || p.starts_with(&format!("{path}::")));
            assert!(!imports, "{} imports its sibling {other}", file.path);
        }
    }
}

#[test]
fn each_engine_crate_is_named_in_its_own_files_only() {
    let mut wrong = Vec::new();
    for (file, names) in sources() {
        for (name, folders) in CONFINED {
            let at_home = folders.iter().any(|folder| file.path.starts_with(folder));
            if names.uses_crate(name) && !at_home {
                wrong.push(format!("{} names {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_have_no_clock_no_runtime_and_no_await() {
    let mut wrong = Vec::new();
    for (file, names) in sources() {
        if !room_of(&file.path).is_some_and(|room| PURE.contains(&room.as_str())) {
            continue;
        }
        if names.is_async {
            wrong.push(format!("{}: async", file.path));
        }
        for call in ["Instant::now", "SystemTime::now", "Timestamp::now"] {
            if names.calls(call) {
                wrong.push(format!("{}: {call}", file.path));
            }
        }
        for name in IMPURE {
            if names.uses_crate(name) {
                wrong.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn concrete_engines_are_named_in_their_room_and_in_composition_only() {
    let engines = [
        "RedisLocation",
        "MemoryLocation",
        "RabbitBus",
        "MemoryBus",
        "SqliteStore",
        "PostgresStore",
        "MemoryStore",
        "RedisQuota",
        "MemoryQuota",
    ];
    for (file, names) in sources() {
        let room = room_of(&file.path).unwrap_or_default();
        if ["location", "bus", "store", "quota", "node"].contains(&room.as_str()) {
            continue;
        }
        for engine in engines {
            assert!(!names.calls(engine), "{} names {engine}", file.path);
        }
    }
}
