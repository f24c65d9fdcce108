//! The promise that the app hears of the end of every session that it has attached.
//!
//! Invariant: `App::disconnect` is called for a session that was set here, whether its task ends,
//! is cancelled or panics.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::app::{App, Live};

/// Holds a session for as long as the app knows it.
#[derive(Debug)]
pub(super) struct Attached {
    app: Arc<App>,
    tracker: TaskTracker,
    live: Option<Live>,
}

impl Attached {
    pub(super) fn new(app: Arc<App>, tracker: TaskTracker) -> Self {
        Self {
            app,
            tracker,
            live: None,
        }
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
            self.app.disconnect(live).await;
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
        let app = Arc::clone(&self.app);
        let disconnect = async move { app.disconnect(&live).await };
        self.tracker.spawn_on(disconnect, &runtime);
    }
}
