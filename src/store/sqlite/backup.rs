//! A copy of the database as it is at one moment, the way back, and the schema without a node.
//!
//! Not here: the key material of the node, which is no part of the store. Invariant: a file has its
//! name only when it is whole, checked and on disk; nothing that there is is overwritten or removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, ffi, params};

use super::open::{
    beside, bring_up_to_date, check, create_private, damaged, lock, named, newest_schema,
    refuse_without_database, schema,
};
use crate::store::StoreError;

/// How long a node that is just starting or ending is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the file that was there before is called after [`restore`].
const BEFORE: &str = ".before-restore";

/// What a copy from memory is called after [`rescue`].
const RESCUED: &str = ".rescued";

/// Copies the database to a new file, while a node may work with it: what was committed when this
/// begins is in the copy. Returns its octets.
///
/// # Errors
/// When there is no such database, it is damaged, the new file is there already, or cannot be
/// written.
pub fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    refuse_to_overwrite(to)?;
    let aside = aside(to)?;
    let copied = copy(from, &aside, |_| Ok(())).and_then(|()| {
        let bytes = sync(&aside).map_err(|err| named(to, &err.to_string()))?;
        // Unlike a renaming, a link never replaces a file.
        fs::hard_link(&aside, to).map_err(|err| named(to, &err.to_string()))?;
        sync_directory(to)?;
        Ok(bytes)
    });
    remove_aside(&aside);
    copied
}

/// Puts a copy into the place of the database, which no node may be working with. What was there is
/// kept beside it; returns where, if anything was. Conversations get new epochs, so that clients
/// which have seen more than the copy knows begin anew instead of taking what comes for repetitions.
///
/// # Errors
/// When a node has the database, or the copy is damaged, is none of this program, or comes from a
/// later version. Nothing is changed then.
pub fn restore(from: &Path, to: &Path) -> Result<Option<PathBuf>, StoreError> {
    let _lock = lock(to)?;
    let before = beside(to, BEFORE);
    let had_one = to.exists();
    if had_one {
        refuse_to_overwrite(&before)?;
    }
    let aside = aside(to)?;
    let replaced = copy(from, &aside, begin_anew).and_then(|()| {
        sync(&aside).map_err(|err| named(to, &err.to_string()))?;
        put_away(to, &before).map_err(|err| named(to, &err.to_string()))?;
        fs::rename(&aside, to).map_err(|err| named(to, &err.to_string()))?;
        sync_directory(to)
    });
    remove_aside(&aside);
    replaced.map(|()| had_one.then_some(before))
}

/// Copies a database whose log was shortened to a new file beside it, from what the connection that wrote it still
/// has in memory. Returns where it is.
///
/// # Errors
/// When not everything is in memory any more, or the new file is there already or cannot be written.
pub(super) fn rescue(from: &Connection, path: &Path) -> Result<PathBuf, StoreError> {
    let to = beside(path, RESCUED);
    refuse_to_overwrite(&to)?;
    let aside = aside(&to)?;
    let copied = connect(&aside)
        .and_then(|mut copy| copy_pages(from, &mut copy).map(|()| copy))
        .map_err(|err| named(&to, &err.to_string()))
        .and_then(|copy| check(&copy).map_err(|found| damaged(&to, &found)))
        .and_then(|()| sync(&aside).map_err(|err| named(&to, &err.to_string())))
        .and_then(|_| fs::hard_link(&aside, &to).map_err(|err| named(&to, &err.to_string())))
        .and_then(|()| sync_directory(&to));
    remove_aside(&aside);
    copied.map(|()| to)
}

/// Brings the schema of a database up to date that no node is working with, and makes it when there
/// is none. Returns the version before (0 when there was none) and now.
///
/// # Errors
/// When a node has the database, or it is damaged or cannot be written.
pub fn migrate(path: &Path) -> Result<(i64, i64), StoreError> {
    let _lock = lock(path)?;
    refuse_without_database(path)?;
    create_private(path).map_err(|err| named(path, &err.to_string()))?;
    let mut conn = connect(path).map_err(|err| damaged(path, &err.to_string()))?;
    check(&conn).map_err(|found| damaged(path, &found))?;
    let before = schema(&conn).map_err(|err| named(path, &err.to_string()))?;
    bring_up_to_date(&mut conn, path)?;
    let now = schema(&conn).map_err(|err| named(path, &err.to_string()))?;
    Ok((before.unwrap_or(0), now.unwrap_or(0)))
}

/// Copies, changes what is to be changed in the copy, and looks whether it is whole and ours.
fn copy(
    from: &Path,
    to: &Path,
    change: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
) -> Result<(), StoreError> {
    if !from.is_file() {
        return Err(named(from, "there is none"));
    }
    refuse_without_database(from)?;
    let unreadable = |err: rusqlite::Error| damaged(from, &err.to_string());
    let source = connect(from).map_err(unreadable)?;
    source
        .pragma_update(None, "query_only", true)
        .map_err(unreadable)?;
    let mut copy = connect(to).map_err(|err| named(to, &err.to_string()))?;
    copy_pages(&source, &mut copy).map_err(|err| match is_of_writing(&err) {
        true => named(
            to,
            &format!("there is no room for the copy, or it cannot be written: {err}"),
        ),
        false => unreadable(err),
    })?;
    check(&copy).map_err(|found| damaged(from, &found))?;
    match schema(&copy).map_err(unreadable)? {
        None => return Err(named(from, "it is no database of stompbox")),
        Some(found) if found > newest_schema() => {
            let words = format!(
                "it comes from a later version of stompbox (schema {found}, this one knows {}); \
                 use that version",
                newest_schema()
            );
            return Err(named(from, &words));
        }
        Some(_) => {}
    }
    change(&copy).map_err(|err| named(to, &err.to_string()))
}

/// Whether the copy could not be written, which says nothing about what is copied.
fn is_of_writing(err: &rusqlite::Error) -> bool {
    let code = err.sqlite_error().map(|err| err.extended_code);
    let of_writing = [
        ffi::SQLITE_FULL,
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_TRUNCATE,
    ];
    code.is_some_and(|code| of_writing.contains(&code))
}

/// All pages in one step, which is one moment: a writer meanwhile neither waits nor makes it begin
/// again.
fn copy_pages(source: &Connection, copy: &mut Connection) -> Result<(), rusqlite::Error> {
    {
        let backup = Backup::new(source, copy)?;
        if backup.step(-1)? != StepResult::Done {
            return Err(rusqlite::Error::ExecuteReturnedResults);
        }
    }
    // One file, without a log beside it; a node that opens it has its log again.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
}

/// Whoever has seen a conversation beyond the copy must not take its `seq` for the same messages.
fn begin_anew(copy: &Connection) -> Result<(), rusqlite::Error> {
    let mut octets = [0; 4];
    getrandom::fill(&mut octets).map_err(|_| rusqlite::Error::InvalidQuery)?;
    let step = i64::from(u32::from_be_bytes(octets) | 1);
    copy.execute(
        "UPDATE conversations SET epoch = (epoch + $1) & 4294967295",
        params![step],
    )
    .map(drop)
}

/// Not created: whoever opens it must have made it, for its owner alone.
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// The database that was there gets another name, with everything that stands in its log.
fn put_away(path: &Path, before: &Path) -> io::Result<()> {
    // Copies the log back and ends it. One that is damaged keeps its log, which then goes along.
    if let Ok(conn) = connect(path) {
        let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    if path.exists() {
        fs::hard_link(path, before)?;
    }
    // Also one without a database: it would be taken for that of the copy.
    let log = beside(path, "-wal");
    if log.exists() {
        fs::rename(&log, beside(before, "-wal"))?;
    }
    let index = beside(path, "-shm");
    if index.exists() {
        // It is made anew from the log by whoever opens the database.
        fs::remove_file(&index)?;
    }
    Ok(())
}

fn refuse_to_overwrite(path: &Path) -> Result<(), StoreError> {
    if path.symlink_metadata().is_ok() {
        return Err(named(
            path,
            "it is there already; move it away, or name another",
        ));
    }
    Ok(())
}

/// A new, empty file for its owner alone, beside the one that it becomes.
fn aside(path: &Path) -> Result<PathBuf, StoreError> {
    let mut tag = [0; 4];
    getrandom::fill(&mut tag).map_err(|err| named(path, &err.to_string()))?;
    let aside = beside(path, &format!(".{:08x}.new", u32::from_be_bytes(tag)));
    create_private(&aside).map_err(|err| named(path, &err.to_string()))?;
    Ok(aside)
}

fn remove_aside(path: &Path) {
    for ending in ["", "-journal", "-wal", "-shm"] {
        // Most are not there.
        let _ = fs::remove_file(beside(path, ending));
    }
}

fn sync(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(|err| named(path, &err.to_string()))
}
