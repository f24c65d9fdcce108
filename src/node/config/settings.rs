//! The table of settings: the only place where their names, defaults and bounds stand.
//!
//! Parsing, `config print`, and the tables of `docs/configuration.md` come from it or are held
//! against it. Not here: what the settings mean together (`valid`). Invariant: every default is a
//! value that is allowed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::accounts::{IssuerList, MailFrom, PublicUrl, Word};
use super::clients::{HeartBeat, NetworkLimits, Networks, Origins};
use super::kinds::{Kind, Rule};
use super::layers::Layers;
use super::mistake::Mistake;
use super::paths::{Paths, RelayTable, RuleTable};
use super::script_url::ScriptUrl;
use super::secret::{Endpoint, Secret};
use super::units::Size;
use super::words::{
    AppEnv, LogFilter, LogFormat, LogIp, ProxyProtocol, QueueMode, Recognition, WsFrame,
};
use crate::model::NodeId;

/// What the table says of one setting.
#[derive(Debug)]
pub struct Row {
    /// The heading it stands under.
    pub group: &'static str,
    /// The name in the environment; in `stompbox.toml` also in small letters.
    pub name: &'static str,
    /// Other names under which it is accepted.
    pub aliases: &'static [&'static str],
    /// The default as it would be written; empty when there is none.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What happens to whoever goes beyond it; empty where that makes no sense.
    pub beyond: &'static str,
    /// Whether it may be given in a file named by `<NAME>_FILE`, and is never shown.
    pub secret: bool,
    rule: Rule,
    words: fn(Rule) -> String,
}

impl Row {
    /// What is allowed, in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.words)(self.rule)
    }
}

macro_rules! settings {
    ($($group:literal {$(
        $field:ident $name:literal [$($alias:literal),*]: $kind:ty = $default:literal, $rule:expr,
            $about:literal, $beyond:literal;
    )*})*) => {
        /// Every setting with its value, each valid for itself.
        #[derive(Clone, Debug)]
        pub struct Settings {$($(
            #[doc = $about]
            pub $field: $kind,
        )*)*}

        /// Every setting there is, in the order of the documentation.
        pub static TABLE: &[Row] = &[$($(
            Row {
                group: $group,
                name: $name,
                aliases: &[$($alias),*],
                default: $default,
                about: $about,
                beyond: $beyond,
                secret: <$kind as Kind>::SECRET,
                rule: $rule,
                words: <$kind as Kind>::allowed,
            },
        )*)*];

        impl Settings {
            /// Reads every setting from what was written.
            ///
            /// # Errors
            /// The first value that is not allowed.
            pub fn read(layers: &Layers) -> Result<Self, Mistake> {
                Ok(Self {$($(
                    $field: layers.read::<$kind>($name, $default, $rule)?,
                )*)*})
            }

            /// The values in the order of [`TABLE`], secrets hidden.
            #[must_use]
            pub fn shown(&self) -> Vec<String> {
                vec![$($(Kind::shown(&self.$field),)*)*]
            }
        }
    };
}

settings! {
    "Where it listens and what it is" {
        server_host "SERVER_HOST" ["HOST"]: IpAddr = "127.0.0.1", Rule::Any,
            "The address to listen on; `0.0.0.0` lets the network in.", "";
        server_port "SERVER_PORT" ["PORT"]: u16 = "8080", Rule::Between("0", "65535"),
            "The port to listen on; 0 takes a free one and prints it.", "";
        server_id "SERVER_ID" ["GATEWAY_ID"]: Option<NodeId> = "", Rule::Any,
            "The name of this node in the cluster. Without it one is made once and kept in `DATA_DIR`.", "";
        data_dir "DATA_DIR" []: PathBuf = "./data", Rule::Any,
            "Where this node keeps its files: the SQLite database, its name, its secret.", "";
        app_env "APP_ENV" []: AppEnv = "development", Rule::Any,
            "`production` logs less and refuses `CORS_ORIGINS=*`.", "";
        shutdown_timeout "SHUTDOWN_TIMEOUT" []: Duration = "30s", Rule::Between("1s", "10m"),
            "How long an orderly end may take.", "the process ends at once";
    }
    "Engines" {
        database_url "DATABASE_URL" []: Option<Endpoint> = "",
            Rule::Schemes(&["sqlite://", "postgres://", "postgresql://"]),
            "The store. Without it `stompbox.db` in `DATA_DIR`; several nodes need PostgreSQL.", "";
        redis_url "REDIS_URL" []: Option<Endpoint> = "", Rule::Schemes(&["redis://"]),
            "Redis, where nodes find each other's users. Both this and `RABBITMQ_URL`, or neither.", "";
        rabbitmq_url "RABBITMQ_URL" []: Option<Endpoint> = "", Rule::Schemes(&["amqp://"]),
            "RabbitMQ, through which nodes send each other messages. Both this and `REDIS_URL`, or neither.", "";
    }
    "Who may connect" {
        cors_origins "CORS_ORIGINS" []: Origins = "", Rule::Any,
            "Pages that may connect besides those that this server serves itself.", "403";
        allow_no_origin "ALLOW_NO_ORIGIN" []: bool = "true", Rule::Any,
            "Whether clients that send no `Origin` (they are no browsers) may connect.", "403";
        csrf_enabled "CSRF_ENABLED" []: bool = "true", Rule::Any,
            "Whether requests to REST that rely on the visitor's cookie need the header `X-CSRF-Token`.", "403";
        trusted_proxies "TRUSTED_PROXIES" []: Networks = "", Rule::Any,
            "Proxies whose `X-Forwarded-For` is believed.", "";
        jwt_secret "JWT_SECRET" []: Option<Secret> = "", Rule::Length(32),
            "The secret of the service. A single node makes one and keeps it in `DATA_DIR`; several nodes need the same one.", "";
    }
    "Accounts" {
        jwt_key "JWT_KEY" []: Option<Secret> = "", Rule::Length(32),
            "A private Ed25519 key (PKCS8, PEM) that signs access tokens instead of `JWT_SECRET`, so that others can verify them by `/api/v1/auth/jwks`.", "";
        jwt_secret_previous "JWT_SECRET_PREVIOUS" []: Option<Secret> = "", Rule::Length(32),
            "The secret before this one: tokens that it signed are still believed.", "";
        jwt_key_previous "JWT_KEY_PREVIOUS" []: Option<Secret> = "", Rule::Length(32),
            "The key before this one: tokens that it signed are still believed.", "";
        jwt_issuer "JWT_ISSUER" []: Word = "stompbox", Rule::Any,
            "The claim `iss` of access tokens.", "`unauthorized`";
        jwt_audience "JWT_AUDIENCE" []: Word = "stompbox", Rule::Any,
            "The claim `aud` of access tokens.", "`unauthorized`";
        jwt_access_ttl "JWT_ACCESS_TTL" ["JWT_EXPIRATION"]: Duration = "15m", Rule::Between("10s", "24h"),
            "How long an access token lives.", "`token_expired`, close 4401";
        refresh_ttl "REFRESH_TTL" ["JWT_REFRESH_TTL", "JWT_REFRESH_EXPIRATION"]: Duration = "7d", Rule::Between("1m", "365d"),
            "How long a refresh token can be used.", "`unauthorized`";
        jwt_issuers "JWT_ISSUERS" []: IssuerList = "", Rule::Any,
            "Other services whose access tokens are taken for their own users.", "`unauthorized`";
        gatrix_api_url "GATRIX_API_URL" []: Option<Endpoint> = "", Rule::Schemes(&["https://", "http://"]),
            "Where each token of a main server is asked about (RFC 7662); the issuer `gatrix`.", "";
        gatrix_api_secret "GATRIX_API_SECRET" []: Option<Secret> = "", Rule::Any,
            "The secret with which it is asked.", "";
        login_failures "LOGIN_FAILURES" []: u32 = "5", Rule::Between("0", "1000"),
            "Wrong passwords for one account from one network in 15 minutes, and ten times as many from all networks; 0 is off.", "`rate_limited`";
        login_failures_per_net "LOGIN_FAILURES_PER_NET" []: u32 = "500", Rule::Between("0", "100000"),
            "Wrong passwords from one network in 15 minutes; 0 is off.", "`rate_limited`";
        login_per_net "LOGIN_PER_NET" []: u32 = "2000", Rule::Between("0", "1000000"),
            "Tries to sign in from one network in 10 minutes; 0 is off.", "`rate_limited`";
        register_per_net "REGISTER_PER_NET" []: u32 = "300", Rule::Between("0", "1000000"),
            "New accounts from one network in 10 minutes, and as many letters; 0 is off.", "`rate_limited`";
        public_url "PUBLIC_URL" []: Option<PublicUrl> = "", Rule::Any,
            "Where people reach the service, for links in letters; without it this machine.", "";
        smtp_url "SMTP_URL" []: Option<Endpoint> = "", Rule::Schemes(&["smtps://", "smtp://"]),
            "The server that takes letters. Without it letters stand in the log in development and are not sent in production.", "";
        mail_from "MAIL_FROM" []: MailFrom = "Stompbox <noreply@localhost>", Rule::Any,
            "Who letters are from.", "";
    }
    "Visitors without an account" {
        anon_enabled "ANON_ENABLED" []: bool = "true", Rule::Any,
            "Whether visitors without an account may connect.", "ERROR `unauthorized`";
        anon_recognition "ANON_RECOGNITION" []: Recognition = "hint", Rule::Any,
            "Whether a fingerprint may recognise a visitor who stores nothing (`hint`), or never (`token`).", "";
        anon_token_ttl "ANON_TOKEN_TTL" []: Duration = "30d", Rule::Between("1m", "3650d"),
            "How long a visitor's secret lives after its last use.", "a new visitor";
        anon_hint_ttl "ANON_HINT_TTL" []: Duration = "1h", Rule::Between("1s", "24h"),
            "How long after his last visit a fingerprint recognises a visitor.", "a new visitor";
        anon_history_ttl "ANON_HISTORY_TTL" []: Duration = "24h", Rule::Between("1m", "3650d"),
            "How long messages of visitors are kept.", "removed";
        anon_identity_ttl "ANON_IDENTITY_TTL" []: Duration = "90d", Rule::Between("1h", "3650d"),
            "How long a visitor who does not come back is kept.", "removed";
        fp_key "FP_KEY" []: Option<Secret> = "", Rule::Length(32),
            "The key of fingerprints and cookies; derived from `JWT_SECRET` unless set.", "";
    }
    "Log" {
        log_level "LOG_LEVEL" ["RUST_LOG"]: LogFilter = "", Rule::Any,
            "What is logged; without it `info`, and `warn` in production.", "";
        log_format "LOG_FORMAT" []: LogFormat = "text", Rule::Any,
            "How a log line is written.", "";
        log_ip "LOG_IP" []: LogIp = "truncated", Rule::Any,
            "How much of a client's address is logged.", "";
    }
    "Limits of a frame" {
        max_frame_bytes "MAX_FRAME_BYTES" []: Size = "64KiB", Rule::Between("1KiB", "16MiB"),
            "The body of a frame.", "ERROR, close 1009";
        max_headers "MAX_HEADERS" []: u32 = "64", Rule::Between("8", "1000"),
            "The headers of a frame.", "ERROR, close 1009";
        max_header_bytes "MAX_HEADER_BYTES" []: Size = "8KiB", Rule::Between("256", "64KiB"),
            "One header line.", "ERROR, close 1009";
        max_head_bytes "MAX_HEAD_BYTES" []: Size = "32KiB", Rule::Between("512", "1MiB"),
            "Command and headers together.", "ERROR, close 1009";
        max_head_bytes_unauthenticated "MAX_HEAD_BYTES_UNAUTHENTICATED" []: Size = "16KiB",
            Rule::Between("512", "1MiB"),
            "The same before the client is authenticated.", "ERROR, close 1009";
        connect_timeout "CONNECT_TIMEOUT" []: Duration = "10s", Rule::Between("100ms", "5m"),
            "How long the first frame may take.", "ERROR, close 1002";
        partial_frame_timeout "PARTIAL_FRAME_TIMEOUT" []: Duration = "30s",
            Rule::Between("100ms", "10m"),
            "How long a frame may stay incomplete.", "ERROR, close 1002";
        heart_beat "HEART_BEAT" []: HeartBeat = "5000,25000", Rule::Between("100", "600000"),
            "Milliseconds between beats: those that the server offers, those that it asks for.", "close 4408";
        idle_timeout "IDLE_TIMEOUT" []: Duration = "90s", Rule::Between("1s", "24h"),
            "The longest silence of a client that promised no beats; a WebSocket pong ends it.", "close 4408";
        message_chars "MESSAGE_CHARS" []: u32 = "4000", Rule::Between("1", "1000000"),
            "The characters of a chat message, after NFC.", "`validation_failed`";
        message_bytes "MESSAGE_BYTES" []: Size = "16KiB", Rule::Between("1", "16MiB"),
            "The octets of a chat message, after NFC.", "`validation_failed`";
    }
    "Limits of a session" {
        max_subscriptions "MAX_SUBSCRIPTIONS" []: u32 = "256", Rule::Between("4", "100000"),
            "Subscriptions per session.", "ERROR `limit_exceeded`";
        max_patterns "MAX_PATTERNS" []: u32 = "16", Rule::Between("0", "100000"),
            "Subscriptions with wildcards per session.", "ERROR `limit_exceeded`";
        max_queue_consumers "MAX_QUEUE_CONSUMERS" []: u32 = "32", Rule::Between("0", "2000"),
            "Subscriptions to queues per session.", "ERROR `limit_exceeded`";
        prefetch_default "PREFETCH_DEFAULT" []: u32 = "100", Rule::Between("1", "100000"),
            "Unacknowledged messages per subscription when the client names no number.", "delivery pauses";
        prefetch_max "PREFETCH_MAX" []: u32 = "1000", Rule::Between("1", "100000"),
            "The largest number that a client may name.", "delivery pauses";
        max_transactions "MAX_TRANSACTIONS" []: u32 = "16", Rule::Between("1", "1000"),
            "Open transactions per session.", "ERROR";
        transaction_frames "TRANSACTION_FRAMES" []: u32 = "1000", Rule::Between("1", "100000"),
            "Frames in one transaction.", "ERROR";
        transaction_bytes "TRANSACTION_BYTES" []: Size = "1MiB", Rule::Between("1KiB", "64MiB"),
            "Octets in one transaction.", "ERROR";
        transaction_idle "TRANSACTION_IDLE" []: Duration = "30s", Rule::Between("1s", "1h"),
            "How long a transaction may rest.", "it is aborted";
        outbox_frames "OUTBOX_FRAMES" []: u32 = "1024", Rule::Between("16", "1000000"),
            "Frames that wait for a client; 32 times as many for one that reads.", "cut, close 4490";
        outbox_bytes "OUTBOX_BYTES" []: Size = "512KiB", Rule::Between("16KiB", "64MiB"),
            "Octets that wait for a client; 32 times as many for one that reads.", "cut, close 4490";
        outbox_stall "OUTBOX_STALL" []: Duration = "10s", Rule::Between("100ms", "5m"),
            "How long a client may take nothing while something waits.", "cut, close 4490";
    }
    "Limits of this node" {
        ws_max_connections "WS_MAX_CONNECTIONS" []: u32 = "100000", Rule::Between("1", "10000000"),
            "Connections; fewer where the file limit has not as many files, 1,024 for other sockets and 512 for the node.", "429 with Retry-After, 503 when the node is full";
        memory_limit "MEMORY_LIMIT" []: Size = "1GiB", Rule::Between("64MiB", "1024GiB"),
            "Memory that all clients together may occupy; with the hashes of passwords at most 80 % of what the system gives the process.", "429 with Retry-After, 503 when the node is full";
        connection_rate "CONNECTION_RATE" []: u32 = "0", Rule::Between("0", "1000000"),
            "New connections per second, on average; a tenth of it from one IPv4 address or IPv6 /64, more from a /56 (1.5 times) and a /48 (twice). 0 is off: then the node takes as many as it has CPU for, in turn by network.", "429 or 503 with Retry-After";
        connection_burst "CONNECTION_BURST" []: u32 = "5000", Rule::Between("1", "1000000"),
            "New connections at once, while `CONNECTION_RATE` is set; a fifth of it from one network.", "429 or 503 with Retry-After";
        connections_per_net "CONNECTIONS_PER_NET" []: u32 = "0", Rule::Between("0", "10000000"),
            "A fixed number of connections from one network (IPv4 address, IPv6 /64; 1.5 times from a /56, twice from a /48), beside its share of the connections and the memory that are free; 0 is none.", "429";
        network_limits "NETWORK_LIMITS" []: NetworkLimits = "", Rule::Any,
            "Networks with larger limits: each limit of a network is multiplied by the number behind its name. The longest prefix decides.", "";
        subscriptions_per_node "SUBSCRIPTIONS_PER_NODE" []: u32 = "1000000", Rule::Between("0", "100000000"),
            "Subscriptions of this node beyond the first 32 of each session, with shares for users and networks; 0 is off.", "ERROR `limit_exceeded`";
    }
    "Limits of what is stored" {
        visitor_store_bytes "VISITOR_STORE_BYTES" []: Size = "2GiB", Rule::Between("0", "1024GiB"),
            "Bytes of messages of visitors that may be stored through this node at a time, with shares for visitors and networks; 0 is off.", "`limit_exceeded`";
        member_store_bytes "MEMBER_STORE_BYTES" []: Size = "8GiB", Rule::Between("0", "1024GiB"),
            "Bytes of messages that members may store through this node in a day, with shares for members and networks; 0 is off.", "`limit_exceeded`";
    }
    "Limits of a person or a network" {
        sessions_member "SESSIONS_MEMBER" []: u32 = "20", Rule::Between("1", "1000"),
            "Sessions of one member.", "the oldest is closed, 4409";
        sessions_visitor "SESSIONS_VISITOR" []: u32 = "10", Rule::Between("1", "1000"),
            "Sessions of one visitor.", "the oldest is closed, 4409";
        visitors_per_network "VISITORS_PER_NETWORK" ["MINT_PER_NET"]: u32 = "10000", Rule::Between("0", "10000000"),
            "New visitors from one network (IPv4 address, IPv6 /64) in 10 minutes, half of them at once; half as many more from a /56, twice as many from a /48; 0 is off.", "`try_later`";
        rate_anon_per_min "RATE_ANON_PER_MIN" []: u32 = "200", Rule::Between("0", "1000000"),
            "Messages of a visitor in a minute, on average; 0 is off.", "`rate_limited`; 300 refusals in 60 s: close 4429";
        rate_auth_per_min "RATE_AUTH_PER_MIN" []: u32 = "500", Rule::Between("0", "1000000"),
            "Messages of a member in a minute, on average; 0 is off.", "`rate_limited`; 300 refusals in 60 s: close 4429";
        rate_burst "RATE_BURST" []: u32 = "100", Rule::Between("0", "1000000"),
            "Messages of one person at once; one counts once per started 4 KiB. 0 is off.", "`rate_limited`";
        rate_net_per_min "RATE_NET_PER_MIN" []: u32 = "60000", Rule::Between("0", "10000000"),
            "Messages from one network in a minute, on average; one counts once per started KiB. 0 is off.", "`rate_limited`";
        rate_net_burst "RATE_NET_BURST" []: u32 = "5000", Rule::Between("0", "10000000"),
            "Messages from one network at once; one counts once per started KiB. 0 is off.", "`rate_limited`";
        http_per_min "HTTP_PER_MIN" []: u32 = "120", Rule::Between("0", "1000000"),
            "Requests of one user to REST in a minute, and as many at once; 0 is off.", "429 `rate_limited`";
        http_per_net "HTTP_PER_NET" []: u32 = "60000", Rule::Between("0", "10000000"),
            "Requests from one network to REST in a minute, a sixth of them at once; what needs no secret has a fifth of it, SockJS four times as much on each node. 0 is off.", "429 `rate_limited`";
        http_auth_per_min "HTTP_AUTH_PER_MIN" []: u32 = "10", Rule::Between("0", "1000000"),
            "Requests of one user, or with one token, to `/api/v1/auth/*` in a minute; 0 is off.", "429 `rate_limited`";
        http_auth_per_net "HTTP_AUTH_PER_NET" []: u32 = "2000", Rule::Between("0", "10000000"),
            "Requests from one network to `/api/v1/auth/*`, and of clients that are not authenticated, in a minute; 0 is off.", "429 `rate_limited`";
        rate_strict_windows "RATE_STRICT_WINDOWS" []: bool = "false", Rule::Any,
            "Whether no minute may have more than the numbers above, bursts included, rather than that many on average and a burst on top.", "";
        connect_per_net "CONNECT_PER_NET" []: u32 = "20000", Rule::Between("0", "10000000"),
            "CONNECT frames from one network in a minute, on average, counted for all nodes; 0 is off.", "`try_later`";
        connect_burst "CONNECT_BURST" []: u32 = "20000", Rule::Between("0", "10000000"),
            "CONNECT frames from one network at once; 0 is off.", "`try_later`";
        client_frames_per_10s "CLIENT_FRAMES_PER_10S" []: u32 = "100", Rule::Between("10", "1000000"),
            "Other frames of a client in 10 seconds, beyond the negotiated beats.", "`rate_limited`";
    }
    "Destinations" {
        endpoints "ENDPOINTS" []: Paths = "/ws-chat,/ws-stomp,/ws", Rule::Any,
            "The paths at which STOMP is spoken, over WebSocket and SockJS.", "404";
        prefix_app "PREFIX_APP" []: Paths = "/app,/pub", Rule::Any,
            "The prefixes of the features of the service.", "";
        prefix_topic "PREFIX_TOPIC" []: Paths = "/topic,/sub", Rule::Any,
            "The prefixes of destinations that fan out.", "";
        prefix_queue "PREFIX_QUEUE" []: Paths = "/queue", Rule::Any,
            "The prefixes of queues.", "";
        prefix_user "PREFIX_USER" []: Paths = "/user", Rule::Any,
            "The prefixes of the destinations of one user.", "";
        patterns_max "PATTERNS_MAX" []: u32 = "1000", Rule::Between("0", "100000"),
            "Different subscriptions with wildcards that are kept, counted once for each node of the cluster, with shares for users and networks.", "ERROR `limit_exceeded`";
        queue_mode "QUEUE_MODE" []: QueueMode = "competing", Rule::Any,
            "Whether a message of a queue goes to one consumer or to every subscriber.", "";
        destination_rules "DESTINATION_RULES" []: RuleTable =
            "all /topic/** anyone; all /queue/** anyone; send /user/** member+bot+admin", Rule::Any,
            "Who may SEND and SUBSCRIBE to open destinations; the first rule that fits decides, and without one nobody may.",
            "`forbidden`, `anonymous_not_allowed`";
        app_relays "APP_RELAYS" []: RelayTable = "/app/chat/message=/topic/chat/room/{roomId}", Rule::Any,
            "Where a SEND to a destination under `/app` is published instead, `{field}` filled from its JSON body.",
            "`validation_failed`";
    }
    "Queues" {
        queue_length "QUEUE_LENGTH" []: u32 = "10000", Rule::Between("1", "10000000"),
            "Messages in a queue for which `x-max-length` is not given, and the largest that may be given.", "`limit_exceeded`";
        queue_bytes "QUEUE_BYTES" []: Size = "64MiB", Rule::Between("64KiB", "64GiB"),
            "Bytes in one queue; four times as much in all that this node sends to, but on a node alone at most a quarter of `MEMORY_LIMIT`, with shares for users and networks.", "`limit_exceeded`";
        queue_expires "QUEUE_EXPIRES" []: Duration = "24h", Rule::Between("1s", "30d"),
            "How long a queue is kept without a consumer and without use if `x-expires` is not given, and the longest that may be given.", "removed with what is in it";
        queue_visitor_expires "QUEUE_VISITOR_EXPIRES" []: Duration = "5m", Rule::Between("1s", "30d"),
            "The same for a queue that only visitors have used; an empty queue of members and bots for which nothing was given is removed after it, too.", "removed with what is in it";
        queues_per_node "QUEUES_PER_NODE" []: u32 = "1000", Rule::Between("1", "100000"),
            "Queues that this node uses at a time; users and networks have shares of what is free.", "`limit_exceeded`";
        queue_consumers "QUEUE_CONSUMERS" []: u32 = "2000", Rule::Between("1", "2000"),
            "Subscriptions to queues on this node, with shares for users and networks; RabbitMQ has room for no more on one connection.", "`limit_exceeded`";
    }
    "Other ways in" {
        stomp_tcp_port "STOMP_TCP_PORT" []: u16 = "0", Rule::Between("0", "65535"),
            "The port for STOMP over TCP, at `SERVER_HOST`; 0 is off.", "";
        tls_cert "TLS_CERT" []: Option<PathBuf> = "", Rule::Any,
            "A PEM file with the certificates of this server, its own first: with it and `TLS_KEY` every listener speaks TLS. Read again on SIGHUP.", "";
        tls_key "TLS_KEY" []: Option<PathBuf> = "", Rule::Any,
            "A PEM file with the private key of `TLS_CERT`.", "";
        proxy_protocol "PROXY_PROTOCOL" []: ProxyProtocol = "off", Rule::Any,
            "Whether `TRUSTED_PROXIES` begin a connection with the PROXY protocol (version 1 or 2), on every listener; of others it is never believed.", "closed";
        ws_frame "WS_FRAME" []: WsFrame = "auto", Rule::Any,
            "Whether a frame goes out as a text or as a binary message of WebSocket; `?frame=` in the URL wins.", "";
    }
    "SockJS" {
        sockjs_heartbeat "SOCKJS_HEARTBEAT" []: Duration = "25s", Rule::Between("1s", "10m"),
            "How often SockJS says `h` while STOMP does not beat.", "";
        sockjs_disconnect "SOCKJS_DISCONNECT" []: Duration = "5s", Rule::Between("100ms", "5m"),
            "How long a SockJS session may be without a request that receives.", "the session ends";
        sockjs_response_bytes "SOCKJS_RESPONSE_BYTES" []: Size = "128KiB", Rule::Between("4KiB", "16MiB"),
            "The octets of one streamed answer; the client asks for the next.", "the answer ends";
        sockjs_client_url "SOCKJS_CLIENT_URL" []: ScriptUrl = "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js", Rule::Any,
            "The client's script, which the page of the iframe loads.", "";
        sockjs_cookie_needed "SOCKJS_COOKIE_NEEDED" []: bool = "false", Rule::Any,
            "Whether a balancer knows SockJS sessions by the cookie `JSESSIONID`, which is then set.", "";
    }
}
