//! Accounts and visitors on SQLite, under a clock that the test owns, with letters that can be read.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stompbox::identity::accounts::{
    AccountSettings, Accounts, IssuerSettings, Issuers, Jwt, JwtSettings, KeyMaterial, KeySource,
    LoggedIn, Login, Pair, Parts, Registration, Upgrade,
};
use stompbox::identity::{Clock, FingerprintKey, Handshake, VisitorSettings, Visitors};
use stompbox::location::{Location as _, MemoryCluster};
use stompbox::mail::{Letter, Mail, MailError};
use stompbox::model::{Code, Incarnation, Principal, Problem, UnixMillis, UserId};
use stompbox::quota::{MemoryQuota, QuotaSettings};
use stompbox::store::accounts::Role;
use stompbox::store::{SqliteSettings, SqliteStore};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

pub(super) const PASSWORD: &str = "correct horse battery";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What a site signs its tokens with.
pub(super) const SITE_SECRET: &[u8] = b"the secret of the shop, 32 octets";

/// Keeps letters.
#[derive(Debug, Default)]
pub(super) struct Letters(Mutex<Vec<Letter>>);

#[async_trait]
impl Mail for Letters {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        self.0.lock().unwrap().push(letter);
        Ok(())
    }
}

pub(super) struct World {
    pub(super) accounts: Arc<Accounts>,
    pub(super) visitors: Arc<Visitors>,
    pub(super) store: Arc<SqliteStore>,
    letters: Arc<Letters>,
    work: TaskTracker,
    now: Arc<AtomicU64>,
    _directory: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(AccountSettings::default()).await
    }

    pub(super) async fn with(settings: AccountSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chat.db");
        let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
        let now = Arc::new(AtomicU64::new(1_800_000_000_000));
        let reading = Arc::clone(&now);
        let clock: Clock = Arc::new(move || UnixMillis(reading.load(Ordering::Relaxed)));
        let location = MemoryCluster::lone().node("n1".parse().unwrap(), Incarnation(1));
        location.claim().await.unwrap();
        let visitors = Visitors::new(
            Arc::<SqliteStore>::clone(&store),
            location,
            Arc::new(MemoryQuota::new(QuotaSettings::default())),
            FingerprintKey::from_bytes(b"the key of these tests"),
            VisitorSettings::default(),
            clock,
        );
        let visitors = Arc::new(visitors.with_accounts(Arc::<SqliteStore>::clone(&store)));
        let (letters, work) = (Arc::<Letters>::default(), TaskTracker::new());
        let parts = Parts {
            store: Arc::<SqliteStore>::clone(&store),
            visitors: Arc::clone(&visitors),
            mail: Arc::<Letters>::clone(&letters),
            jwt: jwt(),
            issuers: Issuers::new(&[shop()], Duration::from_secs(30)).unwrap(),
            work: work.clone(),
        };
        let accounts = Arc::new(Accounts::new(parts, settings));
        accounts.reload_bans().await.unwrap();
        Self {
            accounts,
            visitors,
            store,
            letters,
            work,
            now,
            _directory: directory,
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed))
    }

    pub(super) fn wait(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.now.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) async fn register(&self, email: &str) -> Pair {
        let registration = Registration {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            name: "Kim".to_owned(),
            device: "test".to_owned(),
        };
        let registered = self.accounts.register(&from(1), registration).await;
        registered.unwrap()
    }

    pub(super) async fn login(&self, email: &str, password: &str) -> Result<LoggedIn, Problem> {
        self.login_from(&from(1), email, password, None).await
    }

    pub(super) async fn login_from(
        &self,
        from: &Handshake,
        email: &str,
        password: &str,
        merge: Option<&str>,
    ) -> Result<LoggedIn, Problem> {
        let login = Login {
            email: email.to_owned(),
            password: password.to_owned(),
            device: "test".to_owned(),
            merge: merge.map(str::to_owned),
        };
        self.accounts.login(from, login).await
    }

    /// Whoever an access token speaks for.
    pub(super) async fn principal(&self, token: &str) -> Result<Principal, Problem> {
        self.accounts.authenticate(&from(1), token).await
    }

    /// A new visitor and his secret.
    pub(super) async fn visitor(&self, host: u8) -> (UserId, String) {
        let opened = self.visitors.anonymous(&from(host), None).await.unwrap();
        (opened.principal.user_id, opened.secret_to_tell.unwrap())
    }

    pub(super) fn upgrade(email: &str) -> Upgrade {
        Upgrade {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            name: None,
            device: "test".to_owned(),
        }
    }

    /// Whoever looks after the service.
    pub(super) async fn admin(&self) -> Principal {
        let token = jwt().system_token(self.now()).unwrap();
        self.principal(&token).await.unwrap()
    }

    pub(super) async fn member_made_by_admin(&self, email: &str, role: Role) -> UserId {
        let admin = self.admin().await;
        let made = self.accounts.create(&admin, email, PASSWORD, "Lee", role);
        made.await.unwrap()
    }

    /// The letters that were sent when everything is done that nobody waits for.
    pub(super) async fn letters(&self) -> Vec<Letter> {
        self.work.close();
        self.work.wait().await;
        self.work.reopen();
        std::mem::take(&mut *self.letters.0.lock().unwrap())
    }
}

/// A client of its own network.
pub(super) fn from(host: u8) -> Handshake {
    Handshake::without_page(IpAddr::from([192, 0, 2, host]))
}

pub(super) fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Code {
    result.unwrap_err().code
}

pub(super) fn jwt() -> Jwt {
    let material = KeyMaterial {
        secret: SECRET.to_vec(),
        key: None,
        secret_previous: None,
        key_previous: None,
    };
    Jwt::new(&material, JwtSettings::default()).unwrap()
}

fn shop() -> IssuerSettings {
    IssuerSettings {
        name: "shop".to_owned(),
        iss: "https://shop.example".to_owned(),
        aud: "chat".to_owned(),
        keys: KeySource::Secret(SITE_SECRET.to_vec()),
        roles_claim: "roles".to_owned(),
        name_claim: "name".to_owned(),
        may_make_admins: false,
    }
}
