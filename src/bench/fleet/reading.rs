//! What comes in on a connection, and what it makes the connection do next.
//!
//! Not here: what a message means for a scenario. Invariant: frames are cut at their lengths however
//! the octets were split, and a whole frame is looked at once.

use std::io;

use super::{Fleet, READ_BYTES};
use crate::bench::dialect::{self, Said, Welcome};
use crate::bench::link::{Ear, Heard, Phase, Why};
use crate::bench::websocket::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};

impl Fleet<'_> {
    /// TCP may stand by now: if so, asks for the WebSocket.
    pub(super) fn has_connected<E: Ear>(&mut self, link: usize, ear: &mut E) -> bool {
        let Some(socket) = &self.links[link].socket else {
            return false;
        };
        match socket.is_connected() {
            Ok(false) => false,
            Ok(true) => {
                let plan = &self.plans[link];
                let target = &self.targets[usize::from(plan.target)];
                let protocols = self.introduction.protocols();
                let host = match target.address.port() {
                    80 | 443 => target.host.clone(),
                    port => format!("{}:{port}", target.host),
                };
                let request = websocket::upgrade(&host, &target.path, protocols);
                self.links[link].phase = Phase::Upgrading;
                self.send(link, &request, ear);
                true
            }
            Err(error) => {
                self.end(link, &Why::NoServer(error.to_string()), ear);
                false
            }
        }
    }

    /// Reads until nothing is left. With `closes` the end is read for as well.
    pub(super) fn read<E: Ear>(&mut self, link: usize, closes: bool, ear: &mut E) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let state = &mut self.links[link];
            let Some(socket) = &mut state.socket else {
                break;
            };
            // What was left of the last frame comes first, so that it is looked at in one piece.
            let kept = state.carry.len();
            if buffer.len() < kept + READ_BYTES / 2 {
                buffer.resize(kept + READ_BYTES, 0);
            }
            buffer[..kept].copy_from_slice(&state.carry);
            let count = match socket.read(&mut buffer[kept..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.end(link, &Why::Closed(error.to_string()), ear);
                    break;
                }
            };
            if count == 0 {
                self.end(link, &Why::Closed("without a word".to_owned()), ear);
                break;
            }
            let is_all = socket.is_exhausted_by_short_reads() && kept + count < buffer.len();
            state.carry = Vec::new();
            let octets = &buffer[..kept + count];
            let used = self.digest(link, octets, ear);
            let state = &mut self.links[link];
            if state.socket.is_some() {
                state.carry.extend_from_slice(&octets[used..]);
            }
            if is_all && !closes {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Takes whole frames. Returns how many octets they had.
    fn digest<E: Ear>(&mut self, link: usize, octets: &[u8], ear: &mut E) -> usize {
        let at_ns = self.now_ns();
        let mut used = 0;
        if self.links[link].phase == Phase::Upgrading {
            match websocket::upgraded(octets) {
                Ok(None) => return 0,
                Ok(Some(head)) => used = head,
                Err(words) => {
                    self.end(link, &Why::Refused(words), ear);
                    return octets.len();
                }
            }
            self.links[link].phase = Phase::Greeting;
            let user = self.plans[link].user;
            let token = self.people[user as usize].token.as_deref();
            if let Some(connect) = self.introduction.connect(token) {
                self.say(link, connect.as_bytes(), ear);
            }
        }
        loop {
            let frame = match websocket::next_frame(&octets[used..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => return used,
                Err(words) => {
                    self.end(link, &Why::Closed(words.to_owned()), ear);
                    return octets.len();
                }
            };
            let payload = &octets[used + frame.at..used + frame.end];
            used += frame.end;
            match frame.opcode {
                TEXT | BINARY | CONTINUATION => self.take_text(link, payload, at_ns, ear),
                PING => self.frame(link, PONG, payload, ear),
                CLOSE => {
                    let words = close_words(payload);
                    self.end(link, &Why::Closed(words), ear);
                }
                _ => {}
            }
            if self.links[link].socket.is_none() {
                return octets.len();
            }
        }
    }

    /// A message of WebSocket, or a part of one. STOMP is a stream of frames with a NUL at the end
    /// of each, whatever way it was cut; a packet of Socket.IO is one message.
    fn take_text<E: Ear>(&mut self, link: usize, payload: &[u8], at_ns: u64, ear: &mut E) {
        if !self.is_stomp {
            return self.take(link, dialect::socket_io(payload), at_ns, ear);
        }
        let part = std::mem::take(&mut self.links[link].part);
        if part.is_empty() {
            return self.take_stomp(link, payload, at_ns, ear);
        }
        let whole = [part.as_slice(), payload].concat();
        self.take_stomp(link, &whole, at_ns, ear);
    }

    fn take_stomp<E: Ear>(&mut self, link: usize, octets: &[u8], at_ns: u64, ear: &mut E) {
        let mut rest = octets;
        while let Some(end) = memchr::memchr(0, rest) {
            self.take(link, dialect::stomp(&rest[..end]), at_ns, ear);
            rest = &rest[end + 1..];
        }
        // Line ends between frames are beats and stand alone.
        if rest.iter().any(|octet| !matches!(octet, b'\n' | b'\r')) {
            self.links[link].part.extend_from_slice(rest);
        }
    }

    fn take<E: Ear>(&mut self, link: usize, said: Said<'_>, at_ns: u64, ear: &mut E) {
        match said {
            Said::Message(text) => ear.hear(link, &Heard::Message { text, at_ns }),
            Said::Receipt(number) => ear.hear(link, &Heard::Receipt { number, at_ns }),
            Said::Connected(welcome) => self.is_welcome(link, &welcome, ear),
            Said::Subscribed => self.is_ready(link, ear),
            Said::Opened => self.say(link, b"40", ear),
            Said::Ping => {
                let pong = self.introduction.pong();
                self.say(link, pong, ear);
            }
            Said::Refused(words) => self.end(link, &Why::Refused(words), ear),
            Said::Beat | Said::Nothing => {}
        }
    }

    fn is_welcome<E: Ear>(&mut self, link: usize, welcome: &Welcome<'_>, ear: &mut E) {
        let plan = &self.plans[link];
        let person = &mut self.people[plan.user as usize];
        if let Some(name) = welcome.user_name {
            person.user_name = name.into();
        }
        if let Some(token) = welcome.token {
            person.token = Some(token.into());
        }
        if welcome.beat_ms == 0 {
            // What one side does not want the other one does not send.
            self.beat_ms = 0;
        } else if self.beat_ms > 0 {
            self.beat_ms = self.beat_ms.max(welcome.beat_ms);
        }
        let Some(destination) = &plan.subscribe else {
            return self.is_ready(link, ear);
        };
        let mut octets = Vec::new();
        for beside in self.introduction.subscribe_beside(destination, plan.user) {
            websocket::put_frame(&mut octets, TEXT, beside.as_bytes());
        }
        let subscribe = self.introduction.subscribe(destination);
        websocket::put_frame(&mut octets, TEXT, subscribe.as_bytes());
        self.links[link].phase = Phase::Subscribing;
        self.send(link, &octets, ear);
        if !self.introduction.awaits_subscription() {
            self.is_ready(link, ear);
        }
    }

    fn is_ready<E: Ear>(&mut self, link: usize, ear: &mut E) {
        let now_ns = self.now_ns();
        let interval_ns = self.interval_ns();
        let state = &mut self.links[link];
        if state.socket.is_none() {
            return;
        }
        state.phase = Phase::Ready;
        let took_ns = now_ns - state.dialled_ns;
        if self.is_stomp && interval_ns > 0 {
            // There are fewer links than u32 has numbers; the order bounds them.
            let number = u32::try_from(link).unwrap_or(u32::MAX);
            self.beats
                .push_back((now_ns + interval_ns, number, state.life));
        }
        if self.plans[link].is_slow {
            self.deafen(link);
        }
        ear.hear(link, &Heard::Ready { took_ns });
    }
}

/// The code and the reason of a close.
fn close_words(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("close {code} {}", String::from_utf8_lossy(reason))
        }
        _ => "close without a code".to_owned(),
    }
}
