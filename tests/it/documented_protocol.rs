//! The tables of `docs/protocol.md`, held against those of the code.
//!
//! A table stands between `<!-- name -->` and `<!-- end -->` and is made here of the code's own;
//! `UPDATE_DOCUMENTS=1` writes it anew. What is written by hand is what no table says.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stompbox::model::{CloseReason, Code};
use stompbox::node::config::settings::TABLE;
use stompbox::session::{HeaderRow, Need, errors, headers, stripped_headers};
use stompbox::stomp::command::Side;
use stompbox::stomp::{Command, Version};

use crate::conformance_stomp::{SECTIONS, counts};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");

/// Where a header comes from, when it is not the version of STOMP that first counts it here.
const SOURCES: [(&str, &str, &str); 41] = [
    ("CONNECT", "accept-version", "STOMP 1.1"),
    ("CONNECT", "host", "STOMP 1.1"),
    ("CONNECT", "authorization", "HTTP"),
    ("CONNECT", "visitor-token", OURS),
    ("CONNECT", "device-id", OURS),
    ("CONNECT", "device-name", OURS),
    ("CONNECT", "accept-language", "HTTP"),
    ("CONNECT", "x-soft-errors", OURS),
    ("SEND", "content-type", "STOMP 1.1"),
    ("SEND", "correlation-id", "RabbitMQ"),
    ("SEND", "reply-to", "RabbitMQ"),
    ("SEND", "x-message-ttl", "RabbitMQ"),
    ("SEND", "x-expires", "RabbitMQ"),
    ("SEND", "x-max-length", "RabbitMQ"),
    ("SUBSCRIBE", "id", "STOMP 1.0"),
    ("SUBSCRIBE", "prefetch-count", "RabbitMQ"),
    ("SUBSCRIBE", "x-message-ttl", "RabbitMQ"),
    ("SUBSCRIBE", "x-expires", "RabbitMQ"),
    ("SUBSCRIBE", "x-max-length", "RabbitMQ"),
    ("SUBSCRIBE", "browser", "ActiveMQ"),
    ("SUBSCRIBE", "durable", "RabbitMQ"),
    ("UNSUBSCRIBE", "id", "STOMP 1.0"),
    ("ACK", "subscription", "STOMP 1.1"),
    ("NACK", "requeue", "RabbitMQ"),
    ("CONNECTED", "version", "STOMP 1.1"),
    ("CONNECTED", "server", "STOMP 1.1"),
    ("CONNECTED", "user-name", "Spring"),
    ("CONNECTED", "kind", OURS),
    ("CONNECTED", "proof", OURS),
    ("CONNECTED", "node", OURS),
    ("CONNECTED", "limits", OURS),
    ("CONNECTED", "visitor-token", OURS),
    ("CONNECTED", "visitor-token-status", OURS),
    ("CONNECTED", "token-expires-in", OURS),
    ("MESSAGE", "ack", "STOMP 1.2"),
    ("MESSAGE", "redelivered", "RabbitMQ"),
    ("MESSAGE", "content-type", "STOMP 1.1"),
    ("MESSAGE", "subscription", "STOMP 1.0"),
    ("RECEIPT", "x-rate-remaining", OURS),
    ("ERROR", "content-type", "STOMP 1.1"),
    ("ERROR", "version", "STOMP 1.1"),
];
const OURS: &str = "Stompbox";

/// What `message` says as RabbitMQ does, with its words in the body.
const RABBITMQ: [&str; 7] = [
    "Bad command",
    "Duplicated subscription identifier",
    "Invalid destination",
    "Missing destination",
    "Unknown destination",
    "Version mismatch",
    "not_found",
];

/// The words as a cell of a table.
fn cell(text: &str) -> String {
    let text = text.trim_end().replace('|', "\\|");
    text.replace('\n', " ").replace('<', "&lt;")
}

/// The versions as they are written in a table.
fn versions(of: &[Version]) -> String {
    if of.len() == Version::ALL.len() {
        return "all".to_owned();
    }
    of.iter()
        .map(|version| version.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn source(row: &HeaderRow) -> String {
    let known = SOURCES
        .iter()
        .find(|(command, header, _)| (*command, *header) == (row.command.as_str(), row.header));
    match known {
        Some((_, _, source)) => (*source).to_owned(),
        None => format!("STOMP {}", row.versions[0]),
    }
}

fn header_table() -> String {
    let mut text = String::from(
        "| frame | header | versions | | what it says | from |\n|---|---|---|---|---|---|\n",
    );
    for row in headers() {
        let need = match row.need {
            Need::Required => "required",
            Need::Optional => "",
        };
        let (command, header, versions) = (row.command, row.header, versions(row.versions));
        let (meaning, source) = (cell(row.meaning), source(row));
        writeln!(
            text,
            "| {command} | `{header}` | {versions} | {need} | {meaning} | {source} |"
        )
        .unwrap();
    }
    text
}

fn error_table() -> String {
    let mut text = String::from("| `message` | body | when | close |\n|---|---|---|---|\n");
    let mut rows = errors();
    rows.retain(|row| !row.words.is_empty());
    for row in rows {
        let star = if RABBITMQ.contains(&row.message.as_ref()) {
            " *"
        } else {
            ""
        };
        let (message, words, when) = (&row.message, cell(&row.words), cell(&row.when));
        writeln!(
            text,
            "| {message}{star} | {words} | {when} | {} |",
            row.close.code
        )
        .unwrap();
    }
    text
}

fn problem_table() -> String {
    let mut text = String::from("| code | status | close | what it says |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let (name, status, close) = (code.as_str(), code.status(), code.close_code());
        writeln!(text, "| `{name}` | {status} | {close} | {} |", code.title()).unwrap();
    }
    text
}

fn limit_table() -> String {
    let mut text =
        String::from("| setting | default | what it bounds | beyond it |\n|---|---|---|---|\n");
    let elsewhere = ["PATTERNS_MAX", "SOCKJS_DISCONNECT", "SOCKJS_RESPONSE_BYTES"];
    let limits = TABLE.iter().filter(|row| {
        row.group.starts_with("Limits of ")
            || row.group == "Queues"
            || elsewhere.contains(&row.name)
    });
    for row in limits {
        let (about, beyond) = (cell(row.about), cell(row.beyond));
        writeln!(
            text,
            "| `{}` | {} | {about} | {beyond} |",
            row.name, row.default
        )
        .unwrap();
    }
    text
}

fn case_table() -> String {
    let (sentences, runs) = counts();
    let mut text = format!(
        "{sentences} sentences, {runs} runs.\n\n| section | sentences | runs |\n|---|---|---|\n"
    );
    for (section, rows) in SECTIONS {
        let runs = rows
            .iter()
            .map(|row| row.on.versions.len() * row.on.transports.len());
        writeln!(
            text,
            "| {section} | {} | {} |",
            rows.len(),
            runs.sum::<usize>()
        )
        .unwrap();
    }
    text
}

fn stripped() -> String {
    let names: Vec<_> = stripped_headers()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    format!("{}\n", names.join(", "))
}

/// What stands in the document under this name, and where.
fn section<'a>(document: &'a str, name: &str) -> (usize, &'a str) {
    let opening = format!("<!-- {name} -->\n");
    let Some(at) = document.find(&opening) else {
        panic!("the document has no {opening}");
    };
    let start = at + opening.len();
    let rest = &document[start..];
    (start, &rest[..rest.find("<!-- end -->").unwrap()])
}

#[test]
fn the_tables_of_the_protocol_are_those_of_the_code() {
    let mut document = std::fs::read_to_string(PATH).unwrap();
    let mut old = Vec::new();
    for (name, table) in [
        ("headers", header_table()),
        ("stripped", stripped()),
        ("errors", error_table()),
        ("problems", problem_table()),
        ("limits", limit_table()),
        ("conformance", case_table()),
    ] {
        let expected = format!("\n{table}\n");
        let (start, found) = section(&document, name);
        if found != expected {
            old.push(name);
            document.replace_range(start..start + found.len(), &expected);
        }
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        return std::fs::write(PATH, document).unwrap();
    }
    assert!(
        old.is_empty(),
        "docs/protocol.md is not what the code says in {old:?}; write it anew with: \
         UPDATE_DOCUMENTS=1 cargo nextest run the_tables_of_the_protocol"
    );
}

/// The cells of the rows of the table under a heading.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, under) = document.split_once(heading).unwrap();
    let table = under.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = table.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn every_command_is_documented_as_the_code_has_it() {
    let document = std::fs::read_to_string(PATH).unwrap();
    let rows = rows(&document, "\n## Commands\n");
    let found: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let expected: Vec<_> = Command::ALL
        .iter()
        .map(|command| command.as_str())
        .collect();
    assert_eq!(found, expected);
    for (command, row) in Command::ALL.iter().zip(rows) {
        let side = match command.sender() {
            Side::Client => "client",
            Side::Server => "server",
        };
        let body = if command.may_have_body() { "yes" } else { "" };
        assert_eq!((row[1], row[3]), (side, body), "{command}");
    }
}

#[test]
fn every_close_code_is_documented() {
    let document = std::fs::read_to_string(PATH).unwrap();
    let rows = rows(&document, "\n## Close codes\n");
    let documented: BTreeSet<u16> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    let source = include_str!("../../src/model/problem.rs");
    let fixed = source.split("Self = Self::of(").skip(1);
    let fixed = fixed.map(|rest| rest.split(',').next().unwrap().parse::<u16>().unwrap());
    let of_codes = Code::ALL.iter().map(|code| code.close_code());
    let of_errors = errors().into_iter().map(|row| row.close.code);
    let mut used: BTreeSet<u16> = fixed.chain(of_codes).chain(of_errors).collect();
    assert!(used.contains(&CloseReason::SLOW_CONSUMER.code));
    // What RFC 6455 has its layer say before there is a frame.
    used.insert(1007);
    assert_eq!(documented, used);
}

#[test]
fn every_source_is_of_a_header_that_there_is() {
    for (command, header, _) in SOURCES {
        let mut rows = headers();
        let is_known = rows.any(|row| (row.command.as_str(), row.header) == (command, header));
        assert!(is_known, "{command} has no {header}");
    }
    for message in RABBITMQ {
        assert!(
            errors().iter().any(|row| row.message == message),
            "{message}"
        );
    }
}
