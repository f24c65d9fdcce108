//! Whether the files that are open are still the ones at their paths, as long as this process left them.
//!
//! Not here: what is written (`writer`). Invariant: once a file was found deleted, replaced, shortened or damaged,
//! nothing is committed and nothing is read until the process is started again.
//!
//! A deleted file can be written to for as long as it is open, and is gone afterwards; a replaced one is
//! written beside the data that the next start reads. SQLite notices neither. So the device and the inode
//! of the database, its write-ahead log and its shared index are compared before each group commit, and
//! again before the commit is answered. It costs three calls of `stat` each time, some microseconds beside
//! a sync of the disk; the paths are kept as the system takes them.
//!
//! The same call tells how long the files are. The database and its index never become shorter. The log does only
//! when this process empties it ([`Place::shrink_the_log`]), or when a commit begins it anew and cuts it to the
//! bound that SQLite was given; so what it has within that bound must stay. What another process checkpoints and
//! truncates is taken for a loss: whether it was one cannot be seen from outside.
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
    /// To how many bytes a commit may cut the log.
    wal_bytes_max: u64,
    /// Odd while this process empties the log; a look that overlaps with that does not judge its length.
    shrinks: AtomicU64,
    lost: OnceLock<Lost>,
}

/// Why nothing is stored any more.
#[derive(Debug)]
struct Lost {
    detail: String,
    /// SQLite has found it, not a look at the files.
    is_damage: bool,
}

/// A file at its path, and what it was when it was opened.
#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    /// The same for the system.
    name: CString,
    id: FileId,
    /// At least so long it must be. Raised by the writer's thread alone, after it has written.
    least_bytes: AtomicU64,
}

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The file at this path is missing, another one, or too short.
    Lost(String),
    /// It cannot be found out at the moment.
    Unknown(String),
}

impl Place {
    /// Notes the files of a database that was just opened and written to, so that all of them exist.
    ///
    /// # Errors
    /// When one of them cannot be looked at.
    pub(super) fn of(path: &Path, wal_bytes_max: u64) -> Result<Self, StoreError> {
        let file = |path: PathBuf| match WatchedFile::of(&path) {
            Ok(kept) => Ok(kept),
            Err(error) => Err(named(&path, &error.to_string())),
        };
        let place = Self {
            path: path.to_owned(),
            files: [
                file(path.to_owned())?,
                file(beside(path, "-wal"))?,
                file(beside(path, "-shm"))?,
            ],
            wal_bytes: AtomicU64::new(0),
            wal_bytes_max,
            shrinks: AtomicU64::new(0),
            lost: OnceLock::new(),
        };
        place.look_after_writing()?;
        Ok(place)
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
            Some(lost) => Err(named(&self.path, &lost.detail)),
        }
    }

    /// Whether they were found to be lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Whether only the log and the index are missing: the database itself is the one that was opened, nothing
    /// else stands at the paths of the two, and what is there is whole.
    pub(super) fn has_lost_its_log_only(&self) -> bool {
        let [database, rest @ ..] = &self.files;
        let is_whole = |kept: &WatchedFile, found: (FileId, u64)| {
            found.0 == kept.id && found.1 >= kept.least_bytes.load(Ordering::SeqCst)
        };
        let is_whole_or_missing = |kept: &WatchedFile| match kept.look() {
            Ok(found) => is_whole(kept, found),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        self.lost.get().is_some_and(|lost| !lost.is_damage)
            && database.look().is_ok_and(|found| is_whole(database, found))
            && rest.iter().all(is_whole_or_missing)
    }

    /// Whether the log is shorter than it was, and everything else is as it was.
    pub(super) fn has_a_short_log_only(&self) -> bool {
        let [database, wal, index] = &self.files;
        let is_ours = |kept: &WatchedFile, may_be_short: bool| {
            let least = kept.least_bytes.load(Ordering::SeqCst);
            let found = kept.look();
            found.is_ok_and(|(id, bytes)| id == kept.id && (may_be_short || bytes >= least))
        };
        self.lost.get().is_some_and(|lost| !lost.is_damage)
            && is_ours(database, false)
            && is_ours(index, false)
            && is_ours(wal, true)
            && !is_ours(wal, false)
    }

    /// Where the database is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the files.
    ///
    /// # Errors
    /// When one of them is missing, another one, too short or cannot be looked at, and always after the first of
    /// those three.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.look_at_all().map(drop)
    }

    /// The same on the writer's thread after it has written; what is there must stay.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(super) fn look_after_writing(&self) -> Result<(), StoreError> {
        let [database_bytes, wal_bytes, index_bytes] = self.look_at_all()?;
        let [database, wal, index] = &self.files;
        for (file, least) in [
            (database, database_bytes),
            (wal, wal_bytes.min(self.wal_bytes_max)),
            (index, index_bytes),
        ] {
            file.least_bytes.store(least, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Does what empties the log, on the writer's thread.
    pub(super) fn shrink_the_log<T>(&self, work: impl FnOnce() -> T) -> T {
        let [_, wal, _] = &self.files;
        self.shrinks.fetch_add(1, Ordering::SeqCst);
        wal.least_bytes.store(0, Ordering::SeqCst);
        let done = work();
        self.shrinks.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// SQLite has found that the database is damaged. Returns the refusal.
    pub(super) fn is_damaged(&self, error: &rusqlite::Error) -> StoreError {
        self.lose(Lost {
            detail: format!("it was damaged while the node was running ({error})"),
            is_damage: true,
        })
    }

    fn lose(&self, lost: Lost) -> StoreError {
        let refusal = named(&self.path, &lost.detail);
        let detail = lost.detail.clone();
        if self.lost.set(lost).is_ok() {
            tracing::error!(
                path = %self.path.display(),
                %detail,
                "nothing is stored any more and no message gets a RECEIPT: put the right files \
                 back, or restore a backup, and start the node again"
            );
        }
        refusal
    }

    /// How many bytes the files have.
    fn look_at_all(&self) -> Result<[u64; 3], StoreError> {
        self.known()?;
        self.find().map_err(|found| match found {
            Found::Unknown(detail) => named(&self.path, &detail),
            Found::Lost(detail) => self.lose(Lost {
                detail,
                is_damage: false,
            }),
        })
    }

    fn find(&self) -> Result<[u64; 3], Found> {
        let [database, wal, index] = &self.files;
        let shrinks = self.shrinks.load(Ordering::SeqCst);
        let is_settled =
            || shrinks.is_multiple_of(2) && self.shrinks.load(Ordering::SeqCst) == shrinks;
        let database_bytes = database.check(|| true)?;
        let wal_bytes = wal.check(is_settled)?;
        self.wal_bytes.store(wal_bytes, Ordering::Relaxed);
        Ok([database_bytes, wal_bytes, index.check(|| true)?])
    }
}

impl WatchedFile {
    fn of(path: &Path) -> io::Result<Self> {
        let mut kept = Self {
            path: path.to_owned(),
            name: CString::new(path.as_os_str().as_bytes())?,
            id: (0, 0),
            least_bytes: AtomicU64::new(0),
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

    /// Whether it is the one that was opened, and as long as it must be, where its length can be judged. Returns
    /// how many bytes it has.
    fn check(&self, is_judged: impl FnOnce() -> bool) -> Result<u64, Found> {
        let path = self.path.display();
        // Before the look: the file may grow meanwhile, and what it must have with it.
        let least = self.least_bytes.load(Ordering::SeqCst);
        match self.look() {
            Ok((found, bytes)) if found == self.id && (bytes >= least || !is_judged()) => Ok(bytes),
            Ok((found, bytes)) if found == self.id => Err(Found::Lost(format!(
                "{path} was shortened while the node was running: it has {bytes} bytes and had {least}"
            ))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_not_judged_while_it_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        for ending in ["", "-wal", "-shm"] {
            std::fs::write(beside(&path, ending), "x".repeat(100)).unwrap();
        }
        let place = Place::of(&path, 90).unwrap();
        let shorten = |ending, bytes: usize| {
            std::fs::write(beside(&path, ending), "x".repeat(bytes)).unwrap();
        };
        shorten("-wal", 90);
        place.look().unwrap();
        // As one who has read how long it must be before it was emptied.
        place.shrinks.fetch_add(1, Ordering::SeqCst);
        shorten("-wal", 89);
        place.look().unwrap();
        shorten("-wal", 90);
        place.shrinks.fetch_add(1, Ordering::SeqCst);
        place.shrink_the_log(|| shorten("-wal", 0));
        place.look_after_writing().unwrap();
        assert!(!place.has_a_short_log_only() && !place.is_lost());
        shorten("-wal", 50);
        place.look_after_writing().unwrap();
        shorten("-wal", 49);
        assert!(place.look().is_err());
        assert!(place.has_a_short_log_only() && !place.has_lost_its_log_only());
        shorten("", 99);
        assert!(!place.has_a_short_log_only());
    }
}
