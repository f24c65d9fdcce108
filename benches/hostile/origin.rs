//! Where attackers come from: one address, or 50 addresses of one IPv6 /48.
//!
//! Not here: what they send. Invariant: an attacker never has the address of a neighbour or a newcomer.
//!
//! The 50 addresses come through a proxy that the node trusts, 127.0.0.1: each connection begins with a
//! head of the PROXY protocol, version 2. Everyone else comes from other addresses and sends no head.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::counted::{COUNTS, Socket};
use super::support::Outcome;

/// The proxy that the node trusts.
pub(crate) const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The address of all attackers, when they have one only.
const ALONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 66, 6));
/// How many addresses the attackers have otherwise.
const ADDRESSES: usize = 50;
/// What a connection of version 2 of the PROXY protocol begins with: the signature, then version and
/// command, then TCP over IPv6, then the length of what follows.
const HEAD: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24";
/// The length of the whole head.
pub(crate) const HEAD_BYTES: usize = 52;

/// Where an attack comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One IPv4 address.
    One,
    /// 50 addresses of one IPv6 /48, in ten networks of /56.
    Many,
}

impl Origin {
    /// Its word on the command line and in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
        }
    }

    /// So many sockets from one address, and two and a half times as many from 50 of them.
    pub(crate) fn sockets(self, from_one: usize) -> usize {
        match self {
            Self::One => from_one,
            Self::Many => (from_one * 5 / 2).max(ADDRESSES),
        }
    }

    /// The first number from one address, the second one from many.
    pub(crate) fn pick(self, [from_one, from_many]: [usize; 2]) -> usize {
        match self {
            Self::One => from_one,
            Self::Many => from_many,
        }
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "one" => Ok(Self::One),
            "many" => Ok(Self::Many),
            _ => Err(format!(
                "an attack comes from `one` or `many`, not {text:?}"
            )),
        }
    }
}

/// Where one attacker is, and whom they attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) target: SocketAddr,
    pub(crate) origin: Origin,
    /// Numbers the attackers.
    pub(crate) number: usize,
    /// Whether they prepare the attack: that may take hours, which is here made up for by an address for
    /// each of them.
    pub(crate) prepares: bool,
}

impl Place {
    /// A connection from the address of this attacker.
    pub(crate) async fn open(&self) -> Outcome<Socket> {
        self.open_with(None).await
    }

    /// A connection whose receive buffer has a size, so that what is not read soon waits at the node.
    pub(crate) async fn open_with(&self, receive_buffer: Option<u32>) -> Outcome<Socket> {
        let number = u16::try_from(self.number % ADDRESSES)?;
        let third = (number % 10) << 8 | number;
        self.open_from(third, receive_buffer).await
    }

    /// A connection from some /64 of one /56; from the one address when there is only one.
    pub(crate) async fn open_anywhere(&self) -> Outcome<Socket> {
        self.open_from(u16::from(rand::random::<u8>()), None).await
    }

    async fn open_from(&self, subnet: u16, receive_buffer: Option<u32>) -> Outcome<Socket> {
        COUNTS.attempts.add(1);
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let from = match self.origin {
            Origin::One if self.prepares => {
                let last = u8::try_from(100 + self.number % ADDRESSES)?;
                Ipv4Addr::new(127, 0, 66, last).into()
            }
            Origin::One => ALONE,
            Origin::Many => PROXY,
        };
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(self.target).await?;
        // A closed connection leaves no port behind that cannot be used for a minute.
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
        let mut stream = Socket::new(stream);
        if self.origin == Origin::Many {
            stream.write_all(&head(subnet)).await?;
        }
        Ok(stream)
    }
}

/// The head of a proxy that names a client in the network `2001:db8:bad:SUBNET::/64`.
fn head(subnet: u16) -> [u8; HEAD_BYTES] {
    let client = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, subnet, 0, 0, 0, 1);
    let server = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let ports = [0x9c, 0x40, 0x01, 0xbb];
    let mut head = [0; HEAD_BYTES];
    let parts = [&HEAD[..], &client.octets(), &server.octets(), &ports].concat();
    head.copy_from_slice(&parts);
    head
}
