//! Reading away what a client still sends after we have said goodbye.
//!
//! A socket that is dropped with octets unread resets the connection, and takes the goodbye with
//! it. Invariant: whoever goes on writing is listened to up to a bound, and not beyond it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stream::Stream;

/// More than what may be on its way, and no more.
pub(super) const AWAY_BYTES_MAX: usize = 8 << 20;

/// What is read at once.
const PIECE_BYTES: usize = 2 << 10;

/// Says that nothing more comes from here, and reads to the end of what comes from there. The
/// caller bounds the time.
pub(super) async fn read_away(stream: &mut Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut nothing = vec![0; PIECE_BYTES];
    let mut away = 0;
    while away < AWAY_BYTES_MAX
        && let Ok(octets) = stream.read(&mut nothing).await
        && octets > 0
    {
        away += octets;
    }
}
