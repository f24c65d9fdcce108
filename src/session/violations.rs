//! What a client can do wrong, as a table: message, words, close, when.
//!
//! Not here: the ERROR frame (`fatal`), how octets can be wrong (`stomp::error`), a header that is
//! missing (`headers`). Invariant: a row has one place at most for what it is about.

use crate::model::{CloseReason, Code};

/// How a session ends after an ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client broke the protocol.
    Protocol,
    /// It sent too much.
    Size,
    /// It has too much of something. The body is the JSON of a problem.
    Limit,
    /// Nothing was heard of it.
    Lost,
}

impl End {
    pub(super) fn reason(self) -> CloseReason {
        match self {
            Self::Protocol => closing(Code::BadRequest),
            Self::Size => closing(Code::PayloadTooLarge),
            Self::Limit => closing(Code::LimitExceeded),
            Self::Lost => CloseReason::HEART_BEAT_LOST,
        }
    }
}

macro_rules! violations {
    ($($variant:ident $end:ident $message:literal, $words:literal, $when:literal;)*) => {
        /// What a client can do wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Violation {$(
            #[doc = $when]
            $variant,
        )*}

        impl Violation {
            /// Every one, for documentation.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How the session ends.
            pub(super) fn end(self) -> End {
                match self {$(Self::$variant => End::$end,)*}
            }

            /// The header `message`.
            pub(super) fn message(self) -> &'static str {
                match self {$(Self::$variant => $message,)*}
            }

            /// The body; `{}` stands for what it is about.
            pub(super) fn words(self) -> &'static str {
                match self {$(Self::$variant => $words,)*}
            }

            /// When it comes.
            pub(super) fn when(self) -> &'static str {
                match self {$(Self::$variant => $when,)*}
            }
        }
    };
}

// The words that RabbitMQ's clients may know are RabbitMQ's.
violations! {
    NotConnected Protocol "Not connected",
        "CONNECT comes before {}.\n",
        "another frame comes before CONNECT";
    AlreadyConnected Protocol "Already connected",
        "CONNECT comes once.\n",
        "a second CONNECT or STOMP comes";
    TooEarly Size "Too much before CONNECTED",
        "At most {} octets may come between CONNECT and CONNECTED.\n",
        "a client sends much without waiting for CONNECTED";
    BadCommand Protocol "Bad command",
        "Could not interpret command \"{}\"\n",
        "a client sends a command of servers, or NACK in a 1.0 session";
    VersionMismatch Protocol "Version mismatch",
        "Supported versions are {}\n",
        "accept-version names no version that this server speaks";
    BadHeartBeat Protocol "Bad heart-beat",
        "heart-beat is two numbers of milliseconds, such as 10000,10000.\n",
        "heart-beat of CONNECT is not two non-negative integers";
    ConnectTimeout Protocol "Connect timeout",
        "CONNECT did not come in time.\n",
        "CONNECT takes longer than CONNECT_TIMEOUT";
    FrameTimeout Protocol "Frame timeout",
        "The rest of a frame did not come in time.\n",
        "a frame stays incomplete for longer than PARTIAL_FRAME_TIMEOUT";
    HeartBeatLost Lost "Heart-beat lost",
        "Nothing was heard for too long, neither frames nor beats nor pongs.\n",
        "a client is silent for twice its interval and a second, or without beats for IDLE_TIMEOUT";
    InvalidDestination Protocol "Invalid destination",
        "{}\n",
        "the name after a known prefix cannot be used";
    UnknownDestination Protocol "Unknown destination",
        "{}\n",
        "a destination begins with none of the prefixes";
    NoPlace Protocol "Invalid destination",
        "'{}' is no destination: /temp-queue/ stands in the reply-to of a SEND only.\n",
        "SEND or SUBSCRIBE name a /temp-queue/ as their destination";
    BadReplyTo Protocol "Bad reply-to",
        "/temp-queue/ is followed by a name of at most {} octets, without slash, backslash and \
         control characters.\n",
        "reply-to names a /temp-queue/ that cannot be made";
    HeaderTooLong Protocol "Header too long",
        "{} octets.\n",
        "receipt or correlation-id have more than 255 octets";
    BadSubscriptionId Protocol "Bad subscription identifier",
        "A subscription identifier has at most {} octets and does not begin with /temp-queue/.\n",
        "id of SUBSCRIBE is too long, or one that the server gives";
    DuplicatedSubscriptionId Protocol "Duplicated subscription identifier",
        "A subscription identified by 'T_{}' already exists.\n",
        "id of SUBSCRIBE is in use";
    SubscriptionNotFound Protocol "Subscription not found",
        "There is no such subscription.\n",
        "UNSUBSCRIBE names no subscription";
    BadAck Protocol "Bad ack",
        "ack is auto, client or client-individual.\n",
        "ack of SUBSCRIBE is something else";
    BadPrefetch Protocol "Bad prefetch-count",
        "prefetch-count is a number from 1 on.\n",
        "prefetch-count of SUBSCRIBE is something else";
    BadQueueArgument Protocol "Bad queue argument",
        "{}\n",
        "x-message-ttl, x-expires or x-max-length is no number, or too large";
    Unsupported Protocol "Not supported",
        "A SUBSCRIBE with {} is not supported.\n",
        "SUBSCRIBE has selector or browser:true, or asks to be durable where nothing is kept";
    BadRequeue Protocol "Bad requeue",
        "requeue is true or false.\n",
        "requeue of NACK is something else";
    BadTransactionId Protocol "Bad transaction identifier",
        "A transaction identifier has at most {} octets.\n",
        "transaction is too long";
    TransactionNotFound Protocol "Bad transaction",
        "Invalid transaction identifier: {}\n",
        "transaction names none that is open";
    TransactionIsOpen Protocol "Bad transaction",
        "Transaction {} is open already.\n",
        "BEGIN names a transaction that is open";
    ManyRequests Limit "limit_exceeded",
        "At most {} requests may be unanswered.",
        "a client sends on and on without waiting for any answer";
    ManySubscriptions Limit "limit_exceeded",
        "A session has at most {} subscriptions.",
        "there are MAX_SUBSCRIPTIONS; those of reply-to count";
    ManyAlikeSubscriptions Limit "limit_exceeded",
        "A session has at most {} subscriptions to one destination.",
        "a session subscribes to the same destination again and again; queues are excepted";
    ManyTransactions Limit "limit_exceeded",
        "A session has at most {} open transactions.",
        "BEGIN is beyond MAX_TRANSACTIONS";
    ManyFrames Limit "limit_exceeded",
        "The open transactions of a session have at most {} frames.",
        "open transactions grow beyond TRANSACTION_FRAMES";
    ManyOctets Limit "limit_exceeded",
        "The open transactions of a session have at most {} octets.",
        "open transactions grow beyond TRANSACTION_BYTES";
    TransactionIdle Limit "limit_exceeded",
        "A transaction rested for {} ms; it is aborted.",
        "a transaction rests for TRANSACTION_IDLE";
}

/// The close that follows an ERROR with this code.
pub(super) fn closing(code: Code) -> CloseReason {
    CloseReason::of(code.close_code(), code.as_str())
}
