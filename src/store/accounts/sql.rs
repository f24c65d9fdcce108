//! What a question needs of a database: statements with parameters, and rows.
//!
//! Both engines give it; SQLite answers at once, so its futures are ready when they are made.
//! Invariant: parameters are `$1`, `$2`, ... and first appear in this order, as in `store::sql`.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::model::{MessageId, RoomId, SignInId, UnixMillis, UserId};
use crate::store::rows::{room, signed, unsigned, user};
use crate::store::{StoreError, TokenHash};

/// A parameter, or what stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row of an answer.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Row(pub(in crate::store) Vec<Value>);

/// A connection within one transaction.
pub(in crate::store) trait Sql {
    /// Appended to a SELECT, it keeps others from changing the rows until the transaction ends.
    const LOCK: &'static str;

    /// What `conversations.changed` becomes when this transaction moves a head: an expression.
    fn changed(&self) -> String;

    /// The id of the store.
    fn store_id(&self) -> &str;

    /// Does something and says to how many rows.
    fn execute(
        &mut self,
        statement: &str,
        params: &[Value],
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Asks something.
    fn query(
        &mut self,
        statement: &str,
        params: &[Value],
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;
}

/// The outcome of a question to a database that answers at once.
pub(in crate::store) fn ready<T>(
    question: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let waited = || StoreError::Unavailable("SQLite was waited for".to_owned());
    question.now_or_never().unwrap_or_else(|| Err(waited()))
}

/// The outcome of a question to a database that must be waited for; `None` when it took too long.
pub(in crate::store) async fn in_time<T>(
    limit: Duration,
    question: impl Future<Output = Result<T, StoreError>>,
) -> Option<Result<T, StoreError>> {
    tokio::time::timeout(limit, question).await.ok()
}

impl Row {
    fn at(&self, column: usize) -> &Value {
        self.0.get(column).unwrap_or(&Value::Null)
    }

    pub(super) fn text(&self, column: usize) -> Result<String, StoreError> {
        self.optional_text(column)?.ok_or_else(damaged)
    }

    pub(super) fn optional_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        match self.at(column) {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Int(_) | Value::Bytes(_) => Err(damaged()),
        }
    }

    pub(super) fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.optional_int(column)?.ok_or_else(damaged)
    }

    pub(super) fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.at(column) {
            Value::Null => Ok(None),
            Value::Int(number) => Ok(Some(*number)),
            Value::Text(_) | Value::Bytes(_) => Err(damaged()),
        }
    }

    pub(super) fn room(&self, column: usize) -> Result<RoomId, StoreError> {
        room(&self.bytes(column)?)
    }

    pub(super) fn message_id(&self, column: usize) -> Result<MessageId, StoreError> {
        let octets = self.bytes(column)?.try_into().map_err(|_| damaged())?;
        Ok(MessageId(u128::from_be_bytes(octets)))
    }

    pub(super) fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        match self.at(column) {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::Null | Value::Int(_) | Value::Text(_) => Err(damaged()),
        }
    }

    pub(super) fn user(&self, column: usize) -> Result<UserId, StoreError> {
        user(&self.text(column)?)
    }

    pub(super) fn sign_in(&self, column: usize) -> Result<SignInId, StoreError> {
        self.text(column)?.parse().map_err(|_| damaged())
    }

    pub(super) fn time(&self, column: usize) -> Result<UnixMillis, StoreError> {
        Ok(UnixMillis(unsigned(self.int(column)?)))
    }

    pub(super) fn optional_time(&self, column: usize) -> Result<Option<UnixMillis>, StoreError> {
        let millis = self.optional_int(column)?;
        Ok(millis.map(|millis| UnixMillis(unsigned(millis))))
    }
}

/// A text as both databases can hold it: PostgreSQL has no NUL, which becomes U+FFFD in both.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What was read is nothing that this crate has written.
pub(in crate::store) fn damaged() -> StoreError {
    StoreError::Unavailable("a stored row of accounts cannot be read".to_owned())
}

macro_rules! values {
    ($($from:ty: |$value:ident| $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}

values! {
    &str: |text| Self::Text(storable(text));
    &String: |text| Self::Text(storable(text));
    &UserId: |user| Self::Text(user.as_str().to_owned());
    &SignInId: |sign_in| Self::Text(sign_in.to_string());
    SignInId: |sign_in| Self::Text(sign_in.to_string());
    UnixMillis: |time| Self::Int(signed(time.0));
    Option<UnixMillis>: |time| time.map_or(Self::Null, Self::from);
    i64: |number| Self::Int(number);
    Option<i64>: |number| number.map_or(Self::Null, Self::Int);
    Option<&str>: |text| text.map_or(Self::Null, Self::from);
    Option<SignInId>: |sign_in| sign_in.map_or(Self::Null, Self::from);
    RoomId: |room| Self::Bytes(room.0.to_be_bytes().to_vec());
    MessageId: |id| Self::Bytes(id.0.to_be_bytes().to_vec());
    u32: |number| Self::Int(i64::from(number));
    &TokenHash: |hash| Self::Bytes(hash.to_vec());
    &[u8]: |bytes| Self::Bytes(bytes.to_vec());
}

/// Parameters in a row.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::accounts::sql::Value::from($value)),*] };
}

pub(super) use params;
