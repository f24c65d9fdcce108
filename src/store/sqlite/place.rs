//! Whether the files that are open are still the ones at their paths.
//!
//! Not here: what is written (`writer`). Invariant: once a file was found deleted or replaced, nothing is
//! committed and nothing is read until the process is started again.
//!
//! A deleted file can be written to for as long as it is open, and is gone afterwards; a replaced one is
//! written beside the data that the next start reads. SQLite notices neither. So the device and the inode
//! of the database, its write-ahead log and its shared index are compared before each group commit, and
//! again before the commit is answered. It costs three calls of `stat` each time, some microseconds beside
//! a sync of the disk; the paths are kept as the system takes them.
//!
//! A path that cannot be looked at for the moment (no permission, an I/O error of the directory) refuses
//! the batch and nothing more. A file that is missing or another one ends writing for good: when the right
//! file comes back, another process may have changed it meanwhile, with a log of its own.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::open::{beside, named};
use crate::store::StoreError;

/// What is found at a path: device and inode.
type FileId = (u64, u64);

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// The database, its log and its index.
    files: [WatchedFile; 3],
    /// How long the log was when it was looked at last, in bytes.
    wal_bytes: AtomicU64,
    lost: OnceLock<String>,
}

/// A file at its path, and what it was when it was opened.
#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    /// The same for the system.
    name: CString,
    id: FileId,
}

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The file at this path is missing, or it is another one.
    Lost(String),
    /// It cannot be found out at the moment.
    Unknown(String),
}

impl Place {
    /// Notes the files of a database that was just opened and written to, so that all of them exist.
    ///
    /// # Errors
    /// When one of them cannot be looked at.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let file = |path: PathBuf| match WatchedFile::of(&path) {
            Ok(kept) => Ok(kept),
            Err(error) => Err(named(&path, &error.to_string())),
        };
        Ok(Self {
            path: path.to_owned(),
            files: [
                file(path.to_owned())?,
                file(beside(path, "-wal"))?,
                file(beside(path, "-shm"))?,
            ],
            wal_bytes: AtomicU64::new(0),
            lost: OnceLock::new(),
        })
    }

    /// How long the write-ahead log was when it was looked at last.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    /// Refuses once the files were found to be lost, without looking at them again.
    ///
    /// # Errors
    /// When they are lost.
    pub(super) fn known(&self) -> Result<(), StoreError> {
        match self.lost.get() {
            None => Ok(()),
            Some(detail) => Err(named(&self.path, detail)),
        }
    }

    /// Whether they were found to be lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Whether only the log and the index are missing: the database itself is the one that was opened, and
    /// nothing else stands at the paths of the two.
    pub(super) fn has_lost_its_log_only(&self) -> bool {
        let [database, rest @ ..] = &self.files;
        let is_ours_or_missing = |kept: &WatchedFile| match kept.look() {
            Ok((found, _)) => found == kept.id,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        database.look().is_ok_and(|(found, _)| found == database.id)
            && rest.iter().all(is_ours_or_missing)
    }

    /// Looks at the files.
    ///
    /// # Errors
    /// When one of them is missing, another one or cannot be looked at, and always after the first of
    /// those two.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.known()?;
        match self.find() {
            None => Ok(()),
            Some(Found::Unknown(detail)) => Err(named(&self.path, &detail)),
            Some(Found::Lost(detail)) => {
                if self.lost.set(detail.clone()).is_ok() {
                    tracing::error!(
                        path = %self.path.display(),
                        %detail,
                        "nothing is stored any more and no message gets a RECEIPT: put the right files \
                         back, or restore a backup, and start the node again"
                    );
                }
                Err(named(&self.path, &detail))
            }
        }
    }

    /// What is wrong.
    fn find(&self) -> Option<Found> {
        let [database, wal, index] = &self.files;
        let look = || {
            database.check()?;
            let bytes = wal.check()?;
            self.wal_bytes.store(bytes, Ordering::Relaxed);
            index.check()
        };
        look().err()
    }
}

impl WatchedFile {
    fn of(path: &Path) -> io::Result<Self> {
        let mut kept = Self {
            path: path.to_owned(),
            name: CString::new(path.as_os_str().as_bytes())?,
            id: (0, 0),
        };
        kept.id = kept.look()?.0;
        Ok(kept)
    }

    /// What is at the path now, and how many bytes it has. Never opens the file: closing any descriptor of it
    /// would end the locks that SQLite has on it.
    fn look(&self) -> io::Result<(FileId, u64)> {
        let found = rustix::fs::stat(self.name.as_c_str())?;
        Ok(((found.st_dev, found.st_ino), found.st_size.unsigned_abs()))
    }

    /// Whether it is the one that was opened. Returns how many bytes it has.
    fn check(&self) -> Result<u64, Found> {
        let path = self.path.display();
        match self.look() {
            Ok((found, bytes)) if found == self.id => Ok(bytes),
            Ok(_) => Err(Found::Lost(format!(
                "{path} was replaced while the node was running"
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Found::Lost(format!(
                "{path} was deleted while the node was running"
            ))),
            Err(error) => Err(Found::Unknown(format!(
                "{path} cannot be looked at: {error}"
            ))),
        }
    }
}
