//! What is valid: the settings together, and what the rooms are made with.
//!
//! Not here: reading (`layers`, `settings`). Invariant: a [`Config`] holds no combination that the
//! node would have to refuse later.

use std::path::PathBuf;
use std::sync::Arc;

use super::layers::{Layers, Sources};
use super::mistake::{Mistake, Source};
use super::secret::Endpoint;
use super::settings::{Settings, TABLE};
use super::words::{AppEnv, ProxyProtocol, QueueMode};
use crate::app::{FEATURES, Relays};
use crate::hub::OutboxLimits;
use crate::model::Prefixes;
use crate::policy::Rules;
use crate::session::{SessionConfig, TransactionLimits};
use crate::stomp::{Limits, Version};

/// Where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file of this node alone.
    Sqlite(PathBuf),
    /// A server that several nodes share.
    Postgres(Endpoint),
}

/// How this node meets others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: the embedded engines.
    Alone,
    /// Through these.
    Cluster {
        /// Where users are found.
        redis: Endpoint,
        /// Through which messages travel.
        rabbitmq: Endpoint,
    },
}

/// A configuration with which a node can start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every setting.
    pub settings: Settings,
    /// Where messages are kept.
    pub database: Database,
    /// How this node meets others.
    pub mode: Mode,
    /// The limits of the STOMP decoder.
    pub frame_limits: Limits,
    /// How destinations are written.
    pub prefixes: Arc<Prefixes>,
    /// Who may use which open destination.
    pub rules: Rules,
    /// What is published elsewhere than it was sent to.
    pub relays: Relays,
    layers: Layers,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first mistake.
    pub fn load(sources: &Sources) -> Result<Self, Mistake> {
        let layers = Layers::gather(sources)?;
        let settings = Settings::read(&layers)?;
        let database = database(&settings, &layers)?;
        let mode = mode(&settings, &layers, &database)?;
        check_together(&settings, &layers)?;
        let frame_limits = frame_limits(&settings, &layers)?;
        let prefixes = prefixes(&settings, &layers)?;
        let rules = rules(&settings, &layers)?;
        let relays = relays(&settings, &layers, &prefixes)?;
        Ok(Self {
            settings,
            database,
            mode,
            frame_limits,
            prefixes: Arc::new(prefixes),
            rules,
            relays,
            layers,
        })
    }

    /// Where the value of a setting came from.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        self.layers.source(name)
    }

    /// The file that was read, if there was one.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        self.layers.file.as_ref()
    }

    /// What a session is made with, for the version that the subprotocol named.
    #[must_use]
    pub fn session(&self, subprotocol: Option<Version>) -> SessionConfig {
        let settings = &self.settings;
        SessionConfig {
            limits: self.frame_limits,
            connect_timeout: settings.connect_timeout,
            partial_frame_timeout: settings.partial_frame_timeout,
            subscriptions_max: settings.max_subscriptions as usize,
            beat_out: settings.heart_beat.beat_out,
            beat_in: settings.heart_beat.beat_in,
            idle_timeout: settings.idle_timeout,
            prefixes: Arc::clone(&self.prefixes),
            prefetch_default: settings.prefetch_default,
            prefetch_max: settings.prefetch_max,
            transactions: TransactionLimits {
                open_max: settings.max_transactions as usize,
                frames_max: settings.transaction_frames as usize,
                bytes_max: settings.transaction_bytes.0,
                idle: settings.transaction_idle,
            },
            subprotocol,
        }
    }

    /// The limits of a session's outbox.
    #[must_use]
    pub fn outbox_limits(&self) -> OutboxLimits {
        OutboxLimits {
            frames_max: self.settings.outbox_frames as usize,
            bytes_max: self.settings.outbox_bytes.0,
        }
    }

    /// The settings in the order of the table: name, value (secrets hidden), where it came from.
    #[must_use]
    pub fn shown(&self) -> Vec<(&'static str, String, Source)> {
        let values = self.settings.shown();
        let rows = TABLE.iter().zip(values);
        rows.map(|(row, value)| (row.name, value, self.source(row.name)))
            .collect()
    }
}

fn database(settings: &Settings, layers: &Layers) -> Result<Database, Mistake> {
    let Some(endpoint) = &settings.database_url else {
        return Ok(Database::Sqlite(settings.data_dir.join("stompbox.db")));
    };
    let Some(path) = endpoint.reveal().strip_prefix("sqlite://") else {
        return Ok(Database::Postgres(endpoint.clone()));
    };
    if path.contains(['?', '#']) || path == ":memory:" {
        return Err(Mistake::Combination {
            setting: "DATABASE_URL",
            origin: layers.source("DATABASE_URL"),
            problem: "sqlite:// is followed by the path of a file and nothing else".to_owned(),
        });
    }
    Ok(Database::Sqlite(PathBuf::from(path)))
}

fn mode(settings: &Settings, layers: &Layers, database: &Database) -> Result<Mode, Mistake> {
    let refuse = |setting: &'static str, problem: &str| {
        Err(Mistake::Combination {
            setting,
            origin: layers.source(setting),
            problem: problem.to_owned(),
        })
    };
    let (redis, rabbitmq) = match (&settings.redis_url, &settings.rabbitmq_url) {
        (None, None) => return Ok(Mode::Alone),
        (Some(redis), Some(rabbitmq)) => (redis.clone(), rabbitmq.clone()),
        (Some(_), None) => {
            return refuse(
                "REDIS_URL",
                "RABBITMQ_URL is missing: Redis tells on which node a user is, RabbitMQ carries \
                 the message there, and one without the other would lose messages; set both, or \
                 neither for a single node",
            );
        }
        (None, Some(_)) => {
            return refuse(
                "RABBITMQ_URL",
                "REDIS_URL is missing: RabbitMQ carries messages between nodes, Redis tells to \
                 which one, and one without the other would lose messages; set both, or neither \
                 for a single node",
            );
        }
    };
    if let Database::Sqlite(_) = database {
        return refuse(
            "DATABASE_URL",
            "several nodes (REDIS_URL and RABBITMQ_URL are set) share one store, and a SQLite \
             file is for one process; allowed: postgres://...",
        );
    }
    if settings.jwt_secret.is_none() {
        return refuse(
            "JWT_SECRET",
            "several nodes (REDIS_URL and RABBITMQ_URL are set) need the same secret, so it must \
             be set; allowed: at least 32 characters, such as `openssl rand -base64 32` gives",
        );
    }
    Ok(Mode::Cluster { redis, rabbitmq })
}

fn check_together(settings: &Settings, layers: &Layers) -> Result<(), Mistake> {
    let refuse = |setting: &'static str, problem: &str| {
        Err(Mistake::Combination {
            setting,
            origin: layers.source(setting),
            problem: problem.to_owned(),
        })
    };
    if settings.app_env == AppEnv::Production && settings.cors_origins.any() {
        return refuse(
            "CORS_ORIGINS",
            "* lets every page on the web speak for its visitors, so it is refused with \
             APP_ENV=production; allowed: exact origins such as https://example.com",
        );
    }
    if settings.max_header_bytes > settings.max_head_bytes {
        return refuse(
            "MAX_HEADER_BYTES",
            "one header cannot be larger than MAX_HEAD_BYTES",
        );
    }
    if settings.max_head_bytes_unauthenticated > settings.max_head_bytes {
        return refuse(
            "MAX_HEAD_BYTES_UNAUTHENTICATED",
            "it cannot be larger than MAX_HEAD_BYTES",
        );
    }
    if settings.message_bytes > settings.max_frame_bytes {
        return refuse(
            "MESSAGE_BYTES",
            "a message cannot be larger than MAX_FRAME_BYTES",
        );
    }
    let (cert, key) = (settings.tls_cert.is_some(), settings.tls_key.is_some());
    if cert != key {
        let (given, missing) = match cert {
            true => ("TLS_CERT", "TLS_KEY is missing: TLS needs both, or neither"),
            false => ("TLS_KEY", "TLS_CERT is missing: TLS needs both, or neither"),
        };
        return refuse(given, missing);
    }
    if settings.stomp_tcp_port != 0 && settings.stomp_tcp_port == settings.server_port {
        return refuse("STOMP_TCP_PORT", "it cannot be the same as SERVER_PORT");
    }
    if settings.proxy_protocol != ProxyProtocol::Off && settings.trusted_proxies.0.is_empty() {
        return refuse(
            "PROXY_PROTOCOL",
            "TRUSTED_PROXIES is empty, so nobody would be believed; name the proxies there",
        );
    }
    let believed = &settings.trusted_proxies.0;
    if believed.iter().any(|network| network.prefix_len() == 0) {
        return refuse(
            "TRUSTED_PROXIES",
            "every client would be believed and could choose its address, so no limit would hold; name the \
             networks of the proxies",
        );
    }
    if settings.gatrix_api_url.is_some() != settings.gatrix_api_secret.is_some() {
        return refuse(
            "GATRIX_API_URL",
            "it is asked with GATRIX_API_SECRET; set both, or neither",
        );
    }
    if settings.prefetch_default > settings.prefetch_max {
        return refuse("PREFETCH_DEFAULT", "it cannot be larger than PREFETCH_MAX");
    }
    Ok(())
}

/// The prefixes, each of which must name what it seems to name.
fn prefixes(settings: &Settings, layers: &Layers) -> Result<Prefixes, Mistake> {
    let prefixes = Prefixes {
        app: settings.prefix_app.0.clone(),
        topic: settings.prefix_topic.0.clone(),
        queue: settings.prefix_queue.0.clone(),
        user: settings.prefix_user.0.clone(),
        queue_fans_out: settings.queue_mode == QueueMode::FanOut,
    };
    let Err(overlap) = prefixes.check() else {
        return Ok(prefixes);
    };
    let setting = match overlap.family {
        "app" => "PREFIX_APP",
        "topic" => "PREFIX_TOPIC",
        "queue" => "PREFIX_QUEUE",
        _ => "PREFIX_USER",
    };
    Err(Mistake::Combination {
        setting,
        origin: layers.source(setting),
        problem: overlap.to_string(),
    })
}

fn rules(settings: &Settings, layers: &Layers) -> Result<Rules, Mistake> {
    Rules::parse(&settings.destination_rules.0).map_err(|error| Mistake::Combination {
        setting: "DESTINATION_RULES",
        origin: layers.source("DESTINATION_RULES"),
        problem: error.to_string(),
    })
}

fn relays(settings: &Settings, layers: &Layers, prefixes: &Prefixes) -> Result<Relays, Mistake> {
    let relays = Relays::parse(&settings.app_relays.0, prefixes, FEATURES);
    relays.map_err(|error| Mistake::Combination {
        setting: "APP_RELAYS",
        origin: layers.source("APP_RELAYS"),
        problem: error.to_string(),
    })
}

/// The limits of a frame, which check themselves: what one setting allows another may not.
fn frame_limits(settings: &Settings, layers: &Layers) -> Result<Limits, Mistake> {
    let limits = Limits::new(
        settings.max_frame_bytes.0,
        settings.max_headers as usize,
        settings.max_header_bytes.0,
        settings.max_head_bytes.0,
        settings.max_head_bytes_unauthenticated.0,
    );
    limits.map_err(|error| Mistake::Combination {
        setting: "MAX_HEAD_BYTES",
        origin: layers.source("MAX_HEAD_BYTES"),
        problem: error.to_string(),
    })
}
