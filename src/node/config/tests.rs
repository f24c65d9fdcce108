//! What the configuration takes, from where, and what it says to a mistake.

use std::collections::BTreeMap;
use std::path::Path;

use super::layers::not_used;
use super::reference;
use super::*;
use crate::app::{FEATURES, Relays};
use crate::model::Prefixes;
use crate::policy::Rules;

/// A configuration read from a file's text, an environment and `--set` flags.
fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, Mistake> {
    let directory = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(directory.path().join("stompbox.toml"), file).unwrap();
    }
    Config::load(&sources(directory.path(), environment, flags))
}

fn sources(directory: &Path, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        file: None,
        directory: directory.to_owned(),
        environment: environment.iter().map(owned).collect(),
        flags: flags
            .iter()
            .map(owned)
            .map(|(name, value)| ("--set".to_owned(), name, value))
            .collect(),
    }
}

/// The one line that a configuration is refused with.
fn refusal(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    let line = load(file, environment, flags).unwrap_err().to_string();
    assert!(!line.contains('\n'), "more than one line: {line}");
    line
}

#[test]
fn without_anything_written_a_single_node_can_start() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.mode, Mode::Alone);
    assert_eq!(
        config.database,
        Database::Sqlite("./data/stompbox.db".into())
    );
    assert_eq!(config.settings.server_port, 8080);
    assert_eq!(config.settings.max_frame_bytes, Size(65_536));
    assert_eq!(config.frame_limits.head_bytes_max(), 32 * 1024);
    assert!(
        config
            .shown()
            .iter()
            .all(|(.., source)| *source == Source::Default)
    );
}

#[test]
fn later_layers_win() {
    let file =
        "server_port = 1001\nMAX_HEADERS = 70\ncors_origins = ['https://a.b', 'https://c.d']\n";
    let environment = [("SERVER_PORT", "1002"), ("HEART_BEAT", "1000,2000")];
    let port = |config: Config| config.settings.server_port;
    assert_eq!(port(load(file, &[], &[]).unwrap()), 1001);
    assert_eq!(port(load(file, &environment, &[]).unwrap()), 1002);
    let config = load(file, &environment, &[("server_port", "1003")]).unwrap();
    assert_eq!(config.settings.server_port, 1003);
    assert_eq!(config.settings.max_headers, 70);
    assert_eq!(
        config.settings.cors_origins.0,
        ["https://a.b", "https://c.d"]
    );
    assert_eq!(config.settings.heart_beat.beat_out.as_millis(), 1000);
    assert_eq!(
        config.source("SERVER_PORT"),
        Source::Flag("--set".to_owned())
    );
}

#[test]
fn an_alias_counts_unless_the_own_name_is_there() {
    let alias = load("", &[("PORT", "1"), ("GATEWAY_ID", "g")], &[]).unwrap();
    assert_eq!(alias.settings.server_port, 1);
    assert_eq!(alias.settings.server_id.unwrap().as_str(), "g");
    let both = load("", &[("PORT", "1"), ("SERVER_PORT", "2")], &[]).unwrap();
    assert_eq!(both.settings.server_port, 2);
}

#[test]
fn an_empty_value_means_the_default() {
    let config = load("", &[("REDIS_URL", ""), ("SERVER_PORT", "")], &[]).unwrap();
    assert_eq!(
        (config.mode, config.settings.server_port),
        (Mode::Alone, 8080)
    );
    let config = load("server_port = 1001", &[], &[("SERVER_PORT", "")]).unwrap();
    assert_eq!(config.settings.server_port, 8080);
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "0123456789012345678901234567890123456789\n").unwrap();
    let path = path.display().to_string();
    let config = load("", &[("JWT_SECRET_FILE", &path)], &[]).unwrap();
    assert_eq!(config.settings.jwt_secret.unwrap().reveal().len(), 40);
    let line = refusal("", &[("JWT_SECRET_FILE", "/nowhere/at/all")], &[]);
    assert!(
        line.contains("/nowhere/at/all") && line.contains("JWT_SECRET_FILE"),
        "{line}"
    );
    // Only secrets: SERVER_PORT_FILE is nobody's.
    let line = refusal("server_port_file = 'x'", &[], &[]);
    assert!(line.contains("no such setting"), "{line}");
}

#[test]
fn a_mistake_is_one_line_with_the_setting_its_source_what_was_found_and_what_is_allowed() {
    let check = |line: String, parts: &[&str]| {
        for part in parts {
            assert!(line.contains(part), "'{part}' is missing in: {line}");
        }
    };
    check(
        refusal("", &[("PORT", "http")], &[]),
        &[
            "SERVER_PORT",
            "environment variable PORT",
            "'http'",
            "from 0 to 65535",
        ],
    );
    check(
        refusal("max_frame_bytes = '17MiB'", &[], &[]),
        &[
            "MAX_FRAME_BYTES",
            "stompbox.toml",
            "'17MiB'",
            "from 1KiB to 16MiB",
        ],
    );
    check(
        refusal("", &[], &[("CONNECT_TIMEOUT", "10")]),
        &[
            "CONNECT_TIMEOUT",
            "flag --set",
            "'10'",
            "a duration such as",
        ],
    );
    check(
        refusal("", &[("SERVER_ID", "all")], &[]),
        &["SERVER_ID", "'all'", "a-z"],
    );
    check(
        refusal("anon_recogniton = 'hint'", &[], &[]),
        &["ANON_RECOGNITON", "did you mean ANON_RECOGNITION?"],
    );
    check(
        refusal("", &[], &[("FOO", "1")]),
        &["FOO", "flag --set", "config print"],
    );
    check(
        refusal("[server]\nport = 1\n", &[], &[]),
        &["stompbox.toml", "server is a table"],
    );
    check(
        refusal("server_port = 1\njwt_secret = 'abc\n", &[], &[]),
        &["stompbox.toml", "line 2"],
    );
}

#[test]
fn engines_that_do_not_fit_together_are_refused() {
    let redis = ("REDIS_URL", "redis://:pw@127.0.0.1:1");
    let rabbitmq = ("RABBITMQ_URL", "amqp://u:pw@127.0.0.1:2");
    let postgres = ("DATABASE_URL", "postgres://u:pw@127.0.0.1/db");
    let secret = ("JWT_SECRET", "0123456789012345678901234567890123456789");
    let check = |environment: &[(&str, &str)], parts: &[&str]| {
        let line = refusal("", environment, &[]);
        for part in parts {
            assert!(line.contains(part), "'{part}' is missing in: {line}");
        }
    };
    check(
        &[redis],
        &["REDIS_URL", "RABBITMQ_URL is missing", "lose messages"],
    );
    check(
        &[rabbitmq],
        &["RABBITMQ_URL", "REDIS_URL is missing", "lose messages"],
    );
    check(&[redis, rabbitmq, secret], &["DATABASE_URL", "one process"]);
    check(&[redis, rabbitmq, postgres], &["JWT_SECRET", "at least 32"]);
    let config = load("", &[redis, rabbitmq, postgres, secret], &[]).unwrap();
    assert!(matches!(config.mode, Mode::Cluster { .. }));
    assert!(matches!(config.database, Database::Postgres(_)));
    let alone = load("", &[postgres], &[]).unwrap();
    assert_eq!(alone.mode, Mode::Alone);
    check(
        &[("DATABASE_URL", "mysql://h/db")],
        &["DATABASE_URL", "postgres://"],
    );
    check(&[("REDIS_URL", "rediss://h")], &["REDIS_URL", "redis://"]);
}

#[test]
fn what_each_setting_allows_may_still_not_fit_together() {
    let production = ("APP_ENV", "production");
    let line = refusal("", &[production, ("CORS_ORIGINS", "*")], &[]);
    assert!(
        line.contains("CORS_ORIGINS") && line.contains("APP_ENV=production"),
        "{line}"
    );
    load("", &[("CORS_ORIGINS", "*")], &[]).unwrap();
    for (name, value) in [
        ("MAX_HEADER_BYTES", "33KiB"),
        ("MAX_HEAD_BYTES_UNAUTHENTICATED", "33KiB"),
        ("MESSAGE_BYTES", "65KiB"),
        ("PREFETCH_DEFAULT", "1001"),
    ] {
        let line = refusal("", &[(name, value)], &[]);
        assert!(line.starts_with(name), "{line}");
    }
}

#[test]
fn destinations_that_cannot_be_meant_are_refused_with_the_part_that_is_wrong() {
    let check = |name: &str, value: &str, parts: &[&str]| {
        let line = refusal("", &[(name, value)], &[]);
        assert!(line.starts_with(name), "{line}");
        for part in parts {
            assert!(line.contains(part), "'{part}' is missing in: {line}");
        }
    };
    let rules = "DESTINATION_RULES";
    check(rules, "all /topic/** everybody", &["`everybody`", "anyone"]);
    check(rules, "send /sub/a anyone", &["`/sub/a`", "/topic/..."]);
    check(rules, "all /topic/**", &["`all /topic/**`", "three words"]);
    check(
        "APP_RELAYS",
        "/app/a=/app/b",
        &["`/app/a=/app/b`", "/topic"],
    );
    check("APP_RELAYS", "/app/chat.send=/topic/a", &["chat.send"]);
    check(
        "PREFIX_TOPIC",
        "/topic,/topic/a",
        &["/topic/a", "/topic", "begin"],
    );
    check("PREFIX_USER", "/sub", &["/sub"]);
    check("PREFIX_QUEUE", "/reply-queue", &["/reply-queue"]);
    let config = load(
        "",
        &[("PREFIX_TOPIC", "/sub"), ("QUEUE_MODE", "fan-out")],
        &[],
    )
    .unwrap();
    let parsed = |text: &str| config.prefixes.parse(text).map(|found| found.to_string());
    assert_eq!(parsed("/sub/a").unwrap(), "/topic/a");
    assert!(parsed("/topic/a").is_err());
    assert!(config.prefixes.queue_fans_out);
    let standard = load("", &[], &[]).unwrap();
    assert_eq!(*standard.prefixes, Prefixes::default());
    assert_eq!(standard.rules, Rules::default());
    let relays = Relays::parse(Relays::DEFAULT, &standard.prefixes, FEATURES);
    assert_eq!(Ok(standard.relays), relays);
    assert_eq!(
        load("", &[("APP_RELAYS", "none")], &[]).unwrap().relays,
        Relays::default()
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "do-not-show-me-0123456789-0123456789";
    let url = |scheme: &str| format!("{scheme}://u:{secret}@127.0.0.1/x");
    let (redis, amqp, postgres) = (url("redis"), url("amqp"), url("postgres"));
    let environment = [
        ("JWT_SECRET", secret),
        ("FP_KEY", secret),
        ("REDIS_URL", &redis),
        ("RABBITMQ_URL", &amqp),
        ("DATABASE_URL", &postgres),
    ];
    let config = load("", &environment, &[]).unwrap();
    let shown = format!(
        "{config:?} {:?} {}",
        config.shown(),
        reference::toml(&config)
    );
    assert!(!shown.contains("do-not-show-me"), "{shown}");
    for (name, value) in [
        ("JWT_SECRET", "do-not-show-me"),
        ("REDIS_URL", "do-not-show-me"),
        ("DATABASE_URL", "do-not-show-me:do-not-show-me@host"),
    ] {
        let line = refusal("", &[(name, value)], &[]);
        assert!(!line.contains("do-not-show-me"), "{line}");
    }
    let broken = format!("jwt_secret = '{secret}\n");
    assert!(!refusal(&broken, &[], &[]).contains("do-not-show-me"));
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let environment = [
        ("CORS_ORIGINS", "https://a.b,https://c.d"),
        ("LOG_LEVEL", "debug"),
    ];
    let config = load("", &environment, &[("OUTBOX_BYTES", "1MiB")]).unwrap();
    let again = load(&reference::toml(&config), &[], &[]).unwrap();
    let values = |config: &Config| config.settings.shown();
    assert_eq!(values(&config), values(&again));
}

#[test]
fn every_row_of_the_table_is_sound() {
    let mut names = BTreeMap::new();
    for row in TABLE {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            assert_eq!(names.insert(*name, ()), None, "{name} stands twice");
            let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(allowed), "{name}");
        }
        assert!(row.about.ends_with('.'), "{}: {}", row.name, row.about);
        assert!(!row.allowed().is_empty());
    }
}

#[test]
fn misspelt_variables_are_told_about() {
    let told = |name: &str| not_used(&sources(Path::new("."), &[(name, "1")], &[]).environment);
    for (name, meant) in [
        ("MEMORY_LIMT", "MEMORY_LIMIT"),
        ("MEMORYLIMIT", "MEMORY_LIMIT"),
        ("SERVER_PROT", "SERVER_PORT"),
        ("JWT_SECRETS", "JWT_SECRET"),
    ] {
        assert_eq!(
            told(name),
            [format!("{name} is not used: did you mean {meant}?")]
        );
    }
    // Settings, their aliases and files, and what an environment has anyway.
    for name in [
        "MEMORY_LIMIT",
        "GATEWAY_ID",
        "JWT_SECRET_FILE",
        "PROT",
        "LOGNAME",
        "HOSTNAME",
        "HOSTTYPE",
        "SHELL_SESSION_ID",
        "XDG_DATA_DIRS",
        "SSH_CLIENT",
        "LANGUAGE",
        "COLORTERM",
        "RUST_LOG",
        "REDIS_PORT",
        "MAILCHECK",
        "OLDPWD",
    ] {
        let of_others = told(name)
            .into_iter()
            .filter(|line| line.contains("did you mean"));
        assert_eq!(of_others.collect::<Vec<_>>(), [] as [String; 0]);
    }
    let empty = sources(Path::new("."), &[("MEMORY_LIMT", "")], &[]).environment;
    assert_eq!(not_used(&empty), [] as [String; 0]);
}

#[test]
fn variables_of_other_systems_are_told_about() {
    let environment = [
        ("NATS_URL", "nats://x"),
        ("HOME", "/root"),
        ("REDIS_HOST", ""),
    ];
    let environment = sources(Path::new("."), &environment, &[]).environment;
    let told = not_used(&environment);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("NATS_URL is not used"), "{told:?}");
}
