//! How much a session, a user and a network may send.
//!
//! Not here: the arithmetic (`policy::bucket`), where levels are kept (`quota`). Invariant: a
//! message is taken from the bucket of its writer and from that of his network; a session that does
//! not heed the refusals is closed.

mod cost;

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::cost::Cost;
pub(super) use self::cost::bytes_of;
use super::speaker::{Speaker, Speaking};
use super::{App, AppSettings, Live};
use crate::budget::{AgingAccount, Claimant, Memory, MemoryOwner, Multiples};
use crate::identity::Handshake;
use crate::model::{CloseReason, Code, Kind, Network, Principal, Problem, RoomId, UserId};
use crate::policy::bucket::{self, Level, Rate, Verdict};
use crate::quota::Networks;
use crate::quota::refused::{self, RateOf, RefusedRate};

/// So many refusals within [`REFUSALS_WITHIN`] close the connection with 4429.
const REFUSALS_MAX: u32 = 300;
const REFUSALS_WITHIN: Duration = Duration::from_secs(60);

/// What one session has done lately. It belongs to the connection, so it is kept here and not in
/// the shared quota.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    /// Who it speaks for.
    speaking: Speaking,
    owns_sign_in: AtomicBool,
    /// Whether a message has been committed that keeps the visitor's row.
    is_kept: AtomicBool,
    /// Where its client is.
    address: IpAddr,
    /// On what its buffers draw, with what they may have.
    memory: Arc<Memory>,
    multiples: Arc<Multiples>,
    /// A std mutex: it is held for some arithmetic.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: Frames,
    refusals: u32,
    refusals_since: Duration,
    /// Allocated with the first stored message.
    writing: Option<Box<Writing>>,
}

/// What one message after another looks up.
#[derive(Debug, Default)]
struct Writing {
    /// To which account stored messages count.
    account: Option<Arc<AgingAccount>>,
    /// The conversation that was written to last, with its writer and its recipient. Most messages of a
    /// session go to the same one, and its id is a hash.
    room: Option<(UserId, UserId, RoomId)>,
}

/// What the bucket of frames holds.
#[derive(Clone, Copy, Debug, Default)]
enum Frames {
    /// Nothing was taken yet: it is full.
    #[default]
    Untouched,
    Level(Level),
    /// Everything that is done was paid for before: a transaction takes what it needs at once.
    Prepaid,
}

impl MemoryOwner for Activity {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn claimant(&self) -> Claimant {
        let principal = &self.speaking.now().principal;
        Claimant {
            user: Some(principal.user_id.clone()),
            kind: principal.kind,
            ..self.multiples.stranger(self.address)
        }
    }
}

impl Live {
    /// To whose shares counts what the session does now.
    #[must_use]
    pub fn claimant(&self) -> Claimant {
        self.activity.claimant()
    }

    /// About how many bytes are kept of the conversations of its user.
    #[must_use]
    pub fn inbox_bytes(&self) -> usize {
        self.hub.inbox_bytes()
    }

    /// Gives back what its buffers keep for the next burst. For the timer of its connection.
    pub fn rest(&self) {
        self.hub.rest();
    }
}

impl Activity {
    /// Where its client is.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// The network whose turns its messages take.
    pub(super) fn network(&self) -> Network {
        Network::of(self.address).widest()
    }

    pub(super) fn new(speaker: Arc<Speaker>, address: IpAddr, settings: &AppSettings) -> Self {
        let (memory, multiples) = (&settings.memory, &settings.multiples);
        Self::of(speaker, address, memory, multiples)
    }

    fn of(
        speaker: Arc<Speaker>,
        address: IpAddr,
        memory: &Arc<Memory>,
        multiples: &Arc<Multiples>,
    ) -> Self {
        Self {
            started: Instant::now(),
            speaking: Speaking::new(speaker),
            owns_sign_in: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            address,
            memory: Arc::clone(memory),
            multiples: Arc::clone(multiples),
            state: Mutex::default(),
        }
    }

    /// The same session in a transaction whose messages were taken from the buckets.
    pub(super) fn prepaid(&self) -> Self {
        let activity = Self::of(self.speaker(), self.address, &self.memory, &self.multiples);
        activity.lock().frames = Frames::Prepaid;
        activity
    }

    /// What is known of the client for whoever looks at where it is.
    pub(super) fn whence(&self) -> Handshake {
        Handshake::without_page(self.address)
    }

    /// The session was let in by a password: its sign-in is its own and ends with it.
    pub(super) fn own_its_sign_in(&self) {
        self.owns_sign_in.store(true, Relaxed);
    }

    /// The visitor's row is kept: no message need write it any more.
    pub(super) fn set_kept(&self) {
        self.is_kept.store(true, Relaxed);
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Relaxed)
    }

    /// The account to which stored messages count, opened if it is not at hand.
    pub(super) fn stored_account(
        &self,
        principal: &Principal,
        open: impl FnOnce() -> Arc<AgingAccount>,
    ) -> Arc<AgingAccount> {
        let known = self
            .lock()
            .writing
            .as_ref()
            .and_then(|it| it.account.clone());
        if let Some(known) = known.filter(|it| it.is_of(&principal.user_id, principal.kind)) {
            return known;
        }
        let account = open();
        let mut state = self.lock();
        state.writing.get_or_insert_default().account = Some(Arc::clone(&account));
        account
    }

    /// The conversation of the two.
    pub(super) fn room_with(&self, from: &UserId, to: &UserId) -> RoomId {
        let mut state = self.lock();
        let writing = state.writing.get_or_insert_default();
        match &writing.room {
            Some((last_from, last_to, room)) if last_from == from && last_to == to => *room,
            Some(_) | None => {
                let room = RoomId::direct(from, to);
                writing.room = Some((from.clone(), to.clone(), room));
                room
            }
        }
    }

    pub(super) fn ends_its_sign_in(&self) -> bool {
        self.owns_sign_in.load(Relaxed)
    }

    /// Who the session speaks for now.
    pub(super) fn speaker(&self) -> Arc<Speaker> {
        self.speaking.now()
    }

    /// From now on it speaks for somebody else, or for the same one who may do something else.
    pub(super) fn speak_for(&self, speaker: Arc<Speaker>) {
        self.speaking.set(speaker);
    }

    fn is_prepaid(&self) -> bool {
        matches!(self.lock().frames, Frames::Prepaid)
    }

    /// Counts a frame that is no message. When it is one too many, says when the next may come.
    fn take_frame(&self, rate: Rate) -> Result<(), u64> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let level = match state.frames {
            Frames::Untouched => Level::full(now_ms, rate),
            Frames::Level(level) => level,
            Frames::Prepaid => return Ok(()),
        };
        let (left, verdict) = bucket::take(level, now_ms, rate, 1);
        state.frames = Frames::Level(left);
        match verdict {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => Err(retry_after_ms),
        }
    }

    /// Counts a refusal; whether it was one too many.
    fn is_abusive(&self) -> bool {
        let now = self.started.elapsed();
        let mut state = self.lock();
        if now.saturating_sub(state.refusals_since) > REFUSALS_WITHIN {
            state.refusals_since = now;
            state.refusals = 0;
        }
        state.refusals += 1;
        state.refusals >= REFUSALS_MAX
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Takes one message of this many bytes from the buckets of the sender and of their network. Returns how many the sender
    /// has left, as far as is known.
    pub(super) async fn take_message(&self, live: &Live, bytes: usize) -> Result<u32, Problem> {
        self.take_messages(live, [bytes].into_iter()).await
    }

    /// The same for all messages of a transaction: all are taken or none of a bucket.
    pub(super) async fn take_messages(
        &self,
        live: &Live,
        bytes: impl Iterator<Item = usize>,
    ) -> Result<u32, Problem> {
        if live.activity.is_prepaid() {
            return Ok(u32::MAX);
        }
        let cost = Cost::of(bytes);
        let speaker = live.activity.speaker();
        speaker.check_mute(|| (self.clock)())?;
        let rate = self.own_rate(speaker.principal.kind);
        let address = live.activity.address;
        let buckets = speaker.buckets(|| self.visitors.networks(address));
        let (quota, rate_network) = (self.quota.as_ref(), self.settings.rate_network);
        // What costs much is not taken from the sender when their network is known to refuse it.
        if cost.own > 1
            && let Some(wait_ms) = (buckets.networks).refuses(quota, rate_network, cost.network)
        {
            return Err(too_fast(live, &refused::NETWORK_MESSAGES, wait_ms));
        }
        let own = quota.take_several(&buckets.own, rate, cost.own).await;
        let shared = match own {
            Verdict::Allowed { .. } => {
                let networks = &buckets.networks;
                networks.take(quota, rate_network, cost.network).await
            }
            Verdict::Refused { .. } => own,
        };
        match (own, shared) {
            (Verdict::Allowed { remaining }, Verdict::Allowed { .. }) => Ok(remaining),
            (Verdict::Refused { retry_after_ms }, _) => {
                Err(too_fast(live, &refused::USER_MESSAGES, retry_after_ms))
            }
            (Verdict::Allowed { .. }, Verdict::Refused { retry_after_ms }) => {
                Err(too_fast(live, &refused::NETWORK_MESSAGES, retry_after_ms))
            }
        }
    }

    /// How fast somebody of this kind may write.
    fn own_rate(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Member | Kind::Bot | Kind::Admin => self.settings.rate_member,
            Kind::Anonymous => self.settings.rate_visitor,
        }
    }

    /// How many messages a session may send at once, when these are more: in number, or in tokens of its own rate. One
    /// message may always take a full bucket.
    pub(super) fn exceeded_burst(
        &self,
        live: &Live,
        bytes: impl Iterator<Item = usize> + Clone,
    ) -> Option<u32> {
        let own = self.own_rate(live.principal().kind);
        let count = u32::try_from(bytes.clone().count()).unwrap_or(u32::MAX);
        let tokens = match count {
            0..=1 => count,
            2.. => Cost::of(bytes).own,
        };
        let exceeds = |(rate, number): &(Rate, u32)| !rate.is_off() && *number > rate.capacity;
        let limits = [(own, tokens), (self.settings.rate_network, count)];
        let exceeded = limits.into_iter().filter(exceeds);
        exceeded.map(|(rate, _)| rate.capacity).min()
    }

    /// Takes one CONNECT from those of a network.
    pub(super) async fn take_connect(
        &self,
        networks: &Networks,
        client: IpAddr,
    ) -> Result<(), Problem> {
        let rate = self.settings.rate_connect;
        let quota = self.quota.as_ref();
        match networks.take(quota, "rate:connect", rate).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => {
                refused::NETWORK_CONNECTS.note(Network::of(client));
                let words = "Your network connects too often. Try again later.";
                Err(Problem::new(Code::TryLater, words).retry_after_ms(retry_after_ms))
            }
        }
    }

    /// Takes one frame that is no message from the bucket of the connection.
    pub(super) fn take_frame(&self, live: &Live) -> Result<(), Problem> {
        let taken = live.activity.take_frame(self.settings.rate_frames);
        taken.map_err(|retry_after_ms| too_fast(live, &refused::SESSION_FRAMES, retry_after_ms))
    }
}

/// The refusal. A session that does not heed it is cut.
fn too_fast(live: &Live, rate: &RefusedRate, retry_after_ms: u64) -> Problem {
    rate.note(Network::of(live.activity.address));
    if live.activity.is_abusive() {
        let text = format!("rate_limited;retry_after_ms={retry_after_ms}");
        live.outbox.cut(CloseReason {
            code: 4429,
            text: text.into(),
        });
    }
    let who = match rate.of() {
        RateOf::Network => "Your network sends",
        RateOf::User => "You send",
    };
    let words =
        format!("{who} too much in too short a time. Wait for `retry_after_ms` and send again.");
    Problem::new(Code::RateLimited, words).retry_after_ms(retry_after_ms)
}

#[cfg(test)]
mod tests;
