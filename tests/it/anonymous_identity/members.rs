//! What people with accounts do in the model of `people`: upgrades, merges, and going on elsewhere.
//!
//! The rule is the same as for visitors: who has an address, or had one before he became a part of an
//! account, gets what is meant for him, and lists nothing else.

use stompbox::identity::Handshake;
use stompbox::identity::accounts::{Login, Upgrade};
use stompbox::model::{Code, Kind, UserId};

use super::model::Model;
use super::world::{Session, bare};

const PASSWORD: &str = "correct horse battery";

/// The account of a person.
#[derive(Clone, Debug)]
pub(super) struct Account {
    address: UserId,
    pub(super) access: String,
}

/// Where somebody is who changes something about himself.
fn whence() -> Handshake {
    bare("203.0.113.9", "another browser")
}

fn email(who: usize) -> String {
    format!("person{who}@example.org")
}

impl Model {
    /// Somebody has signed in.
    pub(super) fn admit_member(&mut self, who: usize, session: Session) {
        let address = session.principal.user_id.clone();
        let account = self.people[who].account.as_ref();
        assert_eq!(account.map(|it| &it.address), Some(&address));
        assert_eq!(self.holders.get(&address), Some(&who));
        self.people[who].session = Some(session);
        for waiting in self.mailboxes.remove(&address).unwrap_or_default() {
            self.receive(who, &waiting);
        }
    }

    pub(super) async fn upgrade(&mut self, who: usize) {
        let person = &self.people[who];
        let Some(secret) = person.kept.clone().filter(|_| person.account.is_none()) else {
            return;
        };
        let upgrade = Upgrade {
            email: email(who),
            password: PASSWORD.to_owned(),
            name: None,
            device: String::new(),
        };
        let accounts = self.world.accounts();
        let pair = match accounts.upgrade(&whence(), &secret, upgrade).await {
            Ok(pair) => pair,
            // A neighbour has taken the loose identity over, which ended its secret.
            Err(problem) => return assert_eq!(problem.code, Code::ProofRequired),
        };
        let address = pair.user_id;
        assert_eq!(
            self.holders.get(&address),
            Some(&who),
            "made an account of somebody else's address"
        );
        let again = self.world.visitors.authenticate(&whence(), &secret).await;
        assert!(again.is_err(), "the secret has ended with the visitor");
        self.firm.insert(address.clone());
        let person = &mut self.people[who];
        person.kept = None;
        // The session goes on, as a review has it.
        if let Some(session) = &mut person.session
            && session.principal.user_id == address
        {
            session.principal.kind = Kind::Member;
        }
        person.account = Some(Account {
            address,
            access: pair.access_token,
        });
        self.changes[0] += 1;
    }

    pub(super) async fn merge(&mut self, who: usize) {
        let person = &self.people[who];
        let (Some(secret), Some(account)) = (person.kept.clone(), person.account.clone()) else {
            return;
        };
        let login = Login {
            email: email(who),
            password: PASSWORD.to_owned(),
            device: String::new(),
            merge: Some(secret.clone()),
        };
        let accounts = self.world.accounts();
        let merged = match accounts.login(&whence(), login).await {
            Ok(logged_in) => logged_in.merged.expect("a secret was shown"),
            Err(problem) => return assert_eq!(problem.code, Code::ProofRequired),
        };
        assert_eq!(
            self.holders.get(&merged),
            Some(&who),
            "took somebody else's address along"
        );
        let gone = accounts.visitor(&whence(), &secret).await.unwrap_err();
        assert_eq!(gone.code, Code::IdentityMoved);
        let person = &mut self.people[who];
        person.kept = None;
        let is_his = |session: &mut Session| session.principal.user_id == merged;
        if let Some(session) = person.session.take_if(is_his) {
            self.world.close(&session).await;
        }
        let waiting = self.mailboxes.remove(&merged).unwrap_or_default();
        let own = self.mailboxes.entry(account.address).or_default();
        own.extend(waiting);
        self.changes[1] += 1;
    }

    pub(super) async fn carry(&mut self, who: usize) {
        let Some(secret) = self.people[who].kept.clone() else {
            return;
        };
        let accounts = self.world.accounts();
        let link = match accounts.link(&whence(), &secret).await {
            Ok(link) => link,
            Err(problem) => return assert_eq!(problem.code, Code::Unauthorized),
        };
        let opened = accounts.redeem(&whence(), &link).await.unwrap();
        let used = accounts.redeem(&whence(), &link).await.unwrap_err();
        assert_eq!(used.code, Code::Expired, "a link is for one use");
        let address = opened.principal.user_id;
        assert_eq!(
            self.holders.get(&address),
            Some(&who),
            "carried somebody else's address"
        );
        let old = self.world.visitors.authenticate(&whence(), &secret).await;
        assert!(old.is_err(), "the old browser's secret has ended");
        self.firm.insert(address.clone());
        let person = &mut self.people[who];
        person.kept = opened.secret_to_tell;
        let is_his = |session: &mut Session| session.principal.user_id == address;
        if let Some(session) = person.session.take_if(is_his) {
            self.world.close(&session).await;
        }
        self.changes[2] += 1;
    }

    /// What everybody can list of himself at the end: what he wrote, and what was meant for him.
    pub(super) async fn check_lists(&self) {
        for (who, person) in self.people.iter().enumerate() {
            let mut principals = Vec::new();
            principals.extend(person.session.as_ref().map(|it| it.principal.clone()));
            if let Some(account) = &person.account {
                let accounts = self.world.accounts();
                let principal = accounts.authenticate(&whence(), &account.access).await;
                principals.push(principal.unwrap());
            }
            for principal in principals {
                let mut after = None;
                loop {
                    let page = self.world.visitors.export(&principal, after).await.unwrap();
                    let Some(last) = page.last() else { break };
                    after = Some(last.id);
                    for message in &page {
                        let (from, meant_for) = self.written[&message.id];
                        assert!(
                            who == from || who == meant_for,
                            "{who} lists what {from} wrote for {meant_for}"
                        );
                    }
                }
            }
        }
    }
}
