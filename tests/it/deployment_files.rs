//! The files of a deployment describe one topology, and are what the program and the servers take.
//!
//! Containers cannot be started where the tests run: `docker-compose.yml` and the `Dockerfile` are
//! parsed. nginx's file is given to a real nginx, in front of two real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml_ng::Value;
use stompbox::node::config::{Config, Database, Mode, Sources, TABLE};

use crate::support::nginx::{self};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// `docker-compose.yml` with its merge keys applied.
fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    compose.apply_merge().unwrap();
    compose
}

/// The services that are nodes.
fn nodes(compose: &Value) -> Vec<(String, &Value)> {
    let services = compose["services"].as_mapping().unwrap().iter();
    services
        .map(|(name, service)| (name.as_str().unwrap().to_owned(), service))
        .filter(|(name, _)| name.starts_with("node-"))
        .collect()
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?} is no text"))
}

/// The environment of a service, with the variables of `.env` filled in as Compose does.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let pairs = service["environment"].as_mapping().unwrap().iter();
    pairs
        .map(|(name, value)| (text(name).to_owned(), filled(text(value))))
        .collect()
}

/// Replaces `${NAME:-default}` and `${NAME:?words}`: the first by the default, the second by a
/// value that is long enough for a secret.
fn filled(value: &str) -> String {
    let mut parts = value.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap();
        match variable.split_once(":-") {
            Some((_, default)) => filled.push_str(default),
            None => filled.push_str("0123456789-0123456789-0123456789-0123456789"),
        }
        filled.push_str(rest);
    }
    filled
}

/// The names inside `${...}`.
fn variables(text: &str) -> BTreeSet<String> {
    let parts = text.split("${").skip(1);
    parts
        .map(|part| {
            let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            part[..end.unwrap()].to_owned()
        })
        .collect()
}

fn is_setting(name: &str) -> bool {
    let own = |row: &stompbox::node::config::Row| {
        row.name == name || row.aliases.contains(&name) || format!("{}_FILE", row.name) == name
    };
    TABLE.iter().any(own)
}

#[test]
fn every_variable_that_a_node_is_given_is_a_setting() {
    let compose = compose();
    let nodes = nodes(&compose);
    assert!(nodes.len() >= 2);
    for (name, service) in &nodes {
        for variable in environment(service).keys() {
            assert!(is_setting(variable), "{name}: {variable} is no setting");
        }
    }
    let image = read("Dockerfile");
    let variables = image
        .lines()
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.split_once('=').map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    let variables: Vec<_> = variables.collect();
    assert!(variables.contains(&"SERVER_HOST"));
    for variable in variables {
        assert!(is_setting(variable), "Dockerfile: {variable} is no setting");
    }
}

#[test]
fn every_variable_of_the_example_is_used_and_every_used_one_is_in_the_example() {
    let example: BTreeSet<String> = read(".env.example")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
        .collect();
    assert_eq!(example, variables(&read("docker-compose.yml")));
}

#[test]
fn the_nodes_of_the_composition_can_start() {
    let compose = compose();
    let mut ids = BTreeSet::new();
    for (name, service) in nodes(&compose) {
        let sources = Sources {
            directory: PathBuf::from("/nowhere"),
            environment: environment(service),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap_or_else(|mistake| panic!("{name}: {mistake}"));
        assert!(matches!(config.mode, Mode::Cluster { .. }), "{name}");
        assert!(matches!(config.database, Database::Postgres(_)), "{name}");
        let id = config.settings.server_id.unwrap();
        assert_eq!(
            id.as_str(),
            name,
            "nginx and people know the node by its service"
        );
        assert!(ids.insert(id));
        let grace = text(&service["stop_grace_period"]).trim_end_matches('s');
        let grace = Duration::from_secs(grace.parse().unwrap());
        assert!(
            grace > config.settings.shutdown_timeout,
            "{name} would be killed while it drains"
        );
        for data in service["volumes"].as_sequence().unwrap() {
            let (volume, path) = text(data).split_once(':').unwrap();
            assert_eq!(path, "/data");
            assert!(
                compose["volumes"].get(volume).is_some(),
                "{volume} is not declared"
            );
        }
    }
}

#[test]
fn the_composition_and_its_files_describe_one_topology() {
    let compose = compose();
    let services = &compose["services"];
    let (_, node) = &nodes(&compose)[0];
    let environment = environment(node);
    let at = |setting: &str| {
        let (_, rest) = environment[setting].split_once("://").unwrap();
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (host, path) = rest.split_once('/').unwrap();
        let host = host.split(':').next().unwrap();
        assert!(services.get(host).is_some(), "{setting}: no service {host}");
        (user.to_owned(), path.to_owned())
    };
    at("REDIS_URL");
    let (user, database) = at("DATABASE_URL");
    let postgres = &services["postgres"]["environment"];
    assert_eq!(user.split(':').next(), postgres["POSTGRES_USER"].as_str());
    assert_eq!(Some(database.as_str()), postgres["POSTGRES_DB"].as_str());
    assert!(text(&services["postgres"]["image"]).starts_with("postgres:15"));
    assert!(text(&services["redis"]["image"]).starts_with("redis:7"));
    let persistent: Vec<_> = services["redis"]["command"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert_eq!(persistent, ["redis-server", "--appendonly", "yes"]);

    let (user, vhost) = at("RABBITMQ_URL");
    let definitions: serde_json::Value =
        serde_json::from_str(&read("rabbitmq/definitions.json")).unwrap();
    assert_eq!(
        definitions["users"][0]["name"].as_str(),
        user.split(':').next()
    );
    assert_eq!(
        definitions["vhosts"][0]["name"].as_str(),
        Some(vhost.as_str())
    );

    // What is mounted exists, and the broker is told to read the definitions from there.
    for service in ["nginx", "rabbitmq"] {
        for volume in services[service]["volumes"].as_sequence().unwrap() {
            if let Some(path) = text(volume).strip_prefix("./") {
                let file = path.split(':').next().unwrap();
                assert!(
                    root().join(file).is_file(),
                    "{service}: {file} does not exist"
                );
            }
        }
    }
    let mounted = serde_yaml_ng::to_string(&services["rabbitmq"]["volumes"]).unwrap();
    let conf = read("rabbitmq/rabbitmq.conf");
    let line = conf
        .lines()
        .find(|line| line.starts_with("load_definitions"))
        .unwrap();
    let path = line.split('=').nth(1).unwrap().trim();
    assert!(
        mounted.contains(&format!(":{path}:")),
        "{path} is not mounted"
    );

    // The nodes believe X-Forwarded-For of the network in which nginx is, and of no other.
    let subnet = &compose["networks"]["stompbox"]["ipam"]["config"][0]["subnet"];
    assert_eq!(
        Some(environment["TRUSTED_PROXIES"].as_str()),
        subnet.as_str()
    );
}

#[test]
fn nginx_knows_every_node_and_passes_on_who_the_client_is() {
    let conf = read("nginx/nginx.conf");
    let compose = compose();
    let expected: BTreeSet<String> = nodes(&compose)
        .iter()
        .map(|(name, _)| format!("{name}:8080"))
        .collect();
    for upstream in conf.split("\n    upstream ").skip(1) {
        let block = upstream.split('}').next().unwrap();
        let servers: BTreeSet<String> = block
            .lines()
            .filter_map(|line| line.trim().strip_prefix("server "))
            .map(|rest| rest.split([' ', ';']).next().unwrap().to_owned())
            .collect();
        assert_eq!(servers, expected, "upstream {block}");
        assert!(!block.contains("ip_hash"));
    }
    for line in [
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header Host $asked_host;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_read_timeout 75s;",
        "proxy_send_timeout 75s;",
        "hash $sockjs_session consistent;",
    ] {
        assert!(conf.contains(line), "'{line}' is missing");
    }
    assert!(
        !conf.contains("$proxy_add_x_forwarded_for"),
        "the client's word is not appended to"
    );
    let ports = &compose["services"]["nginx"]["ports"][0];
    let listens = text(ports).rsplit(':').next().unwrap().to_owned();
    assert!(conf.contains(&format!("listen {listens};")));
}

#[test]
fn a_real_nginx_takes_its_file() {
    let output = nginx::check();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        !said.contains("[warn]") && !said.contains("[emerg]"),
        "{said}"
    );
}

#[test]
fn the_readme_names_the_version_of_rust_that_is_needed() {
    let manifest = read("Cargo.toml");
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let needed = format!("needs Rust {} or later", line.unwrap().trim_matches('"'));
    assert!(read("README.md").contains(&needed), "{needed}");
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody_in_particular() {
    let image = read("Dockerfile");
    let stages: Vec<&str> = image.split("\nFROM ").collect();
    let last = stages.last().unwrap();
    for line in image
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from="))
    {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let (_, sources) = words.split_last().unwrap();
        for source in sources {
            assert!(
                root().join(source).exists(),
                "{line}: {source} does not exist"
            );
        }
    }
    assert!(last.contains("\nUSER 10001"), "the image runs as root");
    assert!(last.contains("\nHEALTHCHECK "));
    assert!(last.contains("\nSTOPSIGNAL SIGTERM"));
    let cargo: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = cargo["package"]["rust-version"].as_str().unwrap();
    assert!(
        image.contains(&format!("FROM rust:{version}-")),
        "Rust {version}"
    );
    assert!(Path::new(&root()).join(".dockerignore").is_file());
}
