//! The head of the PROXY protocol, versions 1 and 2, which a proxy puts before everything else.
//!
//! Not here: whose head is believed (`arrival` asks trusted proxies only). Source: "The PROXY
//! protocol", haproxy.org, sections 2.1 and 2.2. Invariant: exactly the head is taken from the
//! stream, and it is bounded; what does not begin as a head is left alone.

use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// A head of version 1 has at most so many octets, line end included.
const V1_BYTES_MAX: usize = 107;

/// A head of version 2 has so many before its addresses.
const V2_FIXED_BYTES: usize = 16;

/// More than any proxy puts into a head of version 2, with all that it may say beyond addresses.
const BYTES_MAX: usize = 1 << 10;

/// The wait between two looks at a head that has come in part. Proxies write it in one piece.
const PAUSE: Duration = Duration::from_millis(20);

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// No head.
    Absent,
    /// A head without a client: the proxy speaks for itself (its health check).
    Local,
    /// A head that names the client.
    Client(SocketAddr),
}

/// The head is none that may be sent, or the connection ended in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Takes the head from a stream. The caller bounds the time.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Head, Broken> {
    let mut octets = vec![0; BYTES_MAX];
    loop {
        // Looked at, not taken: what follows the head is for somebody else.
        let there = stream.peek(&mut octets).await.map_err(|_| Broken)?;
        if there == 0 {
            return Err(Broken);
        }
        match look(octets.get(..there).unwrap_or_default())? {
            Some((head, length)) => {
                let octets = octets.get_mut(..length).unwrap_or_default();
                stream.read_exact(octets).await.map_err(|_| Broken)?;
                return Ok(head);
            }
            None => sleep(PAUSE).await,
        }
    }
}

/// The head at the beginning of these octets and its length; `None` when more must come first.
fn look(octets: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    if let Some(is_whole) = begins(octets, v2::PROTOCOL_PREFIX) {
        return match is_whole {
            true => look_at_v2(octets),
            false => Ok(None),
        };
    }
    match begins(octets, b"PROXY ") {
        Some(true) => look_at_v1(octets),
        Some(false) => Ok(None),
        None => Ok(Some((Head::Absent, 0))),
    }
}

/// Whether the octets begin so: wholly, as far as they go, or not at all.
fn begins(octets: &[u8], prefix: &[u8]) -> Option<bool> {
    let common = octets.len().min(prefix.len());
    (octets.get(..common) == prefix.get(..common)).then_some(common == prefix.len())
}

fn look_at_v1(octets: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let line = octets.get(..octets.len().min(V1_BYTES_MAX));
    let line = line.unwrap_or_default();
    let Some(end) = memchr::memmem::find(line, b"\r\n") else {
        return match line.len() < V1_BYTES_MAX {
            true => Ok(None),
            false => Err(Broken),
        };
    };
    let length = end + 2;
    let line = line.get(..length).unwrap_or_default();
    let header = v1::Header::try_from(line).map_err(|_| Broken)?;
    let head = match header.addresses {
        v1::Addresses::Unknown => Head::Local,
        v1::Addresses::Tcp4(it) => Head::Client((it.source_address, it.source_port).into()),
        v1::Addresses::Tcp6(it) => Head::Client((it.source_address, it.source_port).into()),
    };
    Ok(Some((head, length)))
}

fn look_at_v2(octets: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let Some(&[high, low]) = octets.get(V2_FIXED_BYTES - 2..V2_FIXED_BYTES) else {
        return Ok(None);
    };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > BYTES_MAX {
        return Err(Broken);
    }
    let Some(octets) = octets.get(..length) else {
        return Ok(None);
    };
    let header = v2::Header::try_from(octets).map_err(|_| Broken)?;
    let head = match (header.command, header.addresses) {
        (v2::Command::Local, _) => Head::Local,
        (v2::Command::Proxy, v2::Addresses::IPv4(it)) => {
            Head::Client((it.source_address, it.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(it)) => {
            Head::Client((it.source_address, it.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Head::Local,
    };
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";

    fn client(text: &str) -> Head {
        Head::Client(text.parse().unwrap())
    }

    /// A head of version 2: command, family and transport, and what follows the fixed part.
    fn v2_head(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    fn v4(extra: &[u8]) -> Vec<u8> {
        let ports = [0x9c, 0x40, 0x01, 0xbb];
        [&[192, 0, 2, 7, 198, 51, 100, 1][..], &ports, extra].concat()
    }

    #[test]
    fn a_head_is_read_to_its_end_and_not_beyond() {
        let check = |head: &[u8], expected: Head| {
            let whole = [head, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(look(&whole), Ok(Some((expected, head.len()))), "{head:?}");
            for cut in 1..head.len() {
                assert_eq!(look(&head[..cut]), Ok(None), "{head:?} cut at {cut}");
            }
        };
        check(V1, client("192.0.2.7:40000"));
        check(
            b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n",
            client("[2001:db8::7]:40000"),
        );
        check(b"PROXY UNKNOWN\r\n", Head::Local);
        check(&v2_head(0x21, 0x11, &v4(&[])), client("192.0.2.7:40000"));
        let with_more = v4(&[0x04, 0x00, 0x02, 0xaa, 0xbb]);
        check(&v2_head(0x21, 0x11, &with_more), client("192.0.2.7:40000"));
        check(&v2_head(0x20, 0x00, &[]), Head::Local);
        check(&v2_head(0x20, 0x11, &v4(&[])), Head::Local);
        let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]; 2].concat();
        let v6 = [&v6[..], &[0x9c, 0x40, 0x01, 0xbb]].concat();
        check(&v2_head(0x21, 0x21, &v6), client("[2001:db8::7]:40000"));
    }

    #[test]
    fn the_longest_head_is_read_in_microseconds() {
        // As many fields beyond the addresses as a head may have, none of which says anything.
        let head = v2_head(0x21, 0x11, &v4(&[4, 0, 0].repeat(330)));
        assert!(head.len() > 1_000 && head.len() <= BYTES_MAX);
        let runs = (0..9).map(|_| {
            let began = std::time::Instant::now();
            assert!(std::hint::black_box(look(&head)).is_ok());
            began.elapsed()
        });
        assert!(runs.min().unwrap() < Duration::from_micros(100));
    }

    #[test]
    fn what_is_no_head_is_left_alone() {
        for octets in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST / HTTP/1.1\r\n",
            b"PROXYX",
            b"\n\n\nCONNECT\n",
            b"\r\n\r\nCONNECT\n",
            b"\x16\x03\x01",
        ] {
            assert_eq!(look(octets), Ok(Some((Head::Absent, 0))), "{octets:?}");
        }
    }

    #[test]
    fn a_broken_head_is_refused_as_soon_as_it_can_be() {
        let endless = [&b"PROXY "[..], &[b'x'; 200]].concat();
        let long = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat();
        for octets in [
            &endless[..],
            &long,
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 x y 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 99999\r\n",
            &v2_head(0x31, 0x11, &v4(&[])),
            &v2_head(0x21, 0x11, &[1, 2, 3]),
        ] {
            assert_eq!(look(octets), Err(Broken), "{octets:?}");
        }
    }
}
