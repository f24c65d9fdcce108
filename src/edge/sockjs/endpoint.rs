//! One endpoint: requests below its base, answered.
//!
//! Not here: who may come in and what a session is for (the [`SessionHandler`]). Invariants: every request is counted
//! for its network and judged before anything is done for it; without a turn go only the one request that
//! receives and the one that sends of an open session, both of its owner; a session is opened by a request that
//! receives.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use tokio_util::task::TaskTracker;

use super::handler::SessionHandler;
use super::line::{HttpLine, Line};
use super::owner::{Caller, Owner};
use super::pages::{self, IframePage};
use super::registry::Sessions;
use super::session::{Account, Attached, Direction, HttpSession, Pass};
use super::settings::SockJsSettings;
use super::upgrade::{self, Upgrade};
use super::{answers, framed, receiver, sending};
use crate::budget::Lease;
use crate::edge::charges::End;
use crate::sockjs::{Framing, Place, Transport, close_frame, is_callback, place, query_callback};

/// How long a request to receive waits for another one to be noticed as gone.
const MOMENT: Duration = Duration::from_millis(50);

/// An endpoint.
pub(super) struct Endpoint {
    settings: SockJsSettings,
    iframe: IframePage,
    sessions: Arc<Sessions>,
    handler: Arc<dyn SessionHandler>,
    tracker: TaskTracker,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

type Answer = Result<Response<Body>, Box<Response<Body>>>;

impl Endpoint {
    /// An endpoint whose iframe may stand in pages of these origins (`frame-ancestors`).
    pub(super) fn new(
        settings: SockJsSettings,
        ancestors: &str,
        handler: Arc<dyn SessionHandler>,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            iframe: IframePage::new(&settings.client_url, ancestors),
            settings,
            sessions: Arc::default(),
            handler,
            tracker,
        }
    }

    /// Answers a request for what follows the base in its path.
    pub(super) async fn answer(self: &Arc<Self>, below: &str, request: Request) -> Response<Body> {
        match self.try_answer(below, request).await {
            Ok(response) => response,
            Err(response) => *response,
        }
    }

    async fn try_answer(self: &Arc<Self>, below: &str, request: Request) -> Answer {
        let (head, body) = request.into_parts();
        let caller = self.handler.caller(&head)?;
        let place = place(below);
        // Held until the answer begins: meanwhile no other request of the session passes in its direction.
        let pass = place
            .as_ref()
            .and_then(|place| self.pass(place, &caller, &head.method));
        self.handler.admit(&head, &caller, pass.is_some()).await?;
        let Some(place) = place else {
            return Ok(answers::not_found());
        };
        self.handler.judge(&caller)?;
        let is_get = matches!(head.method, Method::GET | Method::HEAD);
        match place {
            Place::Greeting if is_get => Ok(pages::greeting()),
            Place::Iframe if is_get => Ok(self.iframe.answer(&head.headers)),
            Place::Greeting | Place::Iframe => Ok(answers::other_method("GET")),
            Place::Info => Ok(self.info(&head, &caller, is_get)),
            Place::RawWebSocket => self.websocket(Request::from_parts(head, body), &caller, false),
            Place::Session {
                transport: Transport::WebSocket,
                ..
            } => self.websocket(Request::from_parts(head, body), &caller, true),
            Place::Session { session, transport } => {
                self.transport(session, transport, &caller, head, body)
                    .await
            }
        }
    }

    /// The right to go on however many others arrive, of a request that its session waits for.
    fn pass(&self, place: &Place<'_>, caller: &Caller, method: &Method) -> Option<Pass> {
        let Place::Session { session, transport } = place else {
            return None;
        };
        if caller.refused.is_some() || method.as_str() != transport.method() {
            return None;
        }
        let direction = match transport {
            Transport::WebSocket => return None,
            Transport::XhrSend | Transport::JsonpSend => Direction::Sends,
            Transport::Xhr
            | Transport::XhrStreaming
            | Transport::EventSource
            | Transport::HtmlFile
            | Transport::Jsonp => Direction::Receives,
        };
        self.sessions.find(session)?.pass(caller, direction)
    }

    fn info(&self, head: &Parts, caller: &Caller, is_get: bool) -> Response<Body> {
        let mut response = match is_get {
            true => pages::info(&self.settings),
            false if head.method == Method::OPTIONS => answers::preflight("OPTIONS, GET"),
            false => return answers::other_method("OPTIONS, GET"),
        };
        let headers = response.headers_mut();
        answers::share(headers, &head.headers, caller.origin.as_ref());
        if is_get && let Some(cookie) = self.handler.cookie(head) {
            headers.append(axum::http::header::SET_COOKIE, cookie);
        }
        response
    }

    fn websocket(
        self: &Arc<Self>,
        mut request: Request,
        caller: &Caller,
        is_framed: bool,
    ) -> Answer {
        if request.method() != Method::GET {
            return Ok(answers::other_method("GET"));
        }
        if !self.settings.websocket {
            return Ok(answers::not_found());
        }
        let upgrade = upgrade::asked(&mut request)?;
        let (head, _) = request.into_parts();
        let admitted = self.handler.enter(&head, false)?;
        let response = upgrade.answer(admitted.set_cookie);
        let endpoint = Arc::clone(self);
        let mut lease = self.handler.memory().lease(&caller.claimant);
        let charge = admitted.charge;
        if let Some(charge) = &charge {
            lease.set_evictable(charge.whose());
        }
        let task = self.tracker.spawn(async move {
            if let Some(line) = endpoint.opened(upgrade, is_framed, lease).await {
                (admitted.serve)(line).await;
            }
        });
        if let Some(charge) = charge {
            charge.ends_by(End::Task(task.abort_handle()));
        }
        Ok(response)
    }

    async fn opened(&self, upgrade: Upgrade, is_framed: bool, lease: Lease) -> Option<Line> {
        let settings = &self.settings;
        if !is_framed {
            let socket = upgrade.open(settings.message_bytes_max).await?;
            return Some(Line::Raw(socket));
        }
        let socket = upgrade.open(settings.request_bytes_max()).await?;
        let framed = framed::FramedSocket::open(socket, settings.heartbeat, lease).await;
        framed.ok().map(Line::Framed)
    }

    /// The transports over requests.
    async fn transport(
        &self,
        session: &str,
        transport: Transport,
        caller: &Caller,
        head: Parts,
        body: Body,
    ) -> Answer {
        let allowed = match transport.method() {
            "POST" => "OPTIONS, POST",
            _ => "OPTIONS, GET",
        };
        let answer = if head.method == Method::OPTIONS {
            Ok(answers::preflight(allowed))
        } else if head.method.as_str() != transport.method() {
            return Ok(answers::other_method(allowed));
        } else {
            let framing = match transport {
                Transport::XhrSend => Err(false),
                Transport::JsonpSend => Err(true),
                Transport::Xhr => Ok(Framing::Xhr),
                Transport::XhrStreaming => Ok(Framing::XhrStreaming),
                Transport::EventSource => Ok(Framing::EventSource),
                Transport::HtmlFile => Ok(Framing::HtmlFile(callback(&head)?)),
                Transport::Jsonp => Ok(Framing::Jsonp(callback(&head)?)),
                Transport::WebSocket => return Ok(answers::not_found()),
            };
            match framing {
                Ok(framing) => {
                    self.receive(session, transport, framing, caller, &head)
                        .await
                }
                Err(by_form) => self.send(session, by_form, caller, &head, body).await,
            }
        };
        let (mut response, outcome) = match answer {
            Ok(response) => (response, true),
            Err(response) => (*response, false),
        };
        let headers = response.headers_mut();
        answers::share(headers, &head.headers, caller.origin.as_ref());
        if head.method != Method::OPTIONS {
            answers::not_cached(headers);
            if self.settings.cookie_needed {
                answers::balancers_cookie(headers, &head.headers);
            }
        }
        match outcome {
            true => Ok(response),
            false => Err(Box::new(response)),
        }
    }

    async fn receive(
        &self,
        name: &str,
        transport: Transport,
        framing: Framing,
        caller: &Caller,
        head: &Parts,
    ) -> Answer {
        let mut set_cookie = None;
        let body = match self.sessions.find(name) {
            Some(session) => attached(session, &framing, caller).await?,
            None => {
                let admitted = self.handler.enter(head, true)?;
                let account = Account::open(self.handler.memory(), &caller.claimant);
                let session = HttpSession::new(
                    self.settings.limits(),
                    Owner::new(caller, admitted.given),
                    account.map_err(sending::no_memory)?,
                );
                if let Some(charge) = admitted.charge {
                    charge.ends_by(End::Requests(session.whose()));
                }
                match self.sessions.insert(name, &session) {
                    Ok(()) => {
                        set_cookie = admitted.set_cookie;
                        let sessions = Arc::clone(&self.sessions);
                        let line = HttpLine::new(Arc::clone(&session), sessions, name, transport);
                        self.tracker.spawn((admitted.serve)(Line::Http(line)));
                        receiver::of_session(session, framing.clone())
                    }
                    // Another request has opened it meanwhile.
                    Err(session) => attached(session, &framing, caller).await?,
                }
            }
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        let value = HeaderValue::from_static(framing.content_type());
        headers.insert(CONTENT_TYPE, value);
        if !framing.is_polling() {
            // A proxy that gathers an answer until it ends would give this one to nobody.
            let no = HeaderValue::from_static("no");
            headers.insert(HeaderName::from_static("x-accel-buffering"), no);
        }
        if let Framing::HtmlFile(_) = framing {
            headers.insert(CONTENT_SECURITY_POLICY, self.iframe.policy_of_parts());
        }
        if let Some(cookie) = set_cookie {
            headers.append(axum::http::header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    async fn send(
        &self,
        name: &str,
        by_form: bool,
        caller: &Caller,
        head: &Parts,
        body: Body,
    ) -> Answer {
        let session = self.sessions.find(name);
        let Some(session) = session.filter(|it| it.belongs_to(caller)) else {
            return Err(Box::new(answers::not_found()));
        };
        let within = (self.handler.as_ref(), &self.settings);
        sending::send((&session, caller), within, head, body, by_form).await?;
        if !by_form {
            return Ok(answers::taken());
        }
        let mut response = answers::text(StatusCode::OK, "ok");
        // The form's answer goes into a hidden frame of the page.
        let policy = self.iframe.policy_of_parts();
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
        Ok(response)
    }
}

/// The body of a request that receives from a session which is there.
async fn attached(
    session: Arc<HttpSession>,
    framing: &Framing,
    caller: &Caller,
) -> Result<Body, Box<Response<Body>>> {
    if !session.belongs_to(caller) {
        return Err(Box::new(answers::not_found()));
    }
    Ok(match session.attach(MOMENT).await {
        Attached::Yes => receiver::of_session(session, framing.clone()),
        Attached::Closed(frame) => receiver::of_frame(&frame, framing),
        Attached::Busy => {
            let frame = close_frame(2010, "Another connection still open");
            receiver::of_frame(&frame, framing)
        }
    })
}

fn callback(head: &Parts) -> Result<String, Box<Response<Body>>> {
    let refused = |words| Box::new(answers::text(StatusCode::INTERNAL_SERVER_ERROR, words));
    let named = query_callback(head.uri.query().unwrap_or_default());
    let named = named.ok_or_else(|| refused("\"callback\" parameter required"))?;
    match is_callback(&named) {
        true => Ok(named),
        false => Err(refused("invalid \"callback\" parameter")),
    }
}

/// The path of a request from this octet on: what stands below the base.
pub(super) fn path_from(octet: usize, request: &Request) -> String {
    let below = request.uri().path().get(octet..);
    below.unwrap_or_default().to_owned()
}
