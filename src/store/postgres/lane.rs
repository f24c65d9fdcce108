//! A lane: one task that appends the messages of its conversations, one batch at a time.
//!
//! Not here: which conversation is in which lane. Invariant: a batch is one transaction. It locks
//! the users whose holders are asked for, then the rows of its conversations in the order of their
//! ids, then looks for known keys, then gives `seq` to the rest: every node does it in this order,
//! so nodes wait for one another instead of meeting in a deadlock, and a key that another node just
//! committed is seen. What changes users (`visits`) locks the user before any conversation, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use futures_util::future::{join4, join5};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use super::columns::{Columns, KeyColumns, octets, rooms};
use super::failed::{Failed, before, during};
use super::hands::{Hands, Question};
use super::keys::{KNOWN, Key, key, known_messages};
use super::late;
use crate::model::{EveryMinute, RoomId, StoredMessage};
use crate::store::alike::{epoch, placed};
use crate::store::pace::Pace;
use crate::store::rows::{room, unsigned};
use crate::store::{Append, Appended, StoreError};

/// How often a batch that changed nothing is tried: deadlocks, a conversation that two nodes began
/// at once, a connection that was cut while idle.
const ATTEMPTS_MAX: u32 = 6;

/// While messages come as fast as this in a second, a batch waits for [`GATHER`], because more are on their way: a
/// transaction costs PostgreSQL as much as ten messages.
const FAST: u32 = 500;
const GATHER: Duration = Duration::from_millis(4);

/// So many are worth a transaction at once.
const GATHERED_ENOUGH: usize = 64;

/// Batches that PostgreSQL refused, and those that did not get through, for the log.
static REFUSED: EveryMinute = EveryMinute::new();
static FAILED: EveryMinute = EveryMinute::new();

const LOCK: &str = "SELECT room, head, epoch FROM conversations WHERE room = ANY($1) \
    ORDER BY room FOR UPDATE";
const BEGIN_CONVERSATIONS: &str = "INSERT INTO conversations (room, head, epoch, changed) \
    SELECT w.room, 0, w.epoch, 0 FROM unnest($1::bytea[], $2::bigint[]) AS w (room, epoch) \
    ORDER BY w.room ON CONFLICT (room) DO NOTHING";
/// Not a join, for which there would be two orders.
const MOVE_HEADS: &str = "UPDATE conversations \
    SET head = ($2::bigint[])[array_position($1::bytea[], room)], \
    changed = pg_current_xact_id()::text::bigint WHERE room = ANY($1)";
const PUT_MESSAGES: &str = "INSERT INTO messages (room, seq, id, from_user, from_name, to_user, \
    client_id, text, accepted_at, expires_at) \
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::text[], $5::text[], \
    $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[])";
const PUT_KEYS: &str = "INSERT INTO message_keys (room, sender, client_id, seq) \
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[])";
/// Only what says something new touches a row: who reads is mostly there already.
const PUT_MEMBERS: &str = "INSERT INTO members (user_id, room, wrote_at) \
    SELECT w.user_id, w.room, w.wrote_at \
    FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS w (user_id, room, wrote_at) \
    LEFT JOIN members m ON m.user_id = w.user_id AND m.room = w.room \
    WHERE m.user_id IS NULL OR w.wrote_at > coalesce(m.wrote_at, -1) \
    ON CONFLICT (user_id, room) DO UPDATE SET wrote_at = excluded.wrote_at \
    WHERE excluded.wrote_at > coalesce(members.wrote_at, -1)";

/// A message on its way.
pub(super) struct Waiting {
    pub(super) append: Append,
    pub(super) reply: oneshot::Sender<Outcome>,
    /// Its share of the backlog, given back when it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What becomes of one message of a batch that is committed.
type Outcome = Result<Appended, StoreError>;

/// What a lane works with.
pub(super) struct Lane {
    pub(super) pool: Pool,
    pub(super) store_id: String,
    pub(super) batch_max: usize,
    /// How long one attempt may take, if nothing is heard.
    pub(super) deadline: Duration,
    /// Whether the last batch of any lane failed.
    pub(super) is_failing: Arc<AtomicBool>,
}

impl Lane {
    /// Ends when the store is dropped, or stopped and everything queued is answered.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Waiting>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(self.batch_max);
        let mut pace = Pace::new(FAST, Instant::now().into_std());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !waiting.is_closed() => waiting.close(),
                count = waiting.recv_many(&mut batch, self.batch_max) => {
                    if count == 0 {
                        return;
                    }
                    if pace.is_fast(Instant::now().into_std()) && count < GATHERED_ENOUGH {
                        sleep(GATHER).await;
                        while batch.len() < self.batch_max
                            && let Ok(next) = waiting.try_recv()
                        {
                            batch.push(next);
                        }
                    }
                    pace.count(batch.len(), Instant::now().into_std());
                    self.settle(&mut batch).await;
                }
            }
        }
    }

    /// Writes a batch and answers everybody in it; the batch is empty afterwards.
    async fn settle(&self, batch: &mut Vec<Waiting>) {
        let appends: Vec<&Append> = batch.iter().map(|waiting| &waiting.append).collect();
        let answers = match self.write(&appends).await {
            Ok(outcomes) => outcomes,
            Err(Failed::Refused(err)) if batch.len() > 1 => {
                if let Some(batches) = REFUSED.due(Instant::now().into_std()) {
                    tracing::error!(%err, batches, "refused; the messages are tried one by one");
                }
                self.write_singly(&appends).await
            }
            Err(Failed::Again(err) | Failed::Refused(err) | Failed::Ended(err)) => {
                if let Some(batches) = FAILED.due(Instant::now().into_std()) {
                    tracing::warn!(%err, batches, "what was to be stored could not be written");
                }
                vec![Err(err); batch.len()]
            }
        };
        let has_failed = answers.iter().all(Result::is_err);
        self.is_failing.store(has_failed, Ordering::Relaxed);
        for (waiting, answer) in batch.drain(..).zip(answers) {
            // Nobody may be waiting any more; the message is committed all the same.
            let _ = waiting.reply.send(answer);
        }
    }

    async fn write_singly(&self, appends: &[&Append]) -> Vec<Outcome> {
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let answer = match self.write(&[append]).await {
                Ok(mut outcomes) => outcomes.pop().unwrap_or_else(|| Err(late())),
                Err(Failed::Again(err) | Failed::Refused(err) | Failed::Ended(err)) => Err(err),
            };
            answers.push(answer);
        }
        answers
    }

    async fn write(&self, appends: &[&Append]) -> Result<Vec<Outcome>, Failed> {
        let mut attempt = 1;
        loop {
            match self.attempt(appends).await {
                Err(Failed::Again(err)) if attempt < ATTEMPTS_MAX => {
                    tracing::debug!(%err, attempt, "a batch is tried again");
                    // Nodes that met once should not meet again: each waits for a time of its own.
                    let spread = rand::random_range(1..=10 * u64::from(attempt));
                    sleep(Duration::from_millis(spread)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, appends: &[&Append]) -> Result<Vec<Outcome>, Failed> {
        let client = self
            .pool
            .get()
            .await
            .map_err(|err: PoolError| Failed::Ended(err.into()))?;
        let outcome = tokio::time::timeout(self.deadline, self.transact(&client, appends)).await;
        let Ok(outcome) = outcome else {
            // The session may still be at work: it is given up, and its locks with it.
            drop(Object::take(client));
            return Err(Failed::Ended(late()));
        };
        if outcome.is_err() {
            let rolled_back =
                tokio::time::timeout(self.deadline, client.batch_execute("ROLLBACK")).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                drop(Object::take(client));
            }
        }
        outcome
    }

    /// Two round trips: lock and look, then write and commit.
    async fn transact(&self, client: &Object, appends: &[&Append]) -> Result<Vec<Outcome>, Failed> {
        let rooms = rooms(appends);
        let wanted = KeyColumns::of(appends);
        let hands = Question::of(appends, client).await.map_err(before)?;
        let (lock, known) = (
            client.prepare_cached(LOCK).await.map_err(before)?,
            client.prepare_cached(KNOWN).await.map_err(before)?,
        );
        let (begun, held, locked, known) = join4(
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            hands.ask(client),
            client.query(&lock, &[&rooms]),
            client.query(
                &known,
                &[&wanted.rooms, &wanted.senders, &wanted.client_ids],
            ),
        )
        .await;
        begun.map_err(before)?;
        let hands = Hands::of(&held.map_err(before)?).map_err(Failed::Ended)?;
        let mut heads = heads(&locked.map_err(before)?)?;
        let mut known = known_messages(&known.map_err(before)?).map_err(Failed::Ended)?;
        self.begin_conversations(client, appends, &hands, &mut heads)
            .await?;
        let outcomes = place(appends, &hands, &mut heads, &mut known)?;
        let fresh: Vec<(&Append, &StoredMessage)> = appends
            .iter()
            .zip(&outcomes)
            .filter_map(|(append, outcome)| Some((*append, outcome.as_ref().ok()?)))
            .filter(|(_, appended)| !appended.duplicate)
            .map(|(append, appended)| (append, &appended.message))
            .collect();
        put(client, &fresh).await?;
        Ok(outcomes)
    }

    /// Begins the conversations that nobody has written to, and to which somebody may now. When
    /// another node begins one at the same time, its row is not locked here and its keys were not
    /// looked for: once more.
    async fn begin_conversations(
        &self,
        client: &Object,
        appends: &[&Append],
        hands: &Hands,
        heads: &mut BTreeMap<RoomId, (u64, u32)>,
    ) -> Result<(), Failed> {
        let mut fresh = BTreeMap::new();
        for append in appends {
            if !heads.contains_key(&append.room) && hands.changed(append).is_none() {
                fresh
                    .entry(append.room)
                    .or_insert_with(|| epoch(&self.store_id, append.room, append.id));
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let rooms: Vec<Vec<u8>> = fresh.keys().map(|room| octets(room.0)).collect();
        let epochs: Vec<i64> = fresh.values().copied().map(i64::from).collect();
        let statement = client
            .prepare_cached(BEGIN_CONVERSATIONS)
            .await
            .map_err(before)?;
        let begun = client
            .execute(&statement, &[&rooms, &epochs])
            .await
            .map_err(before)?;
        if begun < fresh.len() as u64 {
            let words = "another node began the same conversation".to_owned();
            return Err(Failed::Again(StoreError::Unavailable(words)));
        }
        heads.extend(fresh.into_iter().map(|(room, epoch)| (room, (0, epoch))));
        Ok(())
    }
}

/// Gives every message its place, or finds the one that it repeats: one that is stored, or an
/// earlier one of this batch. What may not be written any more gets no place.
fn place(
    appends: &[&Append],
    hands: &Hands,
    heads: &mut BTreeMap<RoomId, (u64, u32)>,
    known: &mut BTreeMap<Key, StoredMessage>,
) -> Result<Vec<Outcome>, Failed> {
    let mut outcomes = Vec::with_capacity(appends.len());
    for append in appends {
        let key = key(append);
        if let Some(first) = key.as_ref().and_then(|key| known.get(key)) {
            outcomes.push(Ok(Appended {
                message: first.clone(),
                duplicate: true,
            }));
            continue;
        }
        if let Some(user) = hands.changed(append) {
            outcomes.push(Err(StoreError::ChangedHands(user.clone())));
            continue;
        }
        let Some((head, epoch)) = heads.get_mut(&append.room) else {
            debug_assert!(false, "every conversation of the batch is locked");
            return Err(Failed::Ended(late()));
        };
        *head += 1;
        let message = placed(append, *head, *epoch);
        if let Some(key) = key {
            known.insert(key, message.clone());
        }
        outcomes.push(Ok(Appended {
            message,
            duplicate: false,
        }));
    }
    Ok(outcomes)
}

/// Writes the messages that are new, and commits.
async fn put(client: &Object, fresh: &[(&Append, &StoredMessage)]) -> Result<(), Failed> {
    let columns = Columns::of(fresh);
    let prepare = async |statement| client.prepare_cached(statement).await.map_err(before);
    let move_heads = prepare(MOVE_HEADS).await?;
    let put_messages = prepare(PUT_MESSAGES).await?;
    let put_keys = prepare(PUT_KEYS).await?;
    let put_members = prepare(PUT_MEMBERS).await?;
    // The futures are polled, and so sent, in this order. A statement that fails makes those
    // behind it fail and turns COMMIT into ROLLBACK.
    let (heads, messages, keys, members, committed) = join5(
        client.execute(&move_heads, &[&columns.head_rooms, &columns.heads]),
        client.execute(
            &put_messages,
            &[
                &columns.rooms,
                &columns.seqs,
                &columns.ids,
                &columns.from_users,
                &columns.from_names,
                &columns.to_users,
                &columns.client_ids,
                &columns.texts,
                &columns.accepted_at,
                &columns.expires_at,
            ],
        ),
        client.execute(
            &put_keys,
            &[
                &columns.keys.rooms,
                &columns.keys.senders,
                &columns.keys.client_ids,
                &columns.key_seqs,
            ],
        ),
        client.execute(
            &put_members,
            &[
                &columns.member_users,
                &columns.member_rooms,
                &columns.wrote_at,
            ],
        ),
        client.batch_execute("COMMIT"),
    )
    .await;
    for outcome in [heads, messages, keys, members] {
        outcome.map_err(during)?;
    }
    committed.map_err(during)
}

fn heads(locked: &[Row]) -> Result<BTreeMap<RoomId, (u64, u32)>, Failed> {
    let read = |row: &Row| -> Result<_, StoreError> {
        let epoch: i64 = row.try_get(2)?;
        let epoch = u32::try_from(epoch).map_err(|_| late())?;
        Ok((room(row.try_get(0)?)?, (unsigned(row.try_get(1)?), epoch)))
    };
    locked
        .iter()
        .map(|row| read(row).map_err(Failed::Ended))
        .collect()
}
