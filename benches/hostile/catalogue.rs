//! The attacks by name: what each of them sends, and what the benchmark has to know before it runs one.
//!
//! Not here: how an attack is carried out (`attacks`). The test that holds `docs/security.md` reads this
//! file too. Invariant: every attack that can be run is listed here, once.

/// What the benchmark and the documentation know of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// The name on the command line and in the tables.
    pub(crate) name: &'static str,
    /// What the attackers do.
    pub(crate) about: &'static str,
    /// Whether the node, and everyone who talks to it, needs TLS.
    pub(crate) tls: bool,
    /// How many seconds the attack needs before it has reached its full strength.
    pub(crate) rise_seconds: u64,
    /// What newcomers ask for beyond a message to themselves, because the attack takes it.
    pub(crate) wanted: Wanted,
    /// What the attackers do at least when the attack happens.
    pub(crate) least: Least,
}

/// What the attackers of an attack count at least, while they attack the sink and while they attack the node.
///
/// The node refuses clients, as is right. So there only a tenth of `held` has to be held at a time, when as many
/// connections were tried; the rest holds for both, and asks for no more than a node gives to one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    /// Sockets that were held at the same time: from one address, and from many.
    pub(crate) held: [u64; 2],
    /// STOMP sessions that were opened.
    pub(crate) sessions: u64,
    /// Requests, frames, or batches of frames, that were written in a second, on average.
    pub(crate) requests: f64,
    /// MiB that the byte account of the node reached: what one address may have is used up, or nearly.
    pub(crate) account_mib: f64,
}

/// What a newcomer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A message to themselves.
    Message,
    /// A queue of their own, with a message in it and a consumer, too.
    Queue,
    /// A subscription with a wildcard, too.
    Pattern,
}

const fn attack(name: &'static str, about: &'static str) -> Attack {
    Attack {
        name,
        about,
        tls: false,
        rise_seconds: 1,
        wanted: Wanted::Message,
        least: Least {
            held: [0; 2],
            sessions: 0,
            requests: 0.0,
            account_mib: 0.0,
        },
    }
}

impl Attack {
    const fn held(mut self, from_one: u64, from_many: u64) -> Self {
        self.least.held = [from_one, from_many];
        self
    }

    const fn sessions(mut self, sessions: u64) -> Self {
        self.least.sessions = sessions;
        self
    }

    const fn requests(mut self, a_second: f64) -> Self {
        self.least.requests = a_second;
        self
    }

    const fn account_mib(mut self, mib: f64) -> Self {
        self.least.account_mib = mib;
        self
    }

    const fn rises(mut self, seconds: u64) -> Self {
        self.rise_seconds = seconds;
        self
    }
}

const fn attack_on(wanted: Wanted, name: &'static str, about: &'static str) -> Attack {
    Attack {
        wanted,
        ..attack(name, about)
    }
}

/// Every attack, in the order of the tables.
pub(crate) const ATTACKS: &[Attack] = &[
    attack(
        "guessable passwords",
        "27 visitors send `/app/auth.upgrade`, ten a second each, with passwords of 100 characters in leet spelling, \
         which are the most expensive to score",
    )
    .sessions(27)
    .requests(5.0),
    attack(
        "logins",
        "POST `/api/v1/auth/login` and `/register` with a new address and password each time, as fast as they are \
         answered",
    )
    .requests(5.0),
    attack(
        "withheld SockJS bodies",
        "`xhr_send` with the longest body, whose last byte is withheld, 1,980 of them from one address, on 90 sockets \
         of each session, and twice as many from many",
    )
    .rises(6)
    .held(1_500, 3_000)
    .account_mib(300.0),
    attack(
        "stalled SockJS sessions",
        "the longest `xhr_send` bodies for 1,000 sessions that wait for their client, on two sockets of each session, \
         and on 90 of eleven; from many addresses 2,500 sessions",
    )
    .rises(15)
    .held(1_200, 2_500)
    .account_mib(300.0),
    attack(
        "abandoned SockJS sessions",
        "SockJS sessions are opened as fast as they are answered, and never asked again",
    )
    .requests(50.0),
    attack(
        "withheld REST bodies",
        "POST `/api/v1/auth/login` with a body of 60 kB whose last byte is withheld, on 6,000 sockets from one \
         address and 15,000 from many",
    )
    .rises(6)
    .held(5_000, 12_000)
    .account_mib(300.0),
    attack(
        "slow exports",
        "60 clients read one `/api/v1/me/export` of 19 MB at 10 kB/s, and 640 visitors their own of 640 kB; from many \
         addresses 150 and 800",
    )
    .rises(8)
    .sessions(640)
    .requests(10.0)
    .account_mib(300.0),
    attack(
        "slow page readers",
        "pages and scripts are requested many times on one socket and never read, on 3,500 sockets from one address \
         and 8,750 from many",
    )
    .rises(6)
    .held(3_000, 7_500)
    .account_mib(300.0),
    attack(
        "slow heads",
        "heads of requests arrive one byte in two seconds, on as many sockets as get in: 10,500 try from one address \
         and 19,500 from many",
    )
    .rises(15)
    .held(8_000, 15_000)
    .account_mib(250.0),
    Attack {
        tls: true,
        rise_seconds: 6,
        ..attack(
            "withheld TLS handshakes",
            "a ClientHello of 16 kB whose last byte is withheld, on 7,500 sockets from one address and 17,500 from \
             many",
        )
        .held(6_000, 14_000)
        .account_mib(300.0)
    },
    attack(
        "requests",
        "GET `/`, `/metrics` and `/health` as fast as they are answered",
    )
    .requests(50.0),
    attack(
        "JSON bombs",
        "deeply nested arrays and objects, and long arrays, in SEND, REST and SockJS, as fast as they are answered",
    )
    .sessions(20)
    .requests(20.0),
    attack(
        "Unicode",
        "messages of 4,000 characters with thousands of combining marks in the wrong order, ten a second each",
    )
    .sessions(20)
    .requests(20.0),
    attack_on(
        Wanted::Queue,
        "queues",
        "SUBSCRIBE and SEND create new queues, 64 in 0.3 s each, which are left behind",
    )
    .sessions(60)
    .requests(50.0),
    attack_on(
        Wanted::Queue,
        "queue consumers",
        "SUBSCRIBE to queues, 32 in each session",
    )
    .held(60, 150)
    .sessions(75),
    attack_on(
        Wanted::Queue,
        "bytes in queues",
        "60 kB SENDs to queues that nobody reads, as fast as the socket accepts them",
    )
    .sessions(20)
    .requests(10.0),
    attack_on(
        Wanted::Pattern,
        "patterns",
        "SUBSCRIBE with wildcards, 16 in each session",
    )
    .held(60, 150)
    .sessions(75),
    attack(
        "subscriptions",
        "SUBSCRIBE to new topics with long names: 255 in each of 1,740 sessions, which are kept, and without end in \
         20; from many addresses in 4,440 sessions",
    )
    .rises(6)
    .held(1_500, 3_500)
    .sessions(1_500)
    .requests(500.0),
    attack(
        "new visitors",
        "CONNECT as a new visitor and leave, without a pause; from many addresses: the 256 networks of one IPv6 /56",
    )
    .sessions(100),
    attack(
        "stored bytes",
        "350 visitors send direct messages of 16 kB to themselves, ten a second each: three times as many as a \
         visitor may send; from many addresses 875",
    )
    .rises(3)
    .held(300, 700)
    .sessions(350)
    .requests(300.0),
    attack(
        "held connections",
        "as many sessions as get in, which do nothing: 10,500 try from one address, more than its share under a file \
         limit of 20,000, and 19,500 from many",
    )
    .rises(15)
    .held(9_000, 15_000)
    .sessions(2_000),
    attack(
        "held first requests",
        "as many sockets as get in, 7,900 from one address and 19,500 from many, are silent for six seconds, then all \
         send GET `/metrics` in the same moment; again and again",
    )
    .rises(6)
    .held(5_000, 12_000)
    .requests(100.0),
    attack(
        "coming and going",
        "connect and drop the connection at once, without a pause",
    )
    .sessions(200),
    attack(
        "flood of SENDs",
        "SEND to a topic as fast as the socket accepts it",
    )
    .sessions(20)
    .requests(20.0),
    attack(
        "oversized frames",
        "WebSocket messages that announce 1 TiB; SENDs without an end as fast as the socket accepts them",
    )
    .sessions(20)
    .requests(5.0),
    attack(
        "unfinished messages",
        "WebSocket messages of 60 kB whose last byte is withheld, in 6,600 sessions from one address and 16,500 from \
         many",
    )
    .rises(12)
    .held(5_500, 13_000)
    .sessions(2_000)
    .account_mib(300.0),
    attack(
        "transactions",
        "16 open transactions in each session, filled and left open, in 600 sessions from one address and 1,500 from \
         many",
    )
    .rises(4)
    .held(500, 1_200)
    .sessions(300)
    .account_mib(300.0),
    attack(
        "unacknowledged",
        "two subscriptions in each of 250 sessions, that never acknowledge, and 60 kB SENDs to them, 30 at once and then \
         three a second; from many addresses in 625 sessions",
    )
    .rises(4)
    .held(220, 550)
    .sessions(250)
    .account_mib(300.0),
    attack(
        "never reading",
        "subscribers who send 30 kB messages to themselves and never read, in 1,050 sessions from one address and \
         2,625 from many",
    )
    .rises(6)
    .held(900, 2_000)
    .sessions(500)
    .account_mib(200.0),
    attack(
        "fan-out to stalled readers",
        "one topic with 1,050 subscribers, 2,625 from many addresses, all of whom send to it and none of whom reads",
    )
    .rises(6)
    .held(900, 2_000)
    .sessions(500),
    attack(
        "fan-out to readers",
        "one topic with 3,000 sessions, 7,500 from many addresses, that subscribe to it eight times each and read; \
         one of them sends to it three times a second",
    )
    .rises(6)
    .held(2_500, 6_000)
    .sessions(2_500),
    attack(
        "ACK storm",
        "64 subscriptions in each session with `ack:client`; the messages of all attackers are left unsettled for three \
         seconds, and then each of them is acknowledged in its order as fast as the socket accepts it; again and again",
    )
    .sessions(20)
    .requests(10.0),
    attack(
        "frames after the ERROR",
        "SENDs as fast as the socket accepts them after a frame that ended the session, on 300 sockets from one \
         address and 750 from many",
    )
    .held(250, 600)
    .sessions(300)
    .requests(50.0),
    attack(
        "empty fragments",
        "a WebSocket message in empty fragments, as fast as the socket accepts them",
    )
    .sessions(20)
    .requests(10.0),
    attack(
        "pings",
        "WebSocket pings as fast as the socket accepts them",
    )
    .sessions(20)
    .requests(10.0),
];

/// The attack of this name.
pub(crate) fn find(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}
