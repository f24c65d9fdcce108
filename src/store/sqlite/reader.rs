//! The threads that read, each with a connection that cannot write, and what is more than one
//! statement for them.
//!
//! Invariant: a question waits in a bounded queue and wakes one thread; readers never hold the writer
//! up, because the log lets both work at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, params};

use super::{append, closed, open};
use crate::model::RoomId;
use crate::store::alike::stretch;
use crate::store::rows::{room, signed, unsigned, user};
use crate::store::{Head, Heads, Position, Range, StoreError, sql};

/// Something to be read; it answers by itself.
pub(super) type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// Where questions wait for a reader. Dropping it ends the readers when everything is answered.
pub(super) struct Readers(Arc<Shared>);

struct Shared {
    questions_max: usize,
    /// A std mutex: held for a push or a pop.
    waiting: Mutex<Waiting>,
    /// Wakes one reader for each question.
    asked: Condvar,
}

#[derive(Default)]
struct Waiting {
    questions: VecDeque<Question>,
    is_closed: bool,
}

impl Readers {
    /// Has a question answered.
    pub(super) fn ask(&self, question: Question) -> Result<(), StoreError> {
        let mut waiting = self.0.lock();
        if waiting.is_closed {
            return Err(closed());
        }
        if waiting.questions.len() >= self.0.questions_max {
            return Err(StoreError::Overloaded);
        }
        waiting.questions.push_back(question);
        drop(waiting);
        self.0.asked.notify_one();
        Ok(())
    }

    /// Has a question answered before all that wait, however many do: whether the store answers must be found out
    /// while clients ask too much of it. The caller bounds how many of these there are.
    pub(super) fn ask_first(&self, question: Question) -> Result<(), StoreError> {
        let mut waiting = self.0.lock();
        if waiting.is_closed {
            return Err(closed());
        }
        waiting.questions.push_front(question);
        drop(waiting);
        self.0.asked.notify_one();
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.asked.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question; `None` when there will be none.
    fn next(&self) -> Option<Question> {
        let mut waiting = self.lock();
        loop {
            if let Some(question) = waiting.questions.pop_front() {
                return Some(question);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self
                .asked
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

pub(super) fn start(
    connections: Vec<Connection>,
    questions_max: usize,
) -> Result<(Readers, Vec<JoinHandle<()>>), StoreError> {
    let readers = Readers(Arc::new(Shared {
        questions_max,
        waiting: Mutex::default(),
        asked: Condvar::new(),
    }));
    let handles = connections
        .into_iter()
        .map(|mut conn| {
            let shared = Arc::clone(&readers.0);
            thread::Builder::new()
                .name("sqlite-reader".to_owned())
                .spawn(move || {
                    while let Some(question) = shared.next() {
                        question(&mut conn);
                    }
                })
                .map_err(|err| StoreError::Unavailable(format!("a reader's thread: {err}")))
        })
        .collect::<Result<_, _>>()?;
    Ok((readers, handles))
}

/// The heads that moved after a position.
pub(super) fn heads(
    conn: &mut Connection,
    users: &str,
    since: Position,
) -> Result<Heads, StoreError> {
    // One transaction, so that the position and the heads are of one moment.
    let moment = conn.transaction()?;
    let position = open::position(&moment)?;
    let mut heads = Vec::new();
    {
        let mut statement = moment.prepare_cached(append::HEADS)?;
        let mut rows = statement.query(params![users, signed(since.0)])?;
        while let Some(row) = rows.next()? {
            heads.push(Head {
                user: user(row.get_ref(0)?.as_str().unwrap_or_default())?,
                room: room(row.get_ref(1)?.as_blob().unwrap_or_default())?,
                seq: unsigned(row.get(2)?),
            });
        }
    }
    moment.finish()?;
    Ok(Heads {
        position: Position(unsigned(position)),
        heads,
    })
}

/// A stretch of a conversation.
pub(super) fn range(
    conn: &Connection,
    room: RoomId,
    (after, through): (u64, u64),
    limit: u32,
) -> Result<Range, StoreError> {
    let mut statement = conn.prepare_cached(sql::RANGE)?;
    let mut rows = statement.query(params![
        signed(after),
        signed(through),
        room.0.to_be_bytes(),
        limit
    ])?;
    let (mut head, mut found) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        head = unsigned(row.get(0)?);
        // Without any message the join leaves its columns empty.
        if row.get_ref(1)? != rusqlite::types::ValueRef::Null {
            found.push(append::message_row(row, 1)?.try_into()?);
        }
    }
    Ok(stretch(found, (after, through), limit, head))
}
