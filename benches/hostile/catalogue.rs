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
    ),
    attack(
        "logins",
        "POST `/api/v1/auth/login` and `/register` with a new address and password each time, as fast as they are \
         answered",
    ),
    attack(
        "withheld SockJS bodies",
        "`xhr_send` with the longest body, whose last byte is withheld, on 90 sockets of each session",
    ),
    attack(
        "stalled SockJS sessions",
        "the longest `xhr_send` bodies for sessions that wait for their client, on 90 sockets of each session",
    ),
    attack(
        "abandoned SockJS sessions",
        "SockJS sessions are opened as fast as they are answered, and never asked again",
    ),
    attack(
        "withheld REST bodies",
        "POST `/api/v1/auth/login` with a body of 60 kB whose last byte is withheld",
    ),
    Attack {
        rise_seconds: 8,
        ..attack(
            "slow exports",
            "60 clients read one `/api/v1/me/export` of 19 MB at 10 kB/s, and 60 visitors their own of 2 MB; from many \
             addresses 150 of each",
        )
    },
    attack(
        "slow page readers",
        "pages and scripts are requested many times on one socket and never read",
    ),
    attack("slow heads", "heads of requests arrive one byte at a time"),
    Attack {
        tls: true,
        ..attack(
            "withheld TLS handshakes",
            "a ClientHello of 16 kB whose last byte is withheld",
        )
    },
    attack(
        "requests",
        "GET `/`, `/metrics` and `/health` as fast as they are answered",
    ),
    attack(
        "JSON bombs",
        "deeply nested arrays and objects, and long arrays, in SEND, REST and SockJS, as fast as they are answered",
    ),
    attack(
        "Unicode",
        "messages of 4,000 characters with thousands of combining marks in the wrong order, ten a second each",
    ),
    attack_on(
        Wanted::Queue,
        "queues",
        "SUBSCRIBE and SEND create new queues, 64 in 0.3 s each, which are left behind",
    ),
    attack_on(
        Wanted::Queue,
        "queue consumers",
        "SUBSCRIBE to queues, 32 in each session",
    ),
    attack_on(
        Wanted::Queue,
        "bytes in queues",
        "60 kB SENDs to queues that nobody reads, as fast as the socket accepts them",
    ),
    attack_on(
        Wanted::Pattern,
        "patterns",
        "SUBSCRIBE with wildcards, 16 in each session",
    ),
    attack(
        "subscriptions",
        "SUBSCRIBE to new topics with long names, as fast as the socket accepts them",
    ),
    attack(
        "new visitors",
        "CONNECT as a new visitor and leave, without a pause; from many addresses: the 256 networks of one IPv6 /56",
    ),
    attack(
        "stored bytes",
        "direct messages of 16 kB, ten a second each: three times as many as a visitor may send",
    ),
    Attack {
        rise_seconds: 8,
        ..attack(
            "held connections",
            "as many sessions as get in, which do nothing: 10,500 try from one address, more than its share under a \
             file limit of 20,000, and 19,500 from many",
        )
    },
    Attack {
        rise_seconds: 6,
        ..attack(
            "held first requests",
            "as many sockets as get in, 7,900 from one address and 19,500 from many, are silent for six seconds, then \
             all send GET `/metrics` in the same moment; again and again",
        )
    },
    attack(
        "coming and going",
        "connect and drop the connection at once, without a pause",
    ),
    attack(
        "flood of SENDs",
        "SEND to a topic as fast as the socket accepts it",
    ),
    attack(
        "oversized frames",
        "WebSocket messages that announce 1 TiB; SENDs without an end as fast as the socket accepts them",
    ),
    attack(
        "unfinished messages",
        "WebSocket messages of 60 kB whose last byte is withheld",
    ),
    attack(
        "transactions",
        "16 open transactions in each session, filled and left open",
    ),
    attack(
        "unacknowledged",
        "240 subscriptions in each session, eight to each of 30 topics, that never acknowledge, and 8 kB SENDs to \
         them as fast as the socket accepts them",
    ),
    attack(
        "never reading",
        "subscribers who send 30 kB messages to themselves and never read",
    ),
    attack(
        "fan-out to stalled readers",
        "one topic with as many subscribers as get in, none of whom reads",
    ),
    attack(
        "empty fragments",
        "a WebSocket message in empty fragments, as fast as the socket accepts them",
    ),
    attack(
        "pings",
        "WebSocket pings as fast as the socket accepts them",
    ),
];

/// The attack of this name.
pub(crate) fn find(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}
