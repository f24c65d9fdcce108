//! A server under callgrind, which counts its instructions.
//!
//! Not here: what it is asked to do. Invariant: the count is read after an orderly end, so it is
//! whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::support::process::{Process, SETTINGS};
use super::support::{CHILD, Outcome};

/// The broker in one of its builds, or the bare server of this one.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// The bare server.
    Bare,
    /// A broker.
    Broker(PathBuf),
}

impl Program {
    /// What the table calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Bare => "bare".to_owned(),
            Self::Broker(path) => path.display().to_string(),
        }
    }
}

/// A running server that is being counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) server: Process,
    folder: TempDir,
}

impl Counted {
    pub(crate) fn start(program: &Program) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("valgrind");
        command
            .env_clear()
            .envs(SETTINGS)
            .arg("--tool=callgrind")
            .arg(format!(
                "--callgrind-out-file={}",
                counts(&folder).display()
            ))
            .stderr(Stdio::null());
        match program {
            Program::Bare => command.arg(std::env::current_exe()?).arg(CHILD),
            Program::Broker(path) => command
                .arg(path)
                .args(["--config", "/dev/null", "--data-dir"])
                .arg(folder.path()),
        };
        let server = Process::start(command)?;
        Ok(Self { server, folder })
    }

    /// Ends it. Returns how many instructions it took in all.
    pub(crate) fn instructions(mut self) -> Outcome<f64> {
        let pid = self.server.pid().to_string();
        Command::new("kill").arg(&pid).status()?;
        self.server.child.wait()?;
        let counts = std::fs::read_to_string(counts(&self.folder))?;
        let total = counts.lines().find_map(|line| line.strip_prefix("totals:"));
        Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
    }
}

fn counts(folder: &TempDir) -> PathBuf {
    Path::new(folder.path()).join("callgrind.out")
}
