//! The services that SockJS conformance suites and the demonstrations of the client ask for.
//!
//! ```text
//! cargo run --example sockjs_services 8081
//! ```
//!
//! | path | what it does |
//! |---|---|
//! | `/echo` | says what it hears; streamed answers end after 4,096 octets |
//! | `/disabled_websocket_echo` | the same without WebSocket |
//! | `/cookie_needed_echo` | the same with the cookie `JSESSIONID` |
//! | `/close` | closes every session at once: 3000, `Go away!` |
//! | `/ticker` | says `tick!` every second |
//! | `/amplify` | hears a number n up to 19, says 2^n times `x` |
//! | `/broadcast` | says to everybody what anybody says |

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use stompbox::edge::sockjs::{Channel, Service, SockJsSettings, serve};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What waits for somebody who reads slowly, in messages; of more he misses the oldest.
const BROADCAST_WAITING_MAX: usize = 1_024;

/// The largest exponent of `/amplify`.
const EXPONENT_MAX: u32 = 19;

#[tokio::main]
async fn main() -> ExitCode {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let Some(port) = port else {
        eprintln!("the port is missing: cargo run --example sockjs_services 8081");
        return ExitCode::FAILURE;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let tcp = match TcpListener::bind(address).await {
        Ok(tcp) => tcp,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tracker = TaskTracker::new();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tracker.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    eprintln!("listening on http://{address}");
    serve(tcp, services(), tracker, shutdown).await;
    ExitCode::SUCCESS
}

/// All of them. Conformance suites expect this limit of a streamed answer.
pub(crate) fn services() -> Vec<Service> {
    let usual = SockJsSettings {
        response_bytes_max: 4_096,
        ..SockJsSettings::default()
    };
    let without_websocket = SockJsSettings {
        websocket: false,
        ..usual.clone()
    };
    let with_cookie = SockJsSettings {
        cookie_needed: true,
        ..usual.clone()
    };
    let (everybody, _) = broadcast::channel(BROADCAST_WAITING_MAX);
    vec![
        Service::new("/echo", usual.clone(), echo),
        Service::new("/disabled_websocket_echo", without_websocket, echo),
        Service::new("/cookie_needed_echo", with_cookie, echo),
        Service::new("/close", usual.clone(), async |channel: Channel| {
            channel.close(3000, "Go away!").await;
        }),
        Service::new("/ticker", usual.clone(), tick),
        Service::new("/amplify", usual.clone(), amplify),
        Service::new("/broadcast", usual, move |channel| {
            tell_everybody(channel, everybody.clone())
        }),
    ]
}

async fn echo(mut channel: Channel) {
    while let Some(message) = channel.receive().await {
        if !channel.send(&message).await {
            return;
        }
    }
}

async fn tick(mut channel: Channel) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        let goes_on = tokio::select! {
            heard = channel.receive() => heard.is_some(),
            _ = second.tick() => channel.send("tick!").await,
        };
        if !goes_on {
            return;
        }
    }
}

async fn amplify(mut channel: Channel) {
    while let Some(message) = channel.receive().await {
        let exponent = message.trim().parse().unwrap_or(1);
        let exponent = if exponent > EXPONENT_MAX { 1 } else { exponent };
        if !channel.send(&"x".repeat(1 << exponent)).await {
            return;
        }
    }
}

async fn tell_everybody(mut channel: Channel, everybody: broadcast::Sender<String>) {
    let mut said = everybody.subscribe();
    loop {
        let goes_on = tokio::select! {
            heard = channel.receive() => match heard {
                // There is at least this session to hear it.
                Some(message) => everybody.send(message).is_ok(),
                None => false,
            },
            said = said.recv() => match said {
                Ok(message) => channel.send(&message).await,
                Err(broadcast::error::RecvError::Lagged(_)) => true,
                Err(broadcast::error::RecvError::Closed) => false,
            },
        };
        if !goes_on {
            return;
        }
    }
}
