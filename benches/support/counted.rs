//! A server under callgrind, which counts its instructions.
//!
//! Not here: what it is asked to do. Invariant: start, handshakes and end are in no
//! count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::support::process::{Process, SETTINGS};
use super::support::report::folder;
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
    /// The broker of this build.
    pub(crate) fn this_build() -> Self {
        Self::Broker(env!("CARGO_BIN_EXE_stompbox").into())
    }

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

    /// Forgets what was counted: start and handshakes.
    pub(crate) fn begin(&self) -> Outcome<()> {
        self.control("--zero")
    }

    /// Ends it. Returns how many instructions it took since [`Counted::begin`], and keeps what
    /// callgrind saw as the [`profile`] of this case.
    pub(crate) fn end(mut self, case: &str) -> Outcome<f64> {
        self.control("--dump")?;
        Command::new("kill")
            .arg(self.server.pid().to_string())
            .status()?;
        self.server.child.wait()?;
        let first_dump = counts(&self.folder).with_extension("out.1");
        std::fs::copy(&first_dump, profile(case)?)?;
        total(&first_dump)
    }

    fn control(&self, what: &str) -> Outcome<()> {
        let pid = self.server.pid().to_string();
        let done = Command::new("callgrind_control")
            .args([what, &pid])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match done.success() {
            true => Ok(()),
            false => Err("callgrind_control failed".into()),
        }
    }
}

/// Where what callgrind saw of a case is kept, for callgrind_annotate.
pub(crate) fn profile(case: &str) -> Outcome<PathBuf> {
    let folder = folder().join("callgrind");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{}.out", case.replace('/', "."))))
}

/// The instructions in a file of callgrind.
pub(crate) fn total(dump: &Path) -> Outcome<f64> {
    let counts = std::fs::read_to_string(dump)?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals:"));
    Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
}

fn counts(folder: &TempDir) -> PathBuf {
    Path::new(folder.path()).join("callgrind.out")
}
