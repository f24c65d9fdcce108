//! A real Chromium without a window, driven over its DevTools protocol.
//!
//! Only what the tests of the page need: tabs, evaluating JavaScript, keys, a screen of another
//! size, pictures. Invariant: each browser has a profile of its own and ends with its [`Browser`].

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long the browser may take for anything. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A name of this machine that browsers do not take for it: what is at home in plain HTTP under it is not in
/// a secure context, as on a phone in the same network.
pub(crate) const PLAIN_NAME: &str = "stompbox.test";

/// What Chromium answers when the document goes before the answer is there.
const NAVIGATED: &str = "Inspected target navigated or closed";

const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-US",
    "--host-resolver-rules=MAP stompbox.test 127.0.0.1",
    "--remote-debugging-port=0",
];

/// A running browser.
#[derive(Debug)]
pub(crate) struct Browser {
    process: Child,
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// What was written to the console of any tab, and what went wrong in one.
    complaints: Vec<String>,
    /// The tab of each WebSocket that was opened, in their order.
    sockets: Vec<String>,
    _profile: TempDir,
}

/// A tab of it.
#[derive(Clone, Debug)]
pub(crate) struct Tab {
    session: String,
}

impl Browser {
    /// Starts one with an empty profile.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromium")
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium cannot be started; install the Debian package chromium");
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (found, url) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            // Read to the end, or the browser waits for a full pipe.
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("DevTools listening on ws://")
                    && let Some(found) = found.take()
                {
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        let url = timeout(PATIENCE, url)
            .await
            .expect("chromium does not listen");
        let url = url.expect("chromium ended at its start");
        let address: SocketAddr = url.split('/').next().unwrap().parse().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let config = WebSocketConfig::default()
            .max_message_size(Some(64 << 20))
            .max_frame_size(Some(64 << 20));
        let connecting = tokio_tungstenite::client_async_with_config(
            format!("ws://{url}"),
            stream,
            Some(config),
        );
        let (socket, _) = connecting.await.unwrap();
        Self {
            process,
            socket,
            last_id: 0,
            complaints: Vec::new(),
            sockets: Vec::new(),
            _profile: profile,
        }
    }

    /// Opens a page in a new tab, on a screen of this size.
    pub(crate) async fn open(&mut self, url: &str, size: (u32, u32), is_phone: bool) -> Tab {
        let target = json!({"url": "about:blank"});
        let target = self.call(None, "Target.createTarget", target).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", attach).await;
        let tab = Tab {
            session: attached["sessionId"].as_str().unwrap().to_owned(),
        };
        self.on(&tab, "Runtime.enable", json!({})).await;
        self.on(&tab, "Log.enable", json!({})).await;
        self.on(&tab, "Page.enable", json!({})).await;
        self.on(&tab, "Network.enable", json!({})).await;
        self.resize(&tab, size, is_phone).await;
        self.on(&tab, "Page.navigate", json!({"url": url})).await;
        tab
    }

    /// Gives a tab a screen of another size.
    pub(crate) async fn resize(&mut self, tab: &Tab, (width, height): (u32, u32), is_phone: bool) {
        let screen = json!({
            "width": width, "height": height,
            "deviceScaleFactor": if is_phone { 2 } else { 1 }, "mobile": is_phone,
        });
        self.on(tab, "Emulation.setDeviceMetricsOverride", screen)
            .await;
    }

    /// Shows a tab as people with this preference see it: `light` or `dark`.
    pub(crate) async fn prefer_colours(&mut self, tab: &Tab, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let media = json!({"features": [feature]});
        self.on(tab, "Emulation.setEmulatedMedia", media).await;
    }

    /// Cuts a tab off from every network, or gives it back.
    pub(crate) async fn block(&mut self, tab: &Tab, urls: &[&str]) {
        self.on(tab, "Network.setBlockedURLs", json!({"urls": urls}))
            .await;
    }

    /// Loads the page of a tab again, and waits until its old document is gone.
    pub(crate) async fn reload(&mut self, tab: &Tab) {
        self.evaluate(tab, "window.old = true").await;
        self.on(tab, "Page.reload", json!({})).await;
        self.wait_for(tab, "!window.old").await;
    }

    /// The value of a JavaScript expression.
    pub(crate) async fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let value = self.try_evaluate(tab, expression).await;
        value.unwrap_or_else(|error| panic!("{expression}: {error:#}"))
    }

    /// Waits until an expression is true. A document that is replaced meanwhile makes nothing true.
    pub(crate) async fn wait_for(&mut self, tab: &Tab, expression: &str) {
        let began = Instant::now();
        let condition = format!("!!({expression})");
        loop {
            match self.try_evaluate(tab, &condition).await {
                Ok(value) if value == true => break,
                Ok(_) => {}
                Err(error) if error["message"] == NAVIGATED => {}
                Err(error) => panic!("{expression}: {error:#}"),
            }
            if began.elapsed() > PATIENCE {
                let text = self.evaluate(tab, "document.body.innerText").await;
                panic!("not so: {expression}\n{text:#}\n{:#?}", self.complaints);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Types a text where the focus is, as an input method would.
    pub(crate) async fn write(&mut self, tab: &Tab, text: &str) {
        self.on(tab, "Input.insertText", json!({"text": text}))
            .await;
    }

    /// Presses Enter.
    pub(crate) async fn press_enter(&mut self, tab: &Tab) {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13,
            });
            self.on(tab, "Input.dispatchKeyEvent", key).await;
        }
    }

    /// Presses Esc.
    pub(crate) async fn press_escape(&mut self, tab: &Tab) {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27,
            });
            self.on(tab, "Input.dispatchKeyEvent", key).await;
        }
    }

    /// How many WebSockets a tab has opened since it is there.
    pub(crate) async fn sockets_opened(&mut self, tab: &Tab) -> usize {
        // Events come before the answer to what is asked after them.
        self.evaluate(tab, "0").await;
        let opened = self.sockets.iter();
        opened.filter(|session| **session == tab.session).count()
    }

    /// Writes what a tab shows into a file.
    pub(crate) async fn picture(&mut self, tab: &Tab, file: &Path) {
        let at_rest = "document.getAnimations().every((it) => it.playState === 'finished')";
        self.wait_for(tab, at_rest).await;
        let shot = json!({"format": "png"});
        let answer = self.on(tab, "Page.captureScreenshot", shot).await;
        let encoded = answer["data"].as_str().unwrap();
        let octets = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, octets).unwrap();
    }

    /// What tabs have complained of: errors on the console, exceptions, refused resources.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn try_evaluate(&mut self, tab: &Tab, expression: &str) -> Result<Value, Value> {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let session = Some(tab.session.as_str());
        let answer = self.try_call(session, "Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(exception) => Err(exception.clone()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    async fn on(&mut self, tab: &Tab, method: &str, params: Value) -> Value {
        self.call(Some(&tab.session), method, params).await
    }

    async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let answer = self.try_call(session, method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error:#}"))
    }

    async fn try_call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            request["sessionId"] = json!(session);
        }
        self.socket
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await;
            let message = message.expect(method).expect("chromium has ended").unwrap();
            let Message::Text(text) = message else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == id {
                return match answer.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(answer["result"].clone()),
                };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        if event["method"] == "Network.webSocketCreated" {
            let session = event["sessionId"].as_str().unwrap_or_default();
            self.sockets.push(session.to_owned());
            return;
        }
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &params["exceptionDetails"],
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => &params["args"],
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => &params["entry"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it: they wait on its pipes.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
