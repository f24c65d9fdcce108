//! What the program says when it is ready.
//!
//! Not here: the log. This goes to stdout, for the person (or the test) who started it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use serde_json::json;

use super::config::{Config, Database, LogFormat, Mode};
use super::doors::Addresses;
use super::memory::Limit;
use crate::budget::Memory;
use crate::model::NodeId;

/// Prints the start-up block, in which the line that begins with `listening` has the address; with
/// `LOG_FORMAT=json` one JSON object instead.
pub(super) fn print(config: &Config, node: &NodeId, at: Addresses, connections_max: usize) {
    let text = match config.settings.log_format {
        LogFormat::Text => text(config, node, at, connections_max),
        LogFormat::Json => line(config, node, at, connections_max),
    };
    let mut out = std::io::stdout().lock();
    // Whoever closed stdout does not want to read it.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The same for machines: one JSON object.
fn line(config: &Config, node: &NodeId, at: Addresses, connections_max: usize) -> String {
    let (store, data) = store(config);
    let (redis, rabbitmq) = match &config.mode {
        Mode::Alone => (None, None),
        Mode::Cluster { redis, rabbitmq } => (Some(redis.to_string()), Some(rabbitmq.to_string())),
    };
    let object = json!({
        "event": "listening",
        "version": env!("CARGO_PKG_VERSION"),
        "node": node.as_str(),
        "address": at.http,
        "stomp_tcp": at.stomp,
        "tls": at.is_secure,
        "store": store,
        "data": data,
        "redis": redis,
        "rabbitmq": rabbitmq,
        "connections_max": connections_max,
        "memory_bytes_max": memory(config).bytes,
    });
    format!("{object}\n")
}

/// The store and where its data lies, without a password.
fn store(config: &Config) -> (&'static str, String) {
    match &config.database {
        Database::Sqlite(path) => ("SQLite", path.display().to_string()),
        Database::Postgres(url) => ("PostgreSQL", url.to_string()),
    }
}

/// How much memory clients may occupy.
fn memory(config: &Config) -> Limit {
    Limit::of(config.settings.memory_limit.0 as u64)
}

/// How many idle connections of visitors the memory is for; an eighth of it is in reserve.
fn visitors_in(limit: Limit) -> usize {
    usize::try_from((limit.bytes - limit.bytes / 8) / Memory::BASE_BYTES).unwrap_or(usize::MAX)
}

fn memory_words(limit: Limit) -> String {
    let mib = limit.bytes >> 20;
    match limit.system {
        None => format!("at most {mib} MiB for clients"),
        Some(system) => format!(
            "at most {mib} MiB for clients (not MEMORY_LIMIT: the system gives the process {} MiB)",
            system >> 20
        ),
    }
}

fn text(config: &Config, node: &NodeId, at: Addresses, connections_max: usize) -> String {
    let reach = |address: SocketAddr| SocketAddr::new(reachable(address.ip()), address.port());
    let (address, shown) = (at.http, reach(at.http));
    let s = if at.is_secure { "s" } else { "" };
    let (store, data) = store(config);
    let engines = match &config.mode {
        Mode::Alone => format!("{store}; a single node, nothing else needed"),
        Mode::Cluster { redis, rabbitmq } => {
            format!("{store}, Redis {redis}, RabbitMQ {rabbitmq}")
        }
    };
    let of_memory = visitors_in(memory(config));
    let mut text = format!(
        "\nStompbox {version}, node {node}\n\
         listening  {address}\n\
         engines    {engines}\n\
         data       {data}\n\
         clients    at most {connections_max}{why}\n\
         memory     {memory}\n\n\
         Open       http{s}://{shown}/\n\
         Connect    ws{s}://{shown}/ws-chat\n",
        version = env!("CARGO_PKG_VERSION"),
        connections_max = connections_max.min(of_memory),
        why = if of_memory < connections_max {
            format!(" (not {connections_max}: each takes 10 KiB; MEMORY_LIMIT raises it)")
        } else if connections_max < config.settings.ws_max_connections as usize {
            format!(
                " (not {}: the file limit; `ulimit -n` raises it)",
                config.settings.ws_max_connections
            )
        } else {
            String::new()
        },
        memory = memory_words(memory(config)),
    );
    if let Some(stomp) = at.stomp {
        let over = if at.is_secure { "TLS" } else { "TCP" };
        text.push_str(&format!("STOMP      {} over {over}\n", reach(stomp)));
    }
    if address.ip().is_loopback() && config.is_development() {
        text.push_str("Phones     start with --host 0.0.0.0 to let your network in\n");
    }
    text.push_str("End        Ctrl-C\n\n");
    text
}

/// An address that other machines can use: of a wildcard, the one of the way out.
fn reachable(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    // Nothing is sent: connecting a UDP socket only asks the kernel which address it would use.
    let outward = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        socket.local_addr().ok()
    };
    outward().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
