//! `stompbox migrate`, `backup` and `restore`: the store without a node.
//!
//! Not here: how it is done (`store::sqlite::backup`). Invariant: what the service signs with never
//! leaves the data directory; beside a backup stands only by which fingerprints it is known.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::show;
use crate::node::config::{Config, Database};
use crate::store::sqlite::backup;
use crate::store::{PostgresSettings, PostgresStore};

/// The files of the data directory that belong to a database.
const KEYS: [&str; 2] = ["jwt-secret", "server-id"];

const USE_PG_DUMP: &str = "\
this store is a PostgreSQL database, which has better tools for it:
  pg_dump --format=custom --file=FILE \"$DATABASE_URL\"";

const USE_PG_RESTORE: &str = "\
this store is a PostgreSQL database, which has better tools for it; stop all nodes, then:
  pg_restore --clean --if-exists --single-transaction --no-owner --dbname=\"$DATABASE_URL\" FILE";

/// Brings the schema up to date.
pub(super) fn migrate(config: &Config) -> ExitCode {
    let versions = match &config.database {
        Database::Sqlite(path) => parent(path).and_then(|()| text_error(backup::migrate(path))),
        Database::Postgres(url) => runtime().and_then(|runtime| {
            let settings = PostgresSettings::default();
            text_error(runtime.block_on(PostgresStore::migrate(url.reveal(), &settings)))
        }),
    };
    answer(versions.map(|(before, now)| match before {
        0 => format!("the schema was made: version {now}\n"),
        _ if before < now => format!("the schema went from version {before} to {now}\n"),
        _ => format!("the schema is up to date: version {now}\n"),
    }))
}

/// Copies the store to a file.
pub(super) fn backup(config: &Config, to: &Path) -> ExitCode {
    answer(match &config.database {
        Database::Sqlite(from) => write_backup(config, from, to),
        Database::Postgres(_) => Err(USE_PG_DUMP.to_owned()),
    })
}

/// Puts a copy into the place of the store.
pub(super) fn restore(config: &Config, from: &Path, is_confirmed: bool) -> ExitCode {
    answer(match &config.database {
        Database::Sqlite(to) => read_backup(config, from, to, is_confirmed),
        Database::Postgres(_) => Err(USE_PG_RESTORE.to_owned()),
    })
}

fn write_backup(config: &Config, from: &Path, to: &Path) -> Result<String, String> {
    let manifest = manifest_path(to);
    if manifest.exists() {
        let words = "it is there already; move it away, or name another backup";
        return Err(format!("{}: {words}", manifest.display()));
    }
    let bytes = text_error(backup::backup(from, to))?;
    let keys = keys(&config.settings.data_dir)?;
    let files: Vec<Value> = keys
        .iter()
        .map(|(name, fingerprint)| json!({"file": name, "sha256": fingerprint}))
        .collect();
    let text =
        json!({"database": to.file_name().map(|name| name.to_string_lossy()), "keys": files});
    write_new(&manifest, &format!("{text:#}\n"))
        .map_err(|error| format!("{}: {error}", manifest.display()))?;
    let mut said = format!("{bytes} octets are in {}\n", to.display());
    let _ = writeln!(
        said,
        "The files of {} that belong to it are not in it; {} has their SHA-256.",
        config.settings.data_dir.display(),
        manifest.display()
    );
    for (name, _) in &keys {
        let _ = writeln!(said, "  keep in a safe place of its own: {name}");
    }
    if config.settings.jwt_secret.is_some() {
        said.push_str("  keep in a safe place of its own: JWT_SECRET\n");
    }
    Ok(said)
}

fn read_backup(
    config: &Config,
    from: &Path,
    to: &Path,
    is_confirmed: bool,
) -> Result<String, String> {
    if to.exists() && !is_confirmed {
        return Err(format!(
            "{} is there and would be put away; say --yes if that is meant",
            to.display()
        ));
    }
    parent(to)?;
    let before = text_error(backup::restore(from, to))?;
    let mut said = format!("{} is in place of {}\n", from.display(), to.display());
    if let Some(before) = before {
        let _ = writeln!(said, "What was there is {}", before.display());
    }
    for missing in keys_that_differ(config, from) {
        let _ = writeln!(
            said,
            "Not the file that belongs to this backup: {}; without it visitors, links and tokens \
             of then are not known again.",
            config.settings.data_dir.join(missing).display()
        );
    }
    Ok(said)
}

/// The key files that there are, each with its SHA-256.
fn keys(data_dir: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let mut found = Vec::new();
    for name in KEYS {
        let path = data_dir.join(name);
        match fs::read(&path) {
            Ok(octets) => found.push((name, fingerprint(&octets))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(found)
}

/// The files of the manifest that the data directory does not have so. Without a manifest there is
/// nothing to compare with.
fn keys_that_differ(config: &Config, from: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest_path(from)).unwrap_or_default();
    let manifest: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let files = manifest.get("keys").and_then(Value::as_array);
    let files = files.map(Vec::as_slice).unwrap_or_default();
    let mut differing = Vec::new();
    for name in KEYS {
        let wanted = files.iter().find(|it| it["file"] == name);
        let Some(wanted) = wanted.and_then(|it| it["sha256"].as_str()) else {
            continue;
        };
        let octets = fs::read(config.settings.data_dir.join(name)).unwrap_or_default();
        if fingerprint(&octets) != wanted {
            differing.push(name.to_owned());
        }
    }
    differing
}

fn fingerprint(octets: &[u8]) -> String {
    let digest = Sha256::digest(octets);
    digest.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn manifest_path(backup: &Path) -> PathBuf {
    let mut name = backup.as_os_str().to_owned();
    name.push(".keys.json");
    name.into()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the directory of a database, as a node does.
fn parent(path: &Path) -> Result<(), String> {
    let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) else {
        return Ok(());
    };
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|error| format!("{}: {error}", directory.display()))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
}

fn text_error<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<T, String> {
    outcome.map_err(|error| error.to_string())
}

fn answer(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => show(&text),
        Err(words) => {
            let _ = writeln!(io::stderr().lock(), "stompbox: {words}");
            ExitCode::FAILURE
        }
    }
}
