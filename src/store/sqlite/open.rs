//! Opening the file: the lock, the check, the schema, the connections.
//!
//! Invariant: nothing is read or written before the lock is held, and whoever fails here leaves
//! the file as it was.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::SqliteSettings;
use crate::store::{StoreError, sql};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Prepared statements kept per connection: more than there are.
const STATEMENTS_MAX: usize = 64;

/// What the writer may keep of the file in memory.
const WRITER_CACHE_KIB: i64 = 32 * 1_024;

/// A checkpoint starts each time the log has grown by this part of its bound: a checkpoint takes some milliseconds, and a page
/// that is written often is still copied only once for many writes.
const CHECKPOINTS: u64 = 8;

/// A file that is ready for work.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    pub(super) checkpointer: Connection,
    /// By how many pages the log grows from one checkpoint to the next.
    pub(super) checkpoint_pages: u64,
    pub(super) store_id: String,
    pub(super) position: i64,
}

pub(super) fn open(path: &Path, settings: &SqliteSettings) -> Result<Opened, StoreError> {
    let lock = lock(path)?;
    let name = |err: rusqlite::Error| match err.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, &err.to_string())
        }
        _ => named(path, &err.to_string()),
    };
    refuse_without_database(path)?;
    create_private(path).map_err(|err| named(path, &err.to_string()))?;
    let mut writer = open_writer(path, settings).map_err(name)?;
    check(&writer).map_err(|found| damaged(path, &found))?;
    bring_up_to_date(&mut writer, path)?;
    let store_id = store_id(&writer).map_err(|err| named(path, &err.to_string()))?;
    let position = position(&writer).map_err(name)?;
    let readers = (0..settings.readers)
        .map(|_| open_reader(path, settings))
        .collect::<Result<_, _>>()
        .map_err(name)?;
    writer
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(name)?;
    let checkpointer = open_checkpointer(path, settings).map_err(name)?;
    let page: u32 = writer
        .query_row("PRAGMA page_size", [], |row| row.get(0))
        .map_err(name)?;
    Ok(Opened {
        lock,
        writer,
        readers,
        checkpointer,
        checkpoint_pages: settings.wal_bytes_max / CHECKPOINTS / u64::from(page).max(1),
        store_id,
        position,
    })
}

/// The schema as this version knows it.
pub(super) fn bring_up_to_date(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    embedded::migrations::runner()
        // One transaction, so that a schema and its entry in the history are never apart.
        .set_grouped(true)
        // A node of the version before may start beside a newer schema, because migrations only add.
        .set_abort_missing(false)
        .run(conn)
        .map(drop)
        .map_err(|err| {
            let words = format!("its schema cannot be brought up to date: {err}");
            named(path, &words)
        })
}

/// The newest version of the schema that this version knows.
pub(super) fn newest_schema() -> i64 {
    let runner = embedded::migrations::runner();
    let versions = runner.get_migrations().iter().map(|it| it.version());
    versions.max().map_or(0, i64::from)
}

/// The version of the schema in a file; `None` when it is no database of this program.
pub(super) fn schema(conn: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let history = "SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'";
    if !conn.prepare(history)?.exists([])? {
        return Ok(None);
    }
    conn.query_row(
        "SELECT max(version) FROM refinery_schema_history",
        [],
        |row| row.get(0),
    )
}

/// The file whose name is this one's with an ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The position of the last commit that moved a head.
pub(super) fn position(conn: &Connection) -> Result<i64, rusqlite::Error> {
    let mut statement = conn.prepare_cached(sql::META)?;
    let text: Option<String> = statement
        .query_row(["position"], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A lock of its own file, not SQLite's: it is held through all phases, and SQLite's would keep our
/// own readers out too. The kernel gives it up when the process dies.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|err| named(path, &format!("{}: {err}", lock_path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(named(
            path,
            "another process has it open; a SQLite file is for one process, \
             several nodes share a PostgreSQL database",
        )),
        Err(TryLockError::Error(err)) => Err(named(path, &format!("it cannot be locked: {err}"))),
    }
}

/// Refuses a log without its database: SQLite would begin a new database and delete the log, which may hold what was
/// receipted. So it does with a database of no bytes.
///
/// # Errors
/// When there is a log, and the database is missing or empty.
pub(super) fn refuse_without_database(path: &Path) -> Result<(), StoreError> {
    let bytes = |path: &Path| match path.metadata() {
        Ok(found) => Ok(Some(found.len())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(named(path, &err.to_string())),
    };
    let what = match bytes(path)? {
        None => "it is missing",
        Some(0) => "it is empty",
        Some(_) => return Ok(()),
    };
    for ending in ["-wal", "-journal"] {
        let log = beside(path, ending);
        // A first start that was cut short leaves an empty database with a journal of it.
        let is_orphan = match bytes(&log)? {
            None => false,
            Some(bytes) => what == "it is missing" || (ending == "-wal" && bytes > 0),
        };
        if is_orphan {
            let log = log.display();
            let detail = format!(
                "{what}, but {log} is there and may hold messages; put the database back, or restore a \
                 backup, or move {log} away to begin with a new database"
            );
            return Err(named(path, &detail));
        }
    }
    Ok(())
}

/// Creates the file for its owner alone, before SQLite would create it for everybody; the files
/// beside it get the same mode from SQLite.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

fn open_writer(path: &Path, settings: &SqliteSettings) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&conn, settings)?;
    // Until the file was checked: who fails before leaves its log as it was.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the log at every commit: what is receipted survives a power cut.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Negative: KiB. A batch that is spread over conversations touches several pages of each; with
    // the default of 2 MB they are read from the file and spilled into the log again and again.
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // Once the log was copied back, its file shrinks to this.
    let size = i64::try_from(settings.wal_bytes_max).unwrap_or(i64::MAX);
    conn.pragma_update(None, "journal_size_limit", size)?;
    let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // The checkpointer's thread does it.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    if let Some(bytes) = settings.file_bytes_max {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Answers with the number that holds, so it is a question and not a command.
        let pages = bytes / page.max(1);
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(conn)
}

fn open_reader(path: &Path, settings: &SqliteSettings) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&conn, settings)?;
    // Not opened read-only: a reader of a log must be able to write its index in shared memory.
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Call it after the writer's connection has switched to the log.
fn open_checkpointer(
    path: &Path,
    settings: &SqliteSettings,
) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&conn, settings)?;
    // Syncs the log before the database is written, and the database before the log restarts.
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

fn prepare(conn: &Connection, settings: &SqliteSettings) -> Result<(), rusqlite::Error> {
    conn.busy_timeout(settings.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The plan of a statement must not depend on its parameters: else one over a table with a partial
    // index is compiled anew each time that another value is bound.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Reads the whole file once; the first thing found wrong is in the error.
pub(super) fn check(conn: &Connection) -> Result<(), String> {
    let found = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(found) => Err(found),
        Err(err) => Err(err.to_string()),
    }
}

fn store_id(conn: &Connection) -> Result<String, StoreError> {
    let fresh = crate::store::alike::fresh_store_id()?;
    conn.execute(sql::PUT_META, params!["store_id", fresh])?;
    Ok(conn.query_row(sql::META, ["store_id"], |row| row.get(0))?)
}

pub(super) fn damaged(path: &Path, found: &str) -> StoreError {
    let words = format!("it is damaged or no SQLite file ({found}); restore it from a backup");
    named(path, &words)
}

pub(super) fn named(path: &Path, what: &str) -> StoreError {
    StoreError::Unavailable(format!("the database file {}: {what}", path.display()))
}
