//! What a node makes once and keeps in its data directory: its name and its secret.
//!
//! Invariant: a kept file is whole or absent, readable by its owner alone, and never replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::{Config, Mode, Secret};
use crate::model::NodeId;

/// A kept file cannot be read or made: make the directory writable, or remove a broken file.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file system said no.
    #[error("DATA_DIR: {}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is there and holds something else.
    #[error("DATA_DIR: {} holds no {what}; remove it and a new one is made", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Nothing was kept here yet.
    #[error(
        "DATA_DIR: {} is not there; name the directory of the running node with --data-dir, or give \
         JWT_SECRET", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random octets.
    #[error("the system gives no random octets: {0}")]
    Random(getrandom::Error),
}

/// What a node knows itself by.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name: `SERVER_ID`, else the one made once.
    pub node: NodeId,
    /// The secret of the service: `JWT_SECRET`, else the one made once by a single node.
    pub secret: Secret,
    /// Whether a node has run in this data directory before.
    pub has_run_before: bool,
}

/// Makes the data directory, and reads or makes what is kept in it.
///
/// # Errors
/// When the directory is not usable.
pub fn open(config: &Config) -> Result<Kept, KeptError> {
    let directory = &config.settings.data_dir;
    make_directory(directory)?;
    let made_once = ["server-id", "jwt-secret"];
    let has_run_before = made_once.iter().any(|file| directory.join(file).exists());
    let node = match &config.settings.server_id {
        Some(node) => node.clone(),
        None => kept_name(&directory.join("server-id"))?,
    };
    let secret = match (&config.settings.jwt_secret, &config.mode) {
        (Some(secret), _) => secret.clone(),
        // A cluster without JWT_SECRET was refused when the configuration was read.
        (None, Mode::Alone | Mode::Cluster { .. }) => kept_secret(&directory.join("jwt-secret"))?,
    };
    Ok(Kept {
        node,
        secret,
        has_run_before,
    })
}

/// What a node that has run here knows itself by; nothing is made.
///
/// # Errors
/// When there is no such node.
pub fn known(config: &Config) -> Result<Kept, KeptError> {
    let path = config.settings.data_dir.join("jwt-secret");
    let is_known = config.settings.jwt_secret.is_some() || path.exists();
    let missing = (!is_known).then_some(KeptError::Missing { path });
    let secret = match (missing, &config.settings.jwt_secret) {
        (Some(missing), _) => return Err(missing),
        (None, Some(secret)) => secret.clone(),
        (None, None) => kept_secret(&config.settings.data_dir.join("jwt-secret"))?,
    };
    let node = config.settings.server_id.clone();
    // The name is of no use to whoever only asks.
    let node = node.or_else(|| "cli".parse().ok());
    let broken = || KeptError::Broken {
        path: config.settings.data_dir.clone(),
        what: "name of a node",
    };
    Ok(Kept {
        node: node.ok_or_else(broken)?,
        secret,
        has_run_before: true,
    })
}

fn make_directory(directory: &Path) -> Result<(), KeptError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| io_error(directory, error))
}

fn kept_name(path: &Path) -> Result<NodeId, KeptError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(KeptError::Random)?;
    let fresh = format!("node-{:08x}", u32::from_be_bytes(bytes));
    let text = keep(path, &fresh)?;
    text.parse().map_err(|_| KeptError::Broken {
        path: path.to_owned(),
        what: "name of a node",
    })
}

fn kept_secret(path: &Path) -> Result<Secret, KeptError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(KeptError::Random)?;
    let text = keep(path, &STANDARD.encode(bytes))?;
    if text.len() < 32 {
        return Err(KeptError::Broken {
            path: path.to_owned(),
            what: "secret of at least 32 characters",
        });
    }
    Ok(Secret::new(text))
}

/// The text of the file; when there is none, it is made with this text. Of two processes that make
/// it at once one wins, and both read the winner's.
fn keep(path: &Path, fresh: &str) -> Result<String, KeptError> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(path, error)),
    }
    // Written aside and linked into place: a crash leaves no half of a file under the real name.
    let mut tag = [0_u8; 4];
    getrandom::fill(&mut tag).map_err(KeptError::Random)?;
    let aside = path.with_extension(format!("{:08x}.new", u32::from_be_bytes(tag)));
    write_aside(&aside, fresh).map_err(|error| io_error(&aside, error))?;
    let linked = fs::hard_link(&aside, path);
    let _ = fs::remove_file(&aside);
    match linked {
        Ok(()) => Ok(fresh.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = fs::read_to_string(path).map_err(|error| io_error(path, error))?;
            Ok(text.trim().to_owned())
        }
        Err(error) => Err(io_error(path, error)),
    }
}

fn write_aside(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn io_error(path: &Path, error: io::Error) -> KeptError {
    KeptError::Io {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::Sources;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(directory: &Path) -> Config {
        let flag = |name: &str, value: String| ("--set".to_owned(), name.to_owned(), value);
        let data_dir = directory.join("deep/data").display().to_string();
        let sources = Sources {
            directory: directory.to_owned(),
            flags: vec![flag("DATA_DIR", data_dir)],
            ..Sources::default()
        };
        Config::load(&sources).unwrap()
    }

    #[test]
    fn a_node_keeps_its_name_and_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let first = open(&config).unwrap();
        let second = open(&config).unwrap();
        assert_eq!(first.node, second.node);
        assert_eq!(first.secret, second.secret);
        assert!(first.secret.reveal().len() >= 32);
        let path = config.settings.data_dir.join("jwt-secret");
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        open(&config).unwrap();
        let path = config.settings.data_dir.join("server-id");
        fs::write(&path, "not a name\n").unwrap();
        let error = open(&config).unwrap_err().to_string();
        assert!(
            error.contains("server-id holds no name of a node"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a name\n");
    }

    #[test]
    fn two_that_start_at_once_keep_the_same_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server-id");
        let names: Vec<_> = std::thread::scope(|scope| {
            let make = || scope.spawn(|| kept_name(&path).map(|name| name.to_string()));
            let threads: Vec<_> = (0..4).map(|_| make()).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let kept = fs::read_to_string(&path).unwrap();
        for name in names {
            assert_eq!(name.unwrap(), kept.trim());
        }
    }
}
