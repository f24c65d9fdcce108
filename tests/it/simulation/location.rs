//! Location with faults: slow, failing, standing still, cut off.
//!
//! Not here: the flush and the fail-over (`cluster` does them to what all nodes share). Invariant:
//! a call that times out may still take effect, at once or when the server runs again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stompbox::location::{
    Located, Location, LocationError, MemoryLocation, Peer, Renewal, SessionEntry, StoreClaim,
};
use stompbox::model::{ClientIdentifier, Destination, NamedNetworks, SessionId, Unkept, UserId};
use tokio::time::Instant;

use super::plan::Twist;
use super::world::{Fate, Weather, World};

/// How long a call waits for its answer.
const RESPONSE_MS: u64 = 150;

/// How old an answer may be when the rule of the fresh look-up is taken away.
const STALE: Duration = Duration::from_secs(2);

/// Recent registrations, which a fail-over loses.
pub(super) type Recent = Arc<Mutex<Vec<(Instant, Arc<MemoryLocation>, UserId, SessionId)>>>;

#[derive(Debug)]
pub(super) struct SimLocation {
    inner: Arc<MemoryLocation>,
    world: Arc<World>,
    fate: Arc<Fate>,
    recent: Recent,
    /// Answers of a moment ago, for the run without fresh look-ups.
    stale: Mutex<BTreeMap<UserId, (Instant, Vec<SessionEntry>)>>,
}

impl SimLocation {
    pub(super) fn new(
        inner: Arc<MemoryLocation>,
        world: Arc<World>,
        fate: Arc<Fate>,
        recent: Recent,
    ) -> Self {
        Self {
            inner,
            world,
            fate,
            recent,
            stale: Mutex::default(),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, LocationError>> + Send + 'static,
    ) -> Result<T, LocationError> {
        let late = || LocationError(format!("{name}: no answer in time"));
        let world = &self.world;
        self.fate.thawed().await;
        if self.fate.has_no_location() || world.is(Weather::LocationDown) {
            world.pause(RESPONSE_MS).await;
            return Err(late());
        }
        if let Some(until) = world.until(Weather::LocationFrozen) {
            // It lies in the socket of a process that stands still.
            if world.chance(0.7) {
                let effect_at = until + Duration::from_millis(world.below(5));
                world.tracker.spawn(async move {
                    tokio::time::sleep_until(effect_at).await;
                    let _nobody_waits = work.await;
                });
            }
            world.pause(RESPONSE_MS).await;
            self.fate.thawed().await;
            return Err(late());
        }
        let slow = world.is(Weather::LocationSlow).then_some(120);
        let (before, after) = world.latency(slow);
        if before + after > RESPONSE_MS {
            world.tracker.spawn(async move {
                tokio::time::sleep(Duration::from_millis(before)).await;
                let _nobody_waits = work.await;
            });
            world.pause(RESPONSE_MS).await;
            self.fate.thawed().await;
            return Err(late());
        }
        world.pause(before).await;
        if world.is(Weather::LocationFlaky) && world.chance(0.4) {
            if world.chance(0.5) {
                let _answer_is_lost = work.await;
            }
            world.pause(world.below(RESPONSE_MS)).await;
            return Err(late());
        }
        let answer = work.await;
        world.pause(after).await;
        self.fate.thawed().await;
        answer
    }

    fn has(&self, twist: Twist) -> bool {
        self.world.options.twist == Some(twist)
    }

    /// Runs a call later and says at once that it is done: what the rules forbid.
    fn acknowledge_early(
        &self,
        within_ms: u64,
        work: impl Future<Output = Result<(), LocationError>> + Send + 'static,
    ) {
        let effect_in = Duration::from_millis(20 + self.world.below(within_ms));
        self.world.tracker.spawn(async move {
            tokio::time::sleep(effect_in).await;
            let _nobody_waits = work.await;
        });
    }

    /// Keeps the answers of users that were asked for a moment ago.
    fn make_stale(&self, users: &[UserId], located: &mut Located) {
        let now = Instant::now();
        let mut stale = self.stale.lock().unwrap();
        for (user, entries) in users.iter().zip(&mut located.users) {
            match stale.get(user) {
                Some((at, old)) if now.duration_since(*at) < STALE => entries.clone_from(old),
                _ => {
                    stale.insert(user.clone(), (now, entries.clone()));
                }
            }
        }
    }
}

#[async_trait]
impl Location for SimLocation {
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError> {
        let (inner, owned) = (Arc::clone(&self.inner), entries.to_vec());
        let recent = Arc::clone(&self.recent);
        let work = async move {
            {
                let now = Instant::now();
                let mut recent = recent.lock().unwrap();
                for (user, entry) in &owned {
                    recent.push((now, Arc::clone(&inner), user.clone(), entry.session));
                }
            }
            inner.attach(&owned).await
        };
        if self.has(Twist::EarlyAttach) {
            self.acknowledge_early(1_000, work);
            return Ok(());
        }
        self.call("attach", work).await
    }

    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError> {
        let (inner, sessions) = (Arc::clone(&self.inner), sessions.to_vec());
        self.call("detach", async move { inner.detach(&sessions).await })
            .await
    }

    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError> {
        let (inner, wants) = (Arc::clone(&self.inner), wants.to_vec());
        self.call("want", async move { inner.want(&wants).await })
            .await
    }

    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError> {
        let (inner, mut wants) = (Arc::clone(&self.inner), wants.to_vec());
        if self.has(Twist::LateRemoval) {
            wants.iter_mut().for_each(|want| want.1 = u64::MAX);
            self.acknowledge_early(300, async move { inner.unwant(&wants).await });
            return Ok(());
        }
        self.call("unwant", async move { inner.unwant(&wants).await })
            .await
    }

    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError> {
        let (inner, asked) = (Arc::clone(&self.inner), users.to_vec());
        let destinations = destinations.to_vec();
        let work = async move { inner.locate(&asked, &destinations).await };
        let mut located = self.call("locate", work).await?;
        if self.has(Twist::StaleLocate) {
            self.make_stale(users, &mut located);
        }
        Ok(located)
    }

    async fn claim(&self) -> Result<(), LocationError> {
        let inner = Arc::clone(&self.inner);
        let work = async move { inner.claim().await };
        if self.has(Twist::EarlyClaim) {
            self.acknowledge_early(3_000, work);
            return Ok(());
        }
        self.call("claim", work).await
    }

    async fn renew(&self) -> Result<Renewal, LocationError> {
        let inner = Arc::clone(&self.inner);
        let may_create = self.has(Twist::CreatingRenewal);
        let work = async move {
            let renewal = inner.renew().await?;
            if renewal == Renewal::Missing && may_create {
                inner.claim().await?;
                return Ok(Renewal::Extended);
            }
            Ok(renewal)
        };
        self.call("renew", work).await
    }

    async fn drain(&self) -> Result<(), LocationError> {
        self.inner.drain().await
    }

    async fn release(&self) -> Result<(), LocationError> {
        self.inner.release().await
    }

    async fn peers(&self) -> Result<Vec<Peer>, LocationError> {
        let inner = Arc::clone(&self.inner);
        self.call("peers", async move { inner.peers().await }).await
    }

    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError> {
        self.inner.claim_store(store_id).await
    }

    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        self.inner.introduce(user, visitor, from).await
    }

    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError> {
        self.inner.introduced(user).await
    }

    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        self.inner.loose(client).await
    }

    fn reconnects(&self) -> u64 {
        self.world.reconnects.load(Ordering::Relaxed)
    }
}
