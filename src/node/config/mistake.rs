//! A mistake in the configuration, as one line that a person can act on.
//!
//! Invariant: the line names the setting, where it came from, what was found (never the value of a
//! secret) and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from. Later ones win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table of settings.
    Default,
    /// A file, `stompbox.toml` unless told otherwise.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// This flag of the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A mistake in the configuration: the process does not start. Show it and stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A value is not allowed for its setting: write one that is.
    #[error("{setting} (from {origin}): found {found}; allowed: {allowed}")]
    Value {
        /// The setting.
        setting: String,
        /// Where the value stands.
        origin: Source,
        /// What was found, quoted; of a secret, its length.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is no such setting: correct the name.
    #[error("{name} (from {origin}): there is no such setting{hint}")]
    Unknown {
        /// What was written.
        name: String,
        /// Where it stands.
        origin: Source,
        /// What was perhaps meant, as the end of the sentence.
        hint: String,
    },
    /// Values that are each allowed do not fit each other.
    #[error("{setting} (from {origin}): {problem}")]
    Combination {
        /// The setting to be looked at first.
        setting: &'static str,
        /// Where it stands.
        origin: Source,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file cannot be read, or is no TOML.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        problem: String,
    },
}

impl Mistake {
    /// Whether the command line itself is wrong, rather than a file or the environment.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Value { origin, .. } | Self::Unknown { origin, .. } => {
                matches!(origin, Source::Flag(_))
            }
            Self::Combination { .. } | Self::File { .. } => false,
        }
    }
}
