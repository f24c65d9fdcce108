//! The promise that the app hears of the end of every session that it has attached.
//!
//! Invariant: `App::disconnect` is called for a session that was set here, whether its task ends,
//! is cancelled or panics.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Edge;
use crate::app::Live;

/// Holds a session for as long as the app knows it.
#[derive(Debug)]
pub(super) struct Attached {
    edge: Arc<Edge>,
    live: Option<Live>,
}

impl Attached {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        Self { edge, live: None }
    }

    pub(super) fn set(&mut self, live: Live) {
        self.live = Some(live);
    }

    pub(super) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// The orderly way.
    pub(super) async fn detach(&mut self) {
        if let Some(live) = &self.live {
            self.edge.app.disconnect(live).await;
            self.live = None;
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        // Without a runtime the process is ending, and the node's lease ends all its sessions.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let app = Arc::clone(&self.edge.app);
        let disconnect = async move { app.disconnect(&live).await };
        self.edge.tracker.spawn_on(disconnect, &runtime);
    }
}
