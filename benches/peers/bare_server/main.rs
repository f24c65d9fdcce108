//! The bare servers that `scripts/compare` measures beside Stompbox: what a fan-out costs when there is
//! nothing but the fan-out.
//!
//! `--design one-write` and `--design joined` have no broker logic at all: frames are written by hand,
//! straight into the sockets, one write per message or one per client for all messages of a read.
//! `--design ordinary` is what most would write over tokio-tungstenite: a task and a bounded queue per
//! client. All speak just enough STOMP for `stompbox bench`: CONNECT, SUBSCRIBE with a receipt, SEND.
//! No limits, no authentication, no metrics, no heart-beats, one subscription to a connection. Invariant:
//! what one client sends to a destination reaches, in order, everybody who subscribed to it before.

mod by_hand;
mod frames;
mod ordinary;

use std::io::Write as _;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

/// The broker's allocator, for these too: what differs is the work, not the tools.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that goes wrong ends a connection, or the server, with its words.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let design = match words.as_slice() {
        [flag, design] if flag == "--design" => design.as_str(),
        _ => return Err("bare_server --design one-write|joined|ordinary".into()),
    };
    // What could not be raised shows at the first socket too many.
    let _as_far_as_it_goes = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut out = std::io::stdout();
        writeln!(out, "listening  {}", listener.local_addr()?)?;
        out.flush()?;
        match design {
            "one-write" => by_hand::serve(listener, false).await,
            "joined" => by_hand::serve(listener, true).await,
            "ordinary" => ordinary::serve(listener).await,
            other => Err(format!("there is no design {other}").into()),
        }
    })
}
