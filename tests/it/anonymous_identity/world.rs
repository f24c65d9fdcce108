//! A cluster's visitors on engines in memory, under a clock that the test owns.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stompbox::identity::accounts::{
    AccountSettings, Accounts, Issuers, Jwt, JwtSettings, KeyMaterial, Parts,
};
use stompbox::identity::{Clock, FingerprintKey, Handshake, Opened, VisitorSettings, Visitors};
use stompbox::location::{Location, MemoryCluster, MemoryLocation, SessionEntry};
use stompbox::mail::LogMail;
use stompbox::model::{
    Code, Incarnation, MessageId, NodeId, Principal, Problem, Proof, RoomId, SessionId, Standing,
    UnixMillis, UserId,
};
use stompbox::quota::{MemoryQuota, QuotaSettings};
use stompbox::store::{
    AccountStore, Append, MemoryStore, SqliteSettings, SqliteStore, Store, StoreError,
};
use tokio_util::task::TaskTracker;

use super::engines::{Far, Wire};

const NODE: &str = "n1";
const LIFE: Incarnation = Incarnation(1);

pub(super) struct World {
    pub(super) visitors: Arc<Visitors>,
    pub(super) store: Arc<dyn Store>,
    /// There in a world with accounts.
    pub(super) accounts: Option<Accounts>,
    pub(super) wire: Arc<Wire>,
    location: Far<Arc<MemoryLocation>>,
    now: Arc<AtomicU64>,
    next: AtomicU64,
    _folder: Option<tempfile::TempDir>,
}

/// A connected session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) principal: Principal,
}

impl World {
    pub(super) async fn new(settings: VisitorSettings) -> Self {
        Self::on(Arc::new(MemoryStore::default()), None, settings).await
    }

    /// The same with accounts, which SQLite keeps: in memory as far as the machine has a place for
    /// files there.
    pub(super) async fn with_accounts(settings: VisitorSettings) -> Self {
        let folder = match Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm"),
            false => tempfile::tempdir(),
        };
        let folder = folder.unwrap();
        let path = folder.path().join("accounts.db");
        let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
        let kept = Arc::clone(&store);
        let mut world = Self::on(store, Some(kept), settings).await;
        world._folder = Some(folder);
        world
    }

    async fn on(
        store: Arc<dyn Store>,
        accounts: Option<Arc<dyn AccountStore>>,
        settings: VisitorSettings,
    ) -> Self {
        let now = Arc::new(AtomicU64::new(1_800_000_000_000));
        let reading = Arc::clone(&now);
        let clock: Clock = Arc::new(move || UnixMillis(reading.load(Ordering::Relaxed)));
        let wire = Arc::new(Wire::default());
        let node: NodeId = NODE.parse().unwrap();
        let location = Far {
            engine: MemoryCluster::lone().node(node, LIFE),
            wire: Arc::clone(&wire),
        };
        location.claim().await.unwrap();
        let far_store = Far {
            engine: Arc::clone(&store),
            wire: Arc::clone(&wire),
        };
        let mut visitors = Visitors::new(
            Arc::new(far_store),
            Arc::new(location.clone()),
            Arc::new(MemoryQuota::new(QuotaSettings::default())),
            FingerprintKey::from_bytes(b"the key of these tests"),
            settings,
            clock,
        );
        if let Some(accounts) = &accounts {
            visitors = visitors.with_accounts(Arc::clone(accounts));
        }
        let visitors = Arc::new(visitors);
        Self {
            accounts: accounts.map(|accounts| accounts_on(accounts, &visitors)),
            visitors,
            store,
            wire,
            location,
            now,
            next: AtomicU64::new(1),
            _folder: None,
        }
    }

    /// The accounts of a world that has them.
    pub(super) fn accounts(&self) -> &Accounts {
        self.accounts.as_ref().expect("a world with accounts")
    }

    /// A CONNECT with an access token.
    pub(super) async fn sign_in(
        &self,
        handshake: &Handshake,
        access_token: &str,
    ) -> Result<Session, Problem> {
        let principal = self
            .accounts()
            .authenticate(handshake, access_token)
            .await?;
        let session = self.session_of(principal);
        self.register(&session).await;
        Ok(session)
    }

    /// The service closes a session.
    pub(super) async fn close(&self, session: &Session) {
        let user_id = session.principal.user_id.clone();
        self.location
            .detach(&[(user_id, session.id)])
            .await
            .unwrap();
    }

    pub(super) fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed))
    }

    pub(super) async fn wait(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.now.fetch_add(millis, Ordering::Relaxed);
        tokio::time::advance(time).await;
    }

    /// A CONNECT, up to the session being registered.
    pub(super) async fn connect(
        &self,
        handshake: &Handshake,
        visitor_token: Option<&str>,
    ) -> Result<(Opened, Session), Problem> {
        let opened = self
            .visitors
            .connect(handshake, visitor_token, None)
            .await?;
        let session = self.session(&opened);
        self.register(&session).await;
        Ok((opened, session))
    }

    /// A CONNECT without a secret, of which nobody knows yet.
    pub(super) async fn connect_unregistered(&self, handshake: &Handshake) -> (Opened, Session) {
        let opened = self.visitors.connect(handshake, None, None).await.unwrap();
        let session = self.session(&opened);
        (opened, session)
    }

    /// Tells location of a session.
    pub(super) async fn register(&self, session: &Session) {
        let entry = SessionEntry {
            session: session.id,
            node: NODE.parse().unwrap(),
            incarnation: LIFE,
            device: "".into(),
            since: self.now(),
            visitor: self.visitors.introduction(&session.principal),
        };
        let user_id = session.principal.user_id.clone();
        self.location.attach(&[(user_id, entry)]).await.unwrap();
    }

    /// The end of a connection; a crash is one of which the store is never told.
    pub(super) async fn disconnect(&self, session: &Session, is_crash: bool) {
        let user_id = session.principal.user_id.clone();
        self.location
            .detach(&[(user_id, session.id)])
            .await
            .unwrap();
        if !is_crash {
            self.visitors
                .disconnected(&session.principal, client().address)
                .await
                .unwrap();
        }
    }

    /// The sessions of a user that live now.
    pub(super) async fn sessions_of(&self, user_id: &UserId) -> Vec<SessionId> {
        let users = [user_id.clone()];
        let located = self.location.locate(&users, &[]).await.unwrap();
        located.users[0].iter().map(|entry| entry.session).collect()
    }

    /// A direct message, as the service treats it: refused, or committed. Where it goes then is
    /// the caller's business.
    pub(super) async fn send(
        &self,
        sender: &Principal,
        to: &UserId,
        text: &str,
    ) -> Result<(), Problem> {
        let append = self.check(sender, to, text).await?;
        self.commit(append).await.expect("nothing happened since");
        Ok(())
    }

    /// The first half of a direct message: refused, or to be committed.
    pub(super) async fn check(
        &self,
        sender: &Principal,
        to: &UserId,
        text: &str,
    ) -> Result<Append, Problem> {
        let gone = || Problem::new(Code::NotFound, "nothing was kept of them");
        let recipient = self.visitors.recipient(to).await?.ok_or_else(gone)?;
        // Another one, when its holder has become a part of an account.
        let to = &recipient.user_id;
        let is_live = !self.sessions_of(to).await.is_empty();
        self.visitors
            .check_reach(sender, &recipient, is_live)
            .await?;
        let mut visitors = Vec::from_iter(self.visitors.row_of_principal(sender));
        visitors.extend(recipient.keep.as_deref().cloned());
        Ok(Append {
            room: RoomId::direct(&sender.user_id, to),
            id: MessageId::from_parts(self.now().0, u128::from(self.number())),
            from: sender.user_id.clone(),
            from_name: sender.name.clone(),
            to: to.clone(),
            client_id: None,
            text: text.to_owned(),
            timestamp: self.now(),
            expires_at: None,
            from_holder: sender.standing.holder(),
            to_holder: recipient.standing.holder(),
            visitors,
        })
    }

    /// The second half, whatever happened since the first: committed, or refused because of the
    /// user who is in other hands now.
    pub(super) async fn commit(&self, append: Append) -> Result<(), UserId> {
        match self.store.append(append).await {
            Ok(_) => Ok(()),
            Err(StoreError::ChangedHands(user)) => Err(user),
            Err(error) => panic!("{error}"),
        }
    }

    fn session(&self, opened: &Opened) -> Session {
        self.session_of(opened.principal.clone())
    }

    fn session_of(&self, principal: Principal) -> Session {
        Session {
            id: SessionId(u128::from(self.number())),
            principal,
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Accounts without limits, whose tokens last as long as a test does.
fn accounts_on(store: Arc<dyn AccountStore>, visitors: &Arc<Visitors>) -> Accounts {
    let material = KeyMaterial {
        secret: b"0123456789abcdef0123456789abcdef".to_vec(),
        key: None,
        secret_previous: None,
        key_previous: None,
    };
    let jwt = JwtSettings {
        access_ttl: Duration::from_secs(300 * 24 * 3_600),
        ..JwtSettings::default()
    };
    let parts = Parts {
        store,
        visitors: Arc::clone(visitors),
        mail: Arc::new(LogMail::new(false)),
        issuers: Issuers::new(&[], jwt.leeway).unwrap(),
        jwt: Jwt::new(&material, jwt).unwrap(),
        work: TaskTracker::new(),
    };
    let settings = AccountSettings {
        logins_per_net: 0,
        registrations_per_net: 0,
        ..AccountSettings::default()
    };
    Accounts::new(parts, settings)
}

/// A handshake of a program that sends no Origin and keeps no cookies.
pub(super) fn bare(address: &str, user_agent: &str) -> Handshake {
    Handshake {
        user_agent: user_agent.to_owned(),
        ..Handshake::without_page(address.parse::<IpAddr>().unwrap())
    }
}

/// A handshake of a browser on our page, which brings the cookie that it was given last.
pub(super) fn from_page(
    world: &World,
    handshake: Handshake,
    jar: &mut Option<String>,
) -> Handshake {
    let header = jar.as_ref().map(|value| format!("a=b; sb_vid={value}"));
    let cookies = world.visitors.cookies();
    let (value, presented) = cookies.cookie_for(header.as_deref()).unwrap();
    *jar = Some(value.clone());
    Handshake {
        from_page: true,
        cookie: Some(value),
        cookie_presented: presented,
        ..handshake
    }
}

/// The client of most tests: no Origin, nothing kept.
pub(super) fn client() -> Handshake {
    bare("192.0.2.7", "browser")
}

pub(super) async fn world() -> World {
    World::new(VisitorSettings::default()).await
}

/// Connects, and goes again after a minute.
pub(super) async fn visit(world: &World, handshake: &Handshake, token: Option<&str>) -> Opened {
    let (opened, session) = world.connect(handshake, token).await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&session, false).await;
    opened
}

pub(super) async fn standing(world: &World, user_id: &UserId) -> Standing {
    let recipient = world.visitors.recipient(user_id).await.unwrap();
    recipient.unwrap().standing
}

pub(super) async fn connected(world: &World, address: &str) -> Session {
    connected_as(world, address, Proof::New).await
}

pub(super) async fn connected_as(world: &World, address: &str, proof: Proof) -> Session {
    let handshake = bare(
        address,
        if address == "192.0.2.7" {
            "browser"
        } else {
            "x"
        },
    );
    let (opened, session) = world.connect(&handshake, None).await.unwrap();
    assert_eq!(opened.proof, proof);
    session
}
