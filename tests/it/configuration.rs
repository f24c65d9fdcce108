//! The configuration as people meet it: the documentation, and the program's words and exit codes.
//!
//! What the settings mean and how layers win is tested beside them, in `src/node/config/tests.rs`.

use std::fs;
use std::process::{Command, Output};

use stompbox::node::config::{TABLE, reference};

/// Runs the program in an empty folder with this environment and nothing else.
fn stompbox(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_stompbox"))
        .current_dir(folder.path())
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn the_documentation_has_every_setting_as_the_program_has_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let document = fs::read_to_string(path).unwrap();
    let (_, tables) = document.split_once("<!-- settings -->").unwrap();
    assert_eq!(
        tables.trim(),
        reference::markdown().trim(),
        "write the tables anew: stompbox config print --markdown"
    );
}

#[test]
fn every_setting_that_has_to_exist_exists() {
    let names = "SERVER_HOST SERVER_PORT SERVER_ID DATA_DIR DATABASE_URL REDIS_URL RABBITMQ_URL \
        CORS_ORIGINS ALLOW_NO_ORIGIN TRUSTED_PROXIES ANON_RECOGNITION ANON_ENABLED ANON_TOKEN_TTL \
        ANON_HINT_TTL ANON_HISTORY_TTL ANON_IDENTITY_TTL FP_KEY JWT_SECRET HEART_BEAT LOG_FORMAT \
        LOG_LEVEL LOG_IP APP_ENV SHUTDOWN_TIMEOUT MAX_FRAME_BYTES MAX_HEADERS MAX_HEADER_BYTES \
        MAX_HEAD_BYTES MAX_HEAD_BYTES_UNAUTHENTICATED CONNECT_TIMEOUT PARTIAL_FRAME_TIMEOUT \
        MAX_SUBSCRIPTIONS PREFETCH_DEFAULT PREFETCH_MAX MAX_TRANSACTIONS TRANSACTION_FRAMES \
        TRANSACTION_BYTES TRANSACTION_IDLE OUTBOX_FRAMES OUTBOX_BYTES OUTBOX_STALL \
        WS_MAX_CONNECTIONS MEMORY_LIMIT CONNECTION_RATE CONNECTIONS_PER_NET SESSIONS_MEMBER \
        SESSIONS_VISITOR VISITORS_PER_NETWORK RATE_ANON_PER_MIN RATE_AUTH_PER_MIN RATE_BURST \
        RATE_NET_PER_MIN CLIENT_FRAMES_PER_10S MESSAGE_CHARS MESSAGE_BYTES";
    for name in names.split_whitespace() {
        assert!(TABLE.iter().any(|row| row.name == name), "{name}");
    }
    for alias in ["PORT", "HOST", "GATEWAY_ID", "RUST_LOG"] {
        assert!(
            TABLE.iter().any(|row| row.aliases.contains(&alias)),
            "{alias}"
        );
    }
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [["--help"], ["-h"], ["--version"], ["-V"]] {
        let output = stompbox(&[], &arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    let help = text(&stompbox(&[], &["--help"]).stdout);
    for words in [
        "Examples:",
        "stompbox config check",
        "docs/configuration.md",
        "--port",
        "Exit codes",
    ] {
        assert!(help.contains(words), "'{words}' is missing in:\n{help}");
    }
    let long = help.lines().find(|line| line.chars().count() > 100);
    assert_eq!(long, None, "help fits a terminal");
    let version = text(&stompbox(&[], &["--version"]).stdout);
    assert_eq!(version, format!("stompbox {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_mistake_stops_the_start_with_one_line() {
    let check = |environment: &[(&str, &str)], arguments: &[&str], code: i32, parts: &[&str]| {
        let output = stompbox(environment, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "'{part}' is missing in: {said}");
        }
    };
    check(
        &[("SERVER_PORT", "eighty")],
        &[],
        1,
        &["SERVER_PORT", "environment", "'eighty'", "from 0 to 65535"],
    );
    check(
        &[],
        &["--port", "eighty"],
        2,
        &["SERVER_PORT", "flag --port"],
    );
    check(
        &[],
        &["--set", "MAX_HEADRS=1"],
        2,
        &["did you mean MAX_HEADERS?"],
    );
    check(
        &[("REDIS_URL", "redis://h")],
        &["serve"],
        1,
        &["REDIS_URL", "RABBITMQ_URL is missing"],
    );
    check(
        &[("APP_ENV", "production"), ("CORS_ORIGINS", "*")],
        &["config", "check"],
        1,
        &["CORS_ORIGINS", "production"],
    );
    check(&[], &["--config", "nowhere.toml"], 1, &["nowhere.toml"]);
}

#[test]
fn health_of_a_node_that_is_away_is_exit_code_3() {
    let port = crate::support::ports::free().to_string();
    let asked = stompbox(&[("SERVER_PORT", &port)], &["health"]);
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    assert!(text(&asked.stderr).contains(&port), "{asked:?}");
}

#[test]
fn a_command_line_that_cannot_be_understood_is_exit_code_2() {
    for arguments in [
        &["serve", "now"][..],
        &["--prot", "1"],
        &["config"],
        &["--set", "NAME"],
    ] {
        let output = stompbox(&[], arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn config_check_says_what_the_configuration_comes_to_and_hides_secrets() {
    let secret = "do-not-show-me-0123456789-0123456789";
    let url = format!("postgres://u:{secret}@127.0.0.1/db");
    let environment = [("JWT_SECRET", secret), ("DATABASE_URL", &url)];
    let output = stompbox(&environment, &["config", "check", "--port", "9000"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("ok: "), "{said}");
    assert!(!said.contains("do-not-show-me"), "{said}");
    let line = |name: &str| {
        said.lines()
            .find(|line| line.trim_start().starts_with(name))
    };
    assert!(
        line("SERVER_PORT").is_some_and(|line| line.contains("9000  (flag --port)")),
        "{said}"
    );
    assert!(
        line("DATABASE_URL").is_some_and(|line| line.contains("u:***@127.0.0.1")),
        "{said}"
    );
    for row in TABLE {
        assert!(said.contains(row.name), "{} is missing", row.name);
    }
}

#[test]
fn what_config_print_writes_can_be_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let printed = stompbox(&[("OUTBOX_BYTES", "1MiB")], &["config", "print"]);
    let path = folder.path().join("written.toml");
    fs::write(&path, &printed.stdout).unwrap();
    let path = path.display().to_string();
    let output = stompbox(&[], &["--config", &path, "config", "check"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(said.contains("OUTBOX_BYTES"), "{said}");
    let line = said
        .lines()
        .find(|line| line.contains("OUTBOX_BYTES"))
        .unwrap();
    assert!(
        line.contains("1MiB") && line.contains("written.toml"),
        "{line}"
    );
}
