//! The real `sockjs-client` under the real STOMP.js: in Node, and in Chromium what only browsers do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::support::chromium::Browser;
use crate::support::node::Node;
use crate::support::stompjs::StompJs;

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
    let pages = Pages::in_front_of(None).await;
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
    let pages = Pages::in_front_of(Some(node.address())).await;
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

/// A server of another origin, with the page and its scripts.
struct Pages(SocketAddr);

impl Pages {
    /// What it has no page for it hands on to the node, if there is one.
    async fn in_front_of(node: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = Self(listener.local_addr().unwrap());
        let tracker = TaskTracker::new();
        let of_each = tracker.clone();
        tracker.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                of_each.spawn(serve(stream, node));
            }
        });
        pages
    }

    /// Another site than the node's: its cookies do not come along.
    fn origin(&self) -> String {
        format!("http://localhost:{}", self.0.port())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }
}

fn text(path: &str) -> (&'static str, String) {
    let read = |path: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/js/node_modules")
            .join(path);
        let text = std::fs::read_to_string(&file);
        text.unwrap_or_else(|_| panic!("{path} is missing; fetch it with: (cd tests/js && npm ci)"))
    };
    let (script, html) = ("text/javascript; charset=utf-8", "text/html; charset=utf-8");
    match path.split('?').next() {
        Some("/sockjs.js") => (script, read("sockjs-client/dist/sockjs.js")),
        Some("/stomp.js") => (script, read("@stomp/stompjs/bundles/stomp.umd.js")),
        Some("/talk.js") => (script, TALK.to_owned()),
        Some("/hidden") => (
            html,
            format!("{PAGE}<meta name=referrer content=no-referrer>"),
        ),
        _ => (html, PAGE.to_owned()),
    }
}

async fn serve(mut stream: TcpStream, node: Option<SocketAddr>) {
    let mut request = vec![0; 8 << 10];
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut request));
    let Ok(Ok(count)) = reading.await else { return };
    let head = String::from_utf8_lossy(&request[..count]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some(node) = node
        && path.starts_with("/ws-chat")
    {
        let mut onward = TcpStream::connect(node).await.unwrap();
        onward.write_all(&request[..count]).await.unwrap();
        // Whoever closes first has said all.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        return;
    }
    let (kind, text) = text(path);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all((head + &text).as_bytes()).await;
}
