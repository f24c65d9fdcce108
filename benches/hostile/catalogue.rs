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
        "27 visitors send `/app/auth.upgrade` with passwords of 100 characters in leet spelling, which are \
         the most expensive to score",
    ),
    attack(
        "logins",
        "POST `/api/v1/auth/login` and `/register` with a new address and password each time",
    ),
    attack(
        "withheld SockJS bodies",
        "`xhr_send` with bodies of 661 kB whose last byte is withheld",
    ),
    attack(
        "stalled SockJS sessions",
        "whole `xhr_send` bodies of 661 kB for sessions that wait for their client",
    ),
    attack(
        "abandoned SockJS sessions",
        "SockJS sessions are opened and never asked again",
    ),
    attack(
        "withheld REST bodies",
        "POST `/api/v1/auth/login` with a body of 60 kB whose last byte is withheld",
    ),
    Attack {
        rise_seconds: 4,
        ..attack(
            "slow exports",
            "16 MB of messages are stored for one visitor by 20 addresses, then 60 clients read `/api/v1/me/export` at \
             10 kB/s",
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
        "deeply nested arrays and objects, and long arrays, in SEND, REST and SockJS",
    ),
    attack(
        "Unicode",
        "messages of 4,000 characters with thousands of combining marks in the wrong order",
    ),
    attack_on(
        Wanted::Queue,
        "queues",
        "SUBSCRIBE and SEND create new queues, which are left behind",
    ),
    attack_on(
        Wanted::Queue,
        "queue consumers",
        "SUBSCRIBE to queues, 32 in each session",
    ),
    attack_on(
        Wanted::Queue,
        "bytes in queues",
        "60 kB SENDs to queues that nobody reads",
    ),
    attack_on(
        Wanted::Pattern,
        "patterns",
        "SUBSCRIBE with wildcards, 16 in each session",
    ),
    attack(
        "subscriptions",
        "SUBSCRIBE to new topics with long names without end",
    ),
    attack(
        "new visitors",
        "CONNECT as a new visitor and leave; from many addresses: the 256 networks of one IPv6 /56",
    ),
    attack(
        "stored bytes",
        "direct messages of 16 kB as fast as they are accepted",
    ),
    Attack {
        rise_seconds: 4,
        ..attack(
            "held connections",
            "as many sessions as get in, 7,900 from one address and 19,750 from many, which do nothing",
        )
    },
    attack(
        "coming and going",
        "connect and drop the connection at once",
    ),
    attack(
        "flood of SENDs",
        "SEND to a topic as fast as the socket accepts it",
    ),
    attack(
        "oversized frames",
        "WebSocket messages that announce 1 TiB; SENDs without an end",
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
        "250 subscriptions in each session that never acknowledge",
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
        "a WebSocket message in empty fragments without end",
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
