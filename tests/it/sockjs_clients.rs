//! The real `sockjs-client` under the real STOMP.js: in Node, and in Chromium what only browsers do.

use serde_json::json;

use crate::support::chromium::Browser;
use crate::support::node::Node;
use crate::support::stompjs::StompJs;
use crate::support::web::{Web, clients};

/// Every transport of the client that runs in Node, by its name for it.
const IN_NODE: [&str; 4] = ["websocket", "xhr-streaming", "eventsource", "xhr-polling"];

/// Every transport that runs in Chromium on a page of another origin.
const IN_CHROMIUM: [&str; 8] = [
    "websocket",
    "xhr-streaming",
    "eventsource",
    "xhr-polling",
    "iframe-eventsource",
    "iframe-htmlfile",
    "iframe-xhr-polling",
    "jsonp-polling",
];

#[tokio::test]
async fn stompjs_talks_over_every_transport_of_sockjs_in_node() {
    let node = Node::start("sockjs", &[("RATE_ANON_PER_MIN", "0"), ("RATE_BURST", "0")]).await;
    let js = StompJs::start();
    for transport in IN_NODE {
        let options = json!({"headers": {"visitor-token": "new"}, "sockjs": transport});
        let url = node.url("/ws-chat");
        let device = js.connect(transport, &url, options).await.unwrap();
        let topic = format!("/topic/{transport}");
        device.subscribe(&topic).await;
        for n in 0..30 {
            let body = format!("{n} 안녕 \u{2028} 😀");
            device.throw_away(&topic, &body, json!({})).await;
        }
        device
            .throw_away(&topic, &"x".repeat(60_000), json!({}))
            .await;
        let messages = device.received(&topic, 31).await;
        for (n, message) in messages[..30].iter().enumerate() {
            assert_eq!(message.text, format!("{n} 안녕 \u{2028} 😀"), "{transport}");
        }
        assert_eq!(messages[30].text.len(), 60_000, "{transport}");
        device.disconnect().await;
    }
}

#[tokio::test]
async fn stompjs_talks_over_every_transport_of_sockjs_in_chromium() {
    let pages = Web::start(files(), None).await;
    let script = pages.url("/sockjs.js");
    let settings = [
        ("CORS_ORIGINS", pages.origin()),
        ("SOCKJS_CLIENT_URL", script),
        ("SESSIONS_VISITOR", "20".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let node = Node::start("sockjs", &settings).await;
    let mut browser = Browser::start().await;
    let url = pages.url(&format!("/?{}", node.url("/ws-chat")));
    let page = browser.open(&url, (800, 600), false).await;
    browser.wait_for(&page, "window.talk").await;
    for transport in IN_CHROMIUM {
        let said = browser
            .evaluate(&page, &format!("talk('{transport}')"))
            .await;
        assert_eq!(
            said,
            json!("안녕 </script> 3"),
            "{transport}: {:#?}",
            browser.complaints()
        );
    }
    // And on a page of the same origin, which hides where it is from its own forms.
    let pages = Web::start(files(), Some(node.address())).await;
    let page = browser
        .open(&pages.url("/hidden?/ws-chat"), (800, 600), false)
        .await;
    browser.wait_for(&page, "window.talk").await;
    for transport in [
        "websocket",
        "xhr-streaming",
        "eventsource",
        "htmlfile",
        "xhr-polling",
        "jsonp-polling",
    ] {
        let said = browser
            .evaluate(&page, &format!("talk('{transport}')"))
            .await;
        assert_eq!(
            said,
            json!("안녕 </script> 3"),
            "{transport}: {:#?}",
            browser.complaints()
        );
    }
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

/// What the page does: a conversation of STOMP over one transport, and what came of it.
const TALK: &str = r#"
window.talk = (transport) => new Promise((resolve) => {
  const base = location.search.slice(1);
  const client = new StompJs.Client({
    webSocketFactory: () => new SockJS(base, null, { transports: [transport] }),
    reconnectDelay: 0,
    onStompError: (frame) => resolve("ERROR " + frame.body),
    onWebSocketClose: (close) => resolve(`closed ${close.code} ${close.reason}`),
  });
  let count = 0;
  client.onConnect = () => {
    const destination = "/topic/" + transport;
    client.subscribe(destination, (message) => {
      count += 1;
      if (count < 3) return;
      client.onWebSocketClose = () => resolve(`${message.body} ${count}`);
      client.deactivate();
    });
    for (let n = 0; n < 3; n += 1) client.publish({ destination, body: "안녕 </script>" });
  };
  setTimeout(() => resolve(`nothing after 15 s, ${count} messages`), 15000);
  client.activate();
});
"#;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>talk</title><body>\
    <script src=/sockjs.js></script><script src=/stomp.js></script><script src=/talk.js></script>";

/// The page, its scripts, and the page that hides where it is.
fn files() -> Vec<(&'static str, String)> {
    let hidden = format!("{PAGE}<meta name=referrer content=no-referrer>");
    let mut files = clients();
    files.extend([
        ("/", PAGE.to_owned()),
        ("/hidden", hidden),
        ("/talk.js", TALK.to_owned()),
    ]);
    files
}
