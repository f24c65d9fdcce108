//! A web server for pages that are not the node's: of another origin, or with the node behind it as
//! the development servers of front ends have it.
//!
//! One answer per connection. Invariant: it ends with the runtime of its test.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Its pages and scripts, by their paths.
type Files = Arc<Vec<(&'static str, String)>>;

/// A server with pages.
#[derive(Debug)]
pub(crate) struct Web(SocketAddr);

impl Web {
    /// Serves these files. What is under an endpoint of STOMP it hands on to the node, if there is one.
    pub(crate) async fn start(
        files: Vec<(&'static str, String)>,
        node: Option<SocketAddr>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Self(listener.local_addr().unwrap());
        let (files, tracker) = (Arc::new(files), TaskTracker::new());
        let of_each = tracker.clone();
        tracker.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                of_each.spawn(serve(stream, Arc::clone(&files), node));
            }
        });
        web
    }

    /// Another site than that of a node at 127.0.0.1: its cookies do not come along.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.0.port())
    }

    /// A page of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }
}

/// A file of `tests/js`, such as those of the packages.
pub(crate) fn script(path: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    let text = std::fs::read_to_string(folder.join(path));
    text.unwrap_or_else(|_| panic!("{path} is missing; fetch it with: (cd tests/js && npm ci)"))
}

/// The real clients, as a page asks for them.
pub(crate) fn clients() -> Vec<(&'static str, String)> {
    let sockjs = script("node_modules/sockjs-client/dist/sockjs.js");
    let stomp = script("node_modules/@stomp/stompjs/bundles/stomp.umd.js");
    vec![("/sockjs.js", sockjs), ("/stomp.js", stomp)]
}

async fn serve(mut stream: TcpStream, files: Files, node: Option<SocketAddr>) {
    let mut request = vec![0; 8 << 10];
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut request));
    let Ok(Ok(count)) = reading.await else { return };
    let head = String::from_utf8_lossy(&request[..count]).into_owned();
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    if let Some(node) = node
        && path.starts_with("/ws")
    {
        let mut onward = TcpStream::connect(node).await.unwrap();
        onward.write_all(&request[..count]).await.unwrap();
        // Whoever closes first has said all.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        return;
    }
    let kind = match path.ends_with(".js") {
        true => "text/javascript; charset=utf-8",
        false => "text/html; charset=utf-8",
    };
    let file = files.iter().find(|(name, _)| *name == path);
    let (status, text) = file.map_or(("204 No Content", ""), |(_, text)| ("200 OK", text));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all((head + text).as_bytes()).await;
}
