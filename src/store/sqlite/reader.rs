//! The threads that read, each with a connection that cannot write.
//!
//! Invariant: a question waits in a bounded queue and wakes one thread; readers never hold the writer
//! up, because the log lets both work at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::closed;
use crate::store::StoreError;

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
