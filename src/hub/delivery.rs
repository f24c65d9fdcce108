//! A message on its way to the subscriptions of this node: encoded once, shared by all.
//!
//! Not here: order (`routing::inbox`). Invariant: the octets differ only in version, subscription
//! id, the destination as the subscriber wrote it and, for a conversation, whether it is the reader's
//! own echo; each such form is encoded once.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::window::Content;
use crate::model::headers::kept_bytes;
use crate::model::{StoredMessage, TopicMessage, UserId, UserQueue};
use crate::stomp::{Message, Version, encode};
use crate::websocket::{Framed, counted};

/// What a MESSAGE needs to know of the subscription that it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscriber {
    /// The version in which it is encoded.
    pub version: Version,
    /// The subscription id; `None` for a 1.0 client that gave none.
    pub id: Option<Arc<str>>,
    /// The destination that it sees.
    pub shown: Shown,
}

/// The destination that a MESSAGE shows: as the subscriber wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// The one of the message.
    #[default]
    Canonical,
    /// This one: what was written to SUBSCRIBE, where it is not the canonical spelling.
    As(Arc<str>),
    /// The one of the message, with the canonical prefix, which is its first segment, replaced by
    /// this one: of a pattern.
    Under(Arc<str>),
}

impl Shown {
    /// The destination that MESSAGE shows for a message to `canonical`.
    fn over<'a>(&'a self, canonical: &'a str) -> Cow<'a, str> {
        match self {
            Self::Canonical => Cow::Borrowed(canonical),
            Self::As(written) => Cow::Borrowed(written),
            Self::Under(prefix) => {
                let rest = canonical
                    .strip_prefix('/')
                    .and_then(|path| path.split_once('/'));
                let name = rest.map_or("", |(_prefix, name)| name);
                Cow::Owned(format!("{prefix}/{name}"))
            }
        }
    }

    /// The same, to be kept: what the subscriber wrote is not copied.
    pub(super) fn shared(&self, canonical: &str) -> Arc<str> {
        match self {
            Self::As(written) => Arc::clone(written),
            Self::Canonical | Self::Under(_) => self.over(canonical).into(),
        }
    }
}

/// How many forms of one message are kept.
pub(super) const FORMS_MAX: usize = 16;

/// A stored message on its way to the sessions of its members.
#[derive(Debug)]
pub struct Delivery {
    /// What is delivered.
    pub message: StoredMessage,
    /// The frames that were encoded already, by form and by whether it is the reader's own echo. A
    /// list, not a map: the clients of one application share their subscription ids, so that there
    /// are one or two.
    encoded: Mutex<Vec<(Subscriber, bool, Framed)>>,
}

impl Delivery {
    /// A delivery of this message.
    #[must_use]
    pub fn new(message: StoredMessage) -> Arc<Self> {
        Arc::new(Self {
            message,
            encoded: Mutex::default(),
        })
    }

    /// The frame for a subscription of `reader`.
    #[must_use]
    pub fn frame(&self, subscriber: &Subscriber, reader: &UserId) -> Framed {
        let is_echo = *reader == self.message.from;
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = encoded
            .iter()
            .find(|(known, of_echo, _)| *of_echo == is_echo && known == subscriber);
        if let Some((_, _, frame)) = known {
            return frame.clone();
        }
        let frame = framed(&Message {
            version: subscriber.version,
            subscription: subscriber.id.as_deref(),
            destination: &subscriber.shown.over(UserQueue::Messages.as_str()),
            message_id: &self.message.id.to_string(),
            content_type: Some("application/json;charset=utf-8"),
            headers: &[],
            body: &self.message.render(reader),
        });
        // Whoever makes up a thousand subscription ids pays for them with encoding, not with a
        // search that everybody waits for.
        if encoded.len() < FORMS_MAX {
            encoded.push((subscriber.clone(), is_echo, frame.clone()));
        }
        frame
    }
}

/// A SEND to a topic on its way to the subscribers of this node.
#[derive(Debug)]
pub(super) struct TopicDelivery<'a> {
    pub(super) topic: &'a TopicMessage,
    message_id: String,
    /// The forms that are encoded. Subscriptions that are alike mostly share their [`Subscriber`],
    /// so that it is found by where it lies, and compared only where it lies elsewhere.
    encoded: Vec<(Arc<Subscriber>, Framed)>,
    /// The body as windows keep it, charged to the node once for all of them.
    kept: Option<Bytes>,
    /// Bytes of bodies and headers that were encoded or copied. The caller takes them out.
    pub(super) encoded_bytes: usize,
}

impl<'a> TopicDelivery<'a> {
    /// A delivery of this message, of which nothing is encoded yet.
    pub(super) fn new(topic: &'a TopicMessage, message_id: String) -> Self {
        Self {
            topic,
            message_id,
            encoded: Vec::with_capacity(1),
            kept: None,
            encoded_bytes: 0,
        }
    }

    /// The message as a subscription that acknowledges keeps it.
    pub(super) fn content(&mut self, subscriber: &Subscriber) -> Content {
        // The headers are copied now, the body when a frame of this subscription is encoded.
        self.encoded_bytes += self.topic.body.len() + kept_bytes(&self.topic.headers);
        let body = (self.kept).get_or_insert_with(|| counted(self.topic.body.clone()));
        Content {
            destination: subscriber.shown.shared(&self.topic.destination),
            message_id: self.message_id.as_str().into(),
            content_type: None,
            headers: self.topic.headers.clone(),
            body: body.clone(),
            is_shared: true,
            redelivered: false,
            tag: None,
        }
    }

    /// The frame for a subscription.
    pub(super) fn frame(&mut self, subscriber: &Arc<Subscriber>) -> Framed {
        let mut encoded = self.encoded.iter();
        match encoded.find(|(known, _)| Arc::ptr_eq(known, subscriber)) {
            Some((_, frame)) => frame.clone(),
            None => self.unlike(subscriber),
        }
    }

    /// The frame for a subscription that shares its form with none before it, or does not know it.
    #[inline(never)]
    fn unlike(&mut self, subscriber: &Arc<Subscriber>) -> Framed {
        let mut encoded = self.encoded.iter();
        if let Some((_, frame)) = encoded.find(|(known, _)| known == subscriber) {
            return frame.clone();
        }
        let frame = framed(&Message {
            version: subscriber.version,
            subscription: subscriber.id.as_deref(),
            destination: &subscriber.shown.over(&self.topic.destination),
            message_id: &self.message_id,
            content_type: None,
            headers: &self.topic.headers,
            body: &self.topic.body,
        });
        self.encoded_bytes += self.topic.body.len() + kept_bytes(&self.topic.headers);
        if self.encoded.len() < FORMS_MAX {
            self.encoded.push((Arc::clone(subscriber), frame.clone()));
        }
        frame
    }
}

/// A MESSAGE with the head of WebSocket before it.
pub(super) fn framed(message: &Message<'_>) -> Framed {
    Framed::filled(encode::message_behind(Framed::ROOM, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_the_destination_as_the_subscriber_wrote_it() {
        let check = |shown: Shown, message: &str, expected: &str| {
            assert_eq!(shown.over(message), expected, "{shown:?}");
            assert_eq!(*shown.shared(message), *expected, "{shown:?}");
        };
        check(Shown::Canonical, "/topic/x", "/topic/x");
        check(Shown::As("/sub/x".into()), "/topic/x", "/sub/x");
        let own = Shown::As("/user/queue/x".into());
        check(own, "/user/u1/queue/x", "/user/queue/x");
        check(Shown::Under("/sub".into()), "/topic/a", "/sub/a");
        check(
            Shown::Under("/my/sub".into()),
            "/topic/a.b/ü",
            "/my/sub/a.b/ü",
        );
    }
}
