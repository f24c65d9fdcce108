//! The cases of a whole server, with real clients.
//!
//! Not here: the small steps (`cases`). Invariants: handshakes, first messages and the end are in no
//! count; clients stay until it is taken.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::bare;
use crate::counted::{Counted, Program};
use crate::support::Outcome;
use crate::support::client::{Client, put_text};

/// How many clients hear each message.
const SUBSCRIBERS: usize = 50;
/// How many connections are idle.
const IDLERS: usize = 100;
/// How many messages are on their way at full speed.
const BATCH: u32 = 64;
/// How many clients connect at the same time.
const AT_ONCE: usize = 8;
/// How many requests come before what is counted: the first ones make things ready.
const WARM_UP: u32 = 20;

const TOPIC: &str = "/topic/crowd";
/// 128 octets.
const BODY: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    /// A message to many, after the one before has arrived everywhere.
    OneByOne,
    /// Messages to many, a batch in one write.
    FullSpeed,
    /// A stored direct message, to oneself, with its receipt.
    Stored,
    /// A visitor who connects and subscribes.
    Arrival,
    /// Connections that do nothing but beat.
    Idle,
}

impl Case {
    pub(crate) const ALL: [Self; 5] = [
        Self::OneByOne,
        Self::FullSpeed,
        Self::Stored,
        Self::Arrival,
        Self::Idle,
    ];

    /// What the gate calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneByOne => "server/delivery_one_by_one",
            Self::FullSpeed => "server/delivery_at_full_speed",
            Self::Stored => "server/stored_message",
            Self::Arrival => "server/arrival",
            Self::Idle => "server/idle_connection_second",
        }
    }

    /// What a table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OneByOne => "a delivery, one message at a time",
            Self::FullSpeed => "a delivery at full speed",
            Self::Stored => "a stored message with its receipt",
            Self::Arrival => "CONNECT and SUBSCRIBE of a visitor",
            Self::Idle => "an idle connection, a second",
        }
    }

    /// How long it is counted: messages, arrivals or seconds.
    fn length(self) -> u32 {
        match self {
            Self::OneByOne | Self::Stored | Self::Arrival => 150,
            Self::FullSpeed => 24 * BATCH,
            Self::Idle => 20,
        }
    }

    /// How many of what is counted one step brings.
    fn per_step(self) -> usize {
        match self {
            Self::OneByOne | Self::FullSpeed => SUBSCRIBERS,
            Self::Stored | Self::Arrival => 1,
            Self::Idle => IDLERS,
        }
    }

    /// Whether the bare server can do it.
    pub(crate) fn is_bare_too(self) -> bool {
        matches!(self, Self::OneByOne | Self::FullSpeed)
    }

    /// Counts it once: instructions per delivery, request, arrival or second.
    pub(crate) async fn count(self, program: &Program) -> Outcome<f64> {
        let counted = Counted::start(program)?;
        let (server, steps) = (&counted, self.length());
        let is_bare = matches!(program, Program::Bare);
        let clients = match self {
            Self::OneByOne => fan_out(server, is_bare, steps, 1).await?,
            Self::FullSpeed => fan_out(server, is_bare, steps, BATCH).await?,
            Self::Stored => stored(server, steps).await?,
            Self::Arrival => arrivals(server, steps).await?,
            Self::Idle => idle(server, steps).await?,
        };
        let instructions = counted.end(self.name())?;
        drop(clients);
        Ok(instructions / f64::from(steps) / self.per_step() as f64)
    }
}

async fn fan_out(
    counted: &Counted,
    is_bare: bool,
    messages: u32,
    at_once: u32,
) -> Outcome<Vec<Client>> {
    let address = counted.server.address;
    let connect = |_| async move {
        match is_bare {
            true => bare::client(address, true).await,
            false => Client::stomp(address, "0,0", Some(TOPIC)).await,
        }
    };
    let connecting = stream::iter(0..SUBSCRIBERS).map(connect);
    let mut clients: Vec<Client> = connecting.buffered(AT_ONCE).try_collect().await?;
    let mut publisher = match is_bare {
        true => bare::client(address, false).await?,
        false => Client::stomp(address, "0,0", None).await?,
    };
    let send = format!("SEND\ndestination:{TOPIC}\ncontent-length:128\n\n{BODY}\0");
    let mut octets = Vec::new();
    for _ in 0..at_once {
        put_text(&mut octets, send.as_bytes());
    }
    let beginning = if is_bare { "SEND\n" } else { "MESSAGE\n" };
    for round in 0..=messages / at_once {
        if round == 1 {
            counted.begin()?;
        }
        publisher.writer.write_all(&octets).await?;
        for client in &mut clients {
            for _ in 0..at_once {
                client.expect(beginning).await?;
            }
        }
    }
    clients.push(publisher);
    Ok(clients)
}

async fn stored(counted: &Counted, messages: u32) -> Outcome<Vec<Client>> {
    let mut client = Client::stomp(counted.server.address, "0,0", None).await?;
    let to = client.user_name.clone();
    for number in 0..WARM_UP + messages {
        if number == WARM_UP {
            counted.begin()?;
        }
        let body = json!({ "to": to, "message": BODY }).to_string();
        let send = format!("SEND\ndestination:/app/chat.send\nreceipt:{number}\n\n{body}\0");
        client.send(send.as_bytes()).await?;
        client.expect("RECEIPT\n").await?;
    }
    Ok(vec![client])
}

async fn arrivals(counted: &Counted, count: u32) -> Outcome<Vec<Client>> {
    let address = counted.server.address;
    let mut clients = Vec::new();
    for number in 0..WARM_UP + count {
        if number == WARM_UP {
            counted.begin()?;
        }
        let destination = Some("/user/queue/messages");
        clients.push(Client::stomp(address, "10000,10000", destination).await?);
    }
    Ok(clients)
}

async fn idle(counted: &Counted, seconds: u32) -> Outcome<Vec<Client>> {
    let address = counted.server.address;
    let connect = |_| async move { Client::stomp(address, "0,5000", Some(TOPIC)).await };
    let connecting = stream::iter(0..IDLERS).map(connect);
    let clients = connecting.buffered(AT_ONCE).try_collect().await?;
    counted.begin()?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    Ok(clients)
}
