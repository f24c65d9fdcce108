//! The settings as the rooms want them: one record for each.
//!
//! Not here: reading and checking (`config`). Invariant: every setting that a room obeys passes
//! through here, under the room's own name for it.

use std::sync::Arc;

use serde_json::json;

use super::config::{AppEnv, Config, LogIp, Mode, ProxyProtocol, Recognition, WsFrame};
use super::files::Files;
use super::memory::Limit;
use crate::app::{AppSettings, PoolSizes, Pools, StoreSizes, Stored};
use crate::budget::{Memory, MemorySettings, Multiples};
use crate::bus::queue::QueueSettings;
use crate::edge::sockjs::SockJsSettings;
use crate::edge::{AddressLog, EdgeSettings, MessageKind, ProxyHead};
use crate::identity::{Recognition as Recognise, VisitorSettings};
use crate::model::UnixMillis;
use crate::policy::bucket::Rate;

/// Messages in the queues of a node that is alone have at most this part of its memory.
const QUEUE_MEMORY_PART: u64 = 4;

impl Config {
    pub(super) fn app(&self) -> AppSettings {
        let settings = &self.settings;
        let is_strict = settings.rate_strict_windows;
        let rate = |per_min: u32, burst: u32| match is_strict {
            true => Rate::within_a_minute(per_min, burst),
            false => Rate::on_average(per_min, burst),
        };
        AppSettings {
            message_chars_max: settings.message_chars as usize,
            message_bytes_max: settings.message_bytes.0,
            rate_visitor: rate(settings.rate_anon_per_min, settings.rate_burst),
            rate_member: rate(settings.rate_auth_per_min, settings.rate_burst),
            rate_network: rate(settings.rate_net_per_min, settings.rate_net_burst),
            rate_connect: rate(settings.connect_per_net, settings.connect_burst),
            rate_frames: Rate {
                capacity: settings.client_frames_per_10s,
                per_10_min: settings.client_frames_per_10s.saturating_mul(60),
            },
            sessions_visitor_max: settings.sessions_visitor as usize,
            sessions_member_max: settings.sessions_member as usize,
            session_patterns_max: settings.max_patterns as usize,
            session_consumers_max: settings.max_queue_consumers as usize,
            outbox: self.outbox_limits(),
            visitor_history: settings.anon_history_ttl,
            limits_json: self.limits_json(),
            prefixes: Arc::clone(&self.prefixes),
            rules: self.rules.clone(),
            relays: self.relays.clone(),
            memory: Memory::new(MemorySettings {
                bytes_max: self.memory_bytes_max(),
            }),
            multiples: self.multiples(),
            pools: Pools::new(PoolSizes {
                consumers: settings.queue_consumers.into(),
                patterns: settings.patterns_max.into(),
                subscriptions: settings.subscriptions_per_node.into(),
            }),
            stored: Stored::new(StoreSizes {
                visitors: settings.visitor_store_bytes.0 as u64,
                visitors_keep: settings.anon_history_ttl,
                rows_keep: settings.anon_identity_ttl,
                members: settings.member_store_bytes.0 as u64,
            }),
        }
    }

    /// How large the byte account is; zero for no limit.
    fn memory_bytes_max(&self) -> u64 {
        Limit::of(self.settings.memory_limit.0 as u64).bytes
    }

    /// Networks with larger limits than others.
    fn multiples(&self) -> Arc<Multiples> {
        Arc::new(Multiples::new(self.settings.network_limits.0.clone()))
    }

    /// What a client needs to know of the limits, for CONNECTED.
    fn limits_json(&self) -> String {
        let settings = &self.settings;
        json!({
            "max_frame_bytes": settings.max_frame_bytes.0,
            "max_subscriptions": settings.max_subscriptions,
            "message_chars": settings.message_chars,
            "message_bytes": settings.message_bytes.0,
            "rate_anon_per_min": settings.rate_anon_per_min,
            "rate_auth_per_min": settings.rate_auth_per_min,
            "rate_burst": settings.rate_burst,
        })
        .to_string()
    }

    pub(super) fn queues(&self) -> QueueSettings {
        let settings = &self.settings;
        QueueSettings {
            queues_max: settings.queues_per_node as usize,
            consumers_max: settings.queue_consumers as usize,
            length_max: settings.queue_length,
            bytes_max: u64::try_from(settings.queue_bytes.0).unwrap_or(u64::MAX),
            bytes_together_max: match (&self.mode, self.memory_bytes_max()) {
                // The queues are in this process.
                (Mode::Alone, 1..) => self.memory_bytes_max() / QUEUE_MEMORY_PART,
                (Mode::Alone, 0) | (Mode::Cluster { .. }, _) => u64::MAX,
            },
            expires: settings.queue_expires,
            visitor_expires: settings.queue_visitor_expires,
        }
    }

    pub(super) fn visitors(&self) -> VisitorSettings {
        let settings = &self.settings;
        VisitorSettings {
            mode: match settings.anon_recognition {
                Recognition::Hint => Recognise::Hint,
                Recognition::Token => Recognise::Token,
            },
            enabled: settings.anon_enabled,
            token_ttl: settings.anon_token_ttl,
            hint_ttl: settings.anon_hint_ttl,
            per_network: settings.visitors_per_network,
            multiples: self.multiples(),
            returning_until: UnixMillis::default(),
        }
    }

    pub(super) fn edge(&self, files: &Files) -> EdgeSettings {
        let settings = &self.settings;
        // A client beats at least as often as it was asked to, and may be early.
        let asked = settings.heart_beat.beat_in.as_millis();
        let beats = 20_000_u128.checked_div(asked).unwrap_or(0);
        let beats = u32::try_from(beats).unwrap_or(u32::MAX);
        EdgeSettings {
            websocket_paths: settings
                .endpoints
                .0
                .iter()
                .map(ToString::to_string)
                .collect(),
            origins: settings.cors_origins.0.clone(),
            allow_no_origin: settings.allow_no_origin,
            log_address: match settings.log_ip {
                LogIp::Truncated => AddressLog::Truncated,
                LogIp::Full => AddressLog::Full,
                LogIp::None => AddressLog::Nothing,
            },
            trusted_proxies: settings.trusted_proxies.0.clone(),
            proxy_head: match settings.proxy_protocol {
                ProxyProtocol::Off => ProxyHead::Off,
                ProxyProtocol::Accept => ProxyHead::Accept,
                ProxyProtocol::Require => ProxyHead::Require,
            },
            message_kind: match settings.ws_frame {
                WsFrame::Auto => MessageKind::Auto,
                WsFrame::Text => MessageKind::Text,
                WsFrame::Binary => MessageKind::Binary,
            },
            connections_max: files.connections_max,
            other_sockets_max: files.other_sockets_max,
            refusals_max: files.refusals_max,
            connection_rate: settings.connection_rate,
            connection_burst: settings.connection_burst,
            connections_per_net: settings.connections_per_net,
            idle_messages_per_10_s: settings.client_frames_per_10s.saturating_add(beats),
            http_per_min: settings.http_per_min,
            http_per_net: settings.http_per_net,
            http_auth_per_min: settings.http_auth_per_min,
            http_auth_per_net: settings.http_auth_per_net,
            csrf_enabled: settings.csrf_enabled,
            outbox_stall: settings.outbox_stall,
            // Half of the time for the closes; the other half for everything after them.
            drain_spread_max: settings.shutdown_timeout / 2,
            sockjs: SockJsSettings {
                heartbeat: settings.sockjs_heartbeat,
                disconnect_after: settings.sockjs_disconnect,
                response_bytes_max: settings.sockjs_response_bytes.0,
                client_url: settings.sockjs_client_url.0.clone(),
                cookie_needed: settings.sockjs_cookie_needed,
                ..SockJsSettings::default()
            },
            ..EdgeSettings::new(self.session(None))
        }
    }

    /// Whether the node is for people to try out rather than to rely on.
    pub(super) fn is_development(&self) -> bool {
        self.settings.app_env == AppEnv::Development
    }
}
