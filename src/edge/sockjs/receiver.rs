//! The answer to a request that receives: frames of a session as the body of HTTP.
//!
//! Not here: which frames there are (`session`). Invariant: each frame is a chunk of its own; an
//! answer that is cut off before its last frame ends the session.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use super::session::HttpSession;
use crate::sockjs::Framing;

/// One receiving request.
#[derive(Debug)]
struct Receiver {
    session: Arc<HttpSession>,
    framing: Framing,
    prelude: Option<Bytes>,
    /// The octets of the answer, without the prelude.
    sent: usize,
    is_done: bool,
}

impl Receiver {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(prelude) = self.prelude.take() {
            return Some(prelude);
        }
        if self.is_done {
            return None;
        }
        let (octets, is_last) = self.session.take(&self.framing, &mut self.sent).await;
        self.is_done = is_last;
        Some(octets)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.is_done {
            self.session.interrupted();
        }
    }
}

/// The body of a request that receives from a session, which it is attached to.
pub(super) fn of_session(session: Arc<HttpSession>, framing: Framing) -> Body {
    let receiver = Receiver {
        session,
        prelude: framing.prelude().map(Bytes::from),
        framing,
        sent: 0,
        is_done: false,
    };
    Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let octets = receiver.next().await?;
        Some((Ok::<_, Infallible>(octets), receiver))
    }))
}

/// The body of a request that gets one frame, which is no session's.
pub(super) fn of_frame(frame: &str, framing: &Framing) -> Body {
    let frames = framing.prelude().into_iter().chain([framing.wrap(frame)]);
    let frames = frames.map(|frame| Ok::<_, Infallible>(Bytes::from(frame)));
    Body::from_stream(stream::iter(frames))
}
