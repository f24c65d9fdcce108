//! A front end in the style of the Spring chat tutorials, unchanged, in real browsers
//! (`tests/js/spring-front-end.html`): against one node with its default settings, and against two.
//!
//! Not here: every transport of SockJS (`sockjs_clients`), what the rule table refuses
//! (`open_destinations`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::chromium::{Browser, Tab};
use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::web::{Web, clients, script};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(700);

/// What the front ends of several nodes need beyond the defaults: a visitor may write to another by
/// his name, and a queue fans out as Spring's simple broker has it.
const OPENED: [(&str, &str); 2] = [
    (
        "DESTINATION_RULES",
        "all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
    ),
    ("QUEUE_MODE", "fan-out"),
];

/// Somebody at his browser.
struct Person {
    name: &'static str,
    browser: Browser,
    tab: Tab,
}

impl Person {
    /// Opens the page in a browser of his own, and is in his room.
    async fn enters(name: &'static str, web: &Web, more: &str) -> Self {
        let mut browser = Browser::start().await;
        let url = web.url(&format!("/rooms?room=1&name={name}{more}"));
        let tab = browser.open(&url, (800, 600), false).await;
        let mut person = Self { name, browser, tab };
        person
            .wait_for("window.state?.textContent === 'connected'")
            .await;
        let greeting = format!("{name} is here");
        person.reads(&greeting).await;
        person
    }

    async fn wait_for(&mut self, expression: &str) {
        self.browser.wait_for(&self.tab, expression).await;
    }

    async fn run(&mut self, script: &str) -> Value {
        self.browser.evaluate(&self.tab, script).await
    }

    /// Writes into the form.
    async fn writes(&mut self, text: &str) {
        self.run("words.focus()").await;
        self.browser.write(&self.tab, text).await;
        self.browser.press_enter(&self.tab).await;
    }

    /// Waits until a line of this text is shown, once.
    async fn reads(&mut self, text: &str) {
        let lines = "[...talk.children].map((line) => line.textContent)";
        let expression = format!(
            "{lines}.filter((line) => line === {}).length === 1",
            json!(text)
        );
        self.wait_for(&expression).await;
    }

    /// Subscribes. What is sent after this on the same connection comes after it there.
    async fn listens(&mut self, destination: &str) {
        // The answer of a topic of one's own says that the SUBSCRIBE before it was taken.
        let own = format!("/topic/own-{}-{}", self.name, destination.replace('/', "-"));
        self.run(&format!(
            "listen({}); listen({own:?}); ws.send({own:?}, {{}}, '')",
            json!(destination)
        ))
        .await;
        self.wait_for(&format!("heard[{own:?}].length === 1")).await;
    }

    async fn sends(&mut self, destination: &str, body: &str) {
        let token = json!({"token": self.name});
        let arguments = format!("{}, {token}, {}", json!(destination), json!(body));
        self.run(&format!("ws.send({arguments})")).await;
    }

    /// What came on a subscription, once there is so much: destination, header `token`, and body.
    async fn hears(&mut self, destination: &str, count: usize) -> Vec<[String; 3]> {
        let queue = format!("heard[{}]", json!(destination));
        self.wait_for(&format!("{queue}.length >= {count}")).await;
        let of_each = "(it) => [it.headers.destination, it.headers.token ?? '', it.body]";
        let found = self.run(&format!("{queue}.map({of_each})")).await;
        serde_json::from_value(found).unwrap()
    }

    /// `user-name`.
    async fn user(&mut self) -> String {
        let user = self.run("connected['user-name']").await;
        user.as_str().unwrap().to_owned()
    }

    fn has_no_complaints(&self) {
        let complaints = self.browser.complaints();
        assert_eq!(complaints, [] as [String; 0], "{}", self.name);
    }
}

fn files() -> Vec<(&'static str, String)> {
    let mut files = clients();
    files.push(("/rooms", script("spring-front-end.html")));
    files
}

/// Both say something, and both read everything once.
async fn talk([alice, bob]: [&mut Person; 2]) {
    alice.reads("bob is here").await;
    alice.writes("안녕, \"bob\" <b>").await;
    bob.reads("alice: 안녕, \"bob\" <b>").await;
    bob.writes("😀").await;
    for person in [&mut *alice, &mut *bob] {
        person.reads("alice: 안녕, \"bob\" <b>").await;
        person.reads("bob: 😀").await;
    }
    let room = bob.hears("room", 3).await;
    let [destination, token, body] = room.last().unwrap();
    let said = json!({"type": "TALK", "roomId": "1", "sender": "bob", "message": "😀"});
    assert_eq!([destination, token], ["/sub/chat/room/1", "token of bob"]);
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), said);
}

#[tokio::test]
async fn a_front_end_of_the_spring_tutorials_chats_in_chromium_with_default_settings() {
    let node = Node::start("node", &[]).await;
    let web = Web::start(files(), Some(node.address())).await;
    let mut alice = Person::enters("alice", &web, "").await;
    let mut bob = Person::enters("bob", &web, "&transport=xhr-streaming").await;
    talk([&mut alice, &mut bob]).await;
    // Another room hears nothing of it, and the other spelling of the room hears the same.
    alice.listens("/sub/chat/room/2").await;
    alice.listens("/topic/chat/room/1").await;
    bob.writes("which room?").await;
    let heard = alice.hears("/topic/chat/room/1", 1).await;
    assert_eq!(heard[0][..2], ["/topic/chat/room/1", "token of bob"]);
    assert_eq!(alice.hears("/sub/chat/room/2", 0).await.len(), 0);
    for person in [alice, bob] {
        person.has_no_complaints();
    }
}

#[tokio::test]
async fn a_front_end_of_the_spring_tutorials_chats_in_chromium_across_two_nodes() {
    let cluster = Cluster::start().await;
    let web = Web::start(files(), None).await;
    let origin = web.origin();
    let mut settings = vec![("CORS_ORIGINS", origin.as_str())];
    settings.extend(OPENED);
    let (a, b) = tokio::join!(
        cluster.node_with("a", &settings),
        cluster.node_with("b", &settings)
    );
    let at = |node: &Node| format!("&secret=new&node={}", node.url(""));
    let mut alice = Person::enters("alice", &web, &at(&a)).await;
    let mut bob = Person::enters("bob", &web, &at(&b)).await;
    talk([&mut alice, &mut bob]).await;

    // Spring's usual names: a topic, a handler's, a queue that fans out.
    for (subscribed, sent) in [
        ("/topic/greetings", "/topic/greetings"),
        ("/sub/news", "/topic/news"),
        ("/topic/chat/room/7", "/app/chat/message"),
        ("/queue/x", "/queue/x"),
    ] {
        alice.listens(subscribed).await;
        bob.listens(subscribed).await;
        let body = json!({"roomId": "7", "message": format!("to {sent}")}).to_string();
        bob.sends(sent, &body).await;
        for person in [&mut alice, &mut bob] {
            let heard = person.hears(subscribed, 1).await;
            assert_eq!(heard, [[subscribed, "bob", &body].map(str::to_owned)]);
        }
    }

    // To a user by his name: he hears it where he subscribed, and nobody else does.
    let (alice_is, bob_is) = (alice.user().await, bob.user().await);
    assert_ne!(alice_is, bob_is);
    let own = "/user/queue/private";
    for person in [&mut alice, &mut bob] {
        person.listens(own).await;
    }
    bob.sends(&format!("/user/{alice_is}/queue/private"), "for you")
        .await;
    let heard = alice.hears(own, 1).await;
    assert_eq!(heard, [[own, "bob", "for you"].map(str::to_owned)]);
    alice
        .sends(&format!("/user/{bob_is}/queue/private"), "and you")
        .await;
    let heard = bob.hears(own, 1).await;
    assert_eq!(heard, [[own, "alice", "and you"].map(str::to_owned)]);
    sleep(MOMENT).await;
    for person in [&mut alice, &mut bob] {
        for once in [own, "/queue/x", "/topic/greetings"] {
            assert_eq!(
                person.hears(once, 1).await.len(),
                1,
                "{once}: {}",
                person.name
            );
        }
    }
    for person in [alice, bob] {
        person.has_no_complaints();
    }
    for ended in [a.stop().await, b.stop().await] {
        assert!(ended.status.success(), "{}", ended.output);
    }
}
