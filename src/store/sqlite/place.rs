//! Whether the files that are open are still the ones at their paths.
//!
//! Not here: what is written (`writer`). Invariant: once a file was found deleted or replaced, nothing is
//! committed and nothing is read until the process is started again.
//!
//! A deleted file can be written to for as long as it is open, and is gone afterwards; a replaced one is
//! written beside the data that the next start reads. SQLite notices neither. So the device and the inode
//! of the database, its write-ahead log and its shared index are compared before each group commit, and
//! again before the commit is answered. It costs three calls of `stat` each time, some microseconds beside
//! a sync of the disk.
//!
//! A path that cannot be looked at for the moment (no permission, an I/O error of the directory) refuses
//! the batch and nothing more. A file that is missing or another one ends writing for good: when the right
//! file comes back, somebody else may have changed it meanwhile, with a log of their own.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::open::{beside, named};
use crate::store::StoreError;

/// What is found at a path: device and inode.
type FileId = (u64, u64);

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// The database, its log and its index, with what they were when they were opened.
    files: [(PathBuf, FileId); 3],
    lost: OnceLock<String>,
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
        let file = |path: PathBuf| match id_of(&path) {
            Ok(id) => Ok((path, id)),
            Err(error) => Err(named(&path, &error.to_string())),
        };
        Ok(Self {
            path: path.to_owned(),
            files: [
                file(path.to_owned())?,
                file(beside(path, "-wal"))?,
                file(beside(path, "-shm"))?,
            ],
            lost: OnceLock::new(),
        })
    }

    /// The path of the write-ahead log.
    pub(super) fn wal(&self) -> &Path {
        &self.files[1].0
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
        let [(path, id), rest @ ..] = &self.files;
        let is_ours_or_missing = |(path, id): &(PathBuf, FileId)| match id_of(path) {
            Ok(found) => found == *id,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        id_of(path).is_ok_and(|found| found == *id) && rest.iter().all(is_ours_or_missing)
    }

    /// Looks at the files.
    ///
    /// # Errors
    /// When one of them is missing, another one or cannot be looked at, and always after the first of
    /// those two.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.known()?;
        match self.files.iter().find_map(found) {
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
}

fn found((path, id): &(PathBuf, FileId)) -> Option<Found> {
    let at = id_of(path);
    let path = path.display();
    match at {
        Ok(found) if found == *id => None,
        Ok(_) => Some(Found::Lost(format!(
            "{path} was replaced while the node was running"
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Found::Lost(format!(
            "{path} was deleted while the node was running"
        ))),
        Err(error) => Some(Found::Unknown(format!(
            "{path} cannot be looked at: {error}"
        ))),
    }
}

/// Never opens the file: closing any descriptor of it would end the locks that SQLite has on it.
fn id_of(path: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}
