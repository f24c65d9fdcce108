//! The threads that read, each with a connection that cannot write.
//!
//! Invariant: a question waits in a bounded queue; readers never hold the writer up, because the
//! log lets both work at once.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use crate::store::StoreError;

/// Something to be read; it answers by itself.
pub(super) type Question = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) fn start(
    connections: Vec<Connection>,
    queue_max: usize,
) -> Result<(SyncSender<Question>, Vec<JoinHandle<()>>), StoreError> {
    let (sender, questions) = sync_channel(queue_max);
    // A std mutex: whoever holds it waits for the next question, the others wait for the mutex.
    let questions = Arc::new(Mutex::new(questions));
    let handles = connections
        .into_iter()
        .map(|conn| {
            let questions = Arc::clone(&questions);
            thread::Builder::new()
                .name("sqlite-reader".to_owned())
                .spawn(move || run(conn, &questions))
                .map_err(|err| StoreError::Unavailable(format!("a reader's thread: {err}")))
        })
        .collect::<Result<_, _>>()?;
    Ok((sender, handles))
}

fn run(mut conn: Connection, questions: &Mutex<Receiver<Question>>) {
    loop {
        let next = {
            let questions = questions.lock().unwrap_or_else(PoisonError::into_inner);
            questions.recv()
        };
        let Ok(question) = next else {
            return;
        };
        question(&mut conn);
    }
}
