//! What ACKs and NACKs cost while as much is unsettled as a session may keep.
//!
//! Not here: what they do (`hub::window`). As many of them are measured as one read brings at most.

use std::sync::Arc;

use bytes::Bytes;
use stompbox::hub::{
    Content, HubSession, Opening, Outbox, OutboxLimits, Shown, Subscriber, Window,
};
use stompbox::model::{AckMode, SessionId, UnixMillis, Verdict};
use stompbox::session::Delivered;
use stompbox::stomp::Version;

use super::{all_hold, hold};
use crate::support::cpu;

/// Windows of the session, of eight subscriptions to each topic.
const WINDOWS: usize = 248;

/// Unsettled messages in each.
const UNSETTLED: usize = 68;

/// ACK frames that one read brings at most.
const ANSWERS: usize = 550;

/// A session that has acknowledged nothing.
struct Full {
    session: Arc<HubSession>,
    windows: Vec<Arc<Window>>,
    version: Version,
}

impl Full {
    fn new(version: Version, mode: AckMode) -> Self {
        let limits = OutboxLimits {
            frames_max: 1 << 20,
            bytes_max: 1 << 30,
        };
        let outbox = Arc::new(Outbox::new(limits));
        let user = "ana".parse().unwrap();
        let session = HubSession::new(SessionId(1), user, "".into(), UnixMillis(0), outbox);
        let windows = (0..WINDOWS).map(|number| {
            let id = format!("s{number}");
            session.open_window(Opening {
                id: &id,
                subscriber: Subscriber {
                    version,
                    id: Some(id.as_str().into()),
                    shown: Shown::Canonical,
                },
                mode,
                prefetch: 1_000,
                limits,
                is_fed: false,
            })
        });
        let windows: Vec<_> = windows.collect();
        for n in 0..UNSETTLED {
            for (number, window) in windows.iter().enumerate() {
                window.offer(Content {
                    destination: "/topic/x".into(),
                    message_id: message_id(number, n).into(),
                    content_type: None,
                    headers: Vec::new(),
                    body: Bytes::from_static(b"x"),
                    is_shared: false,
                    redelivered: false,
                    tag: None,
                });
            }
        }
        Self {
            session,
            windows,
            version,
        }
    }

    /// The answer to message `n` of a window, as the version names it.
    fn answer(&self, window: usize, n: usize) -> Delivered {
        let subscription = (self.version == Version::V1_1).then(|| format!("s{window}").into());
        match self.version {
            Version::V1_2 => Delivered::Ack(format!("{}.{}", window + 1, n + 1).into()),
            Version::V1_0 | Version::V1_1 => Delivered::Message {
                message_id: message_id(window, n).into(),
                subscription,
            },
        }
    }

    fn unsettled(&self) -> usize {
        self.windows.iter().map(|window| window.unsettled()).sum()
    }
}

/// Eight windows have the same messages.
fn message_id(window: usize, n: usize) -> String {
    format!("01890a5d-ac96-774b-bcce-{:04}{n:08}", window / 8)
}

/// The youngest windows first, and in each the youngest message (`back`) or the oldest.
fn order(back: bool) -> impl Iterator<Item = (usize, usize)> {
    (0..WINDOWS).rev().flat_map(move |window| {
        (0..UNSETTLED).map(move |n| (window, if back { UNSETTLED - 1 - n } else { n }))
    })
}

#[test]
fn an_ack_costs_little_however_much_is_unsettled() {
    use AckMode::{Client, ClientIndividual};
    let answers = |version, mode, back, verdict, name: &str| {
        let full = Full::new(version, mode);
        let before = full.unsettled();
        let mut order = order(back);
        let cost = cpu::of(|| {
            for (window, n) in order.by_ref().take(ANSWERS) {
                let of = full.answer(window, n);
                assert!(full.session.is_issued(&of));
                full.session.settle(&of, verdict).unwrap();
            }
        });
        if verdict == Verdict::Ack {
            assert!(full.unsettled() <= before - 9 * ANSWERS);
        }
        hold(&format!("550 answers, {version}: {name}"), cost, 2.5)
    };
    let nothing = |version, name: &str| {
        let full = Full::new(version, Client);
        let cost = cpu::of(|| {
            for n in 0..ANSWERS {
                let of = full.answer(1_000, n);
                full.session.settle(&of, Verdict::Ack).unwrap_err();
            }
        });
        hold(&format!("550 answers, {version}: {name}"), cost, 2.5)
    };
    all_hold(Version::ALL.into_iter().flat_map(|version| {
        [
            answers(version, ClientIndividual, true, Verdict::Ack, "each one"),
            answers(version, Client, false, Verdict::Ack, "cumulative"),
            answers(version, ClientIndividual, true, Verdict::Requeue, "again"),
            nothing(version, "to nothing"),
        ]
    }));
}

#[test]
fn a_cumulative_ack_costs_as_much_as_it_settles() {
    let full = Full::new(Version::V1_0, AckMode::Client);
    let mut windows = (0..WINDOWS).rev();
    let cost = cpu::of(|| {
        for window in windows.by_ref().take(8) {
            let of = full.answer(window, UNSETTLED - 1);
            let settled = full.session.settle(&of, Verdict::Ack).unwrap();
            assert_eq!(settled.count, UNSETTLED);
        }
    });
    all_hold([hold("8 answers that settle 544 messages", cost, 0.6)]);
}
