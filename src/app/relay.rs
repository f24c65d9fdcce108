//! Relays: a SEND to `/app/<name>` that is published to a topic or a queue named by its body.
//!
//! The front ends of the common Spring tutorials send `{"roomId":"1",...}` to `/pub/chat/message`
//! and subscribe to `/sub/chat/room/1`; a handler of two lines stands between. A relay is that
//! handler as a setting. Not here: who may (the destination that comes out is checked like one that
//! was written). Invariant: a value from a body fills a part of one segment and nothing more.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::model::{Code, Destination, Prefixes, Problem};

/// The longest value that fills a place, in octets.
const VALUE_BYTES_MAX: usize = 128;

/// The most relays.
const RELAYS_MAX: usize = 64;

/// The relays of the service, by the name after `/app/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays(Vec<Relay>);

/// A text that names no relays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}`: {reason}")]
pub struct InvalidRelays {
    /// The entry that is wrong.
    pub part: String,
    /// What is allowed.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Relay {
    name: Box<str>,
    /// The destination, as it is kept.
    template: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// The field of the body that stands here.
    Field(Box<str>),
}

impl Relays {
    /// The default of the setting `APP_RELAYS`.
    pub const DEFAULT: &str = "/app/chat/message=/topic/chat/room/{roomId}";

    /// Reads `/app/<name>=<destination>` entries with `;` or `,` between them, or the word `none`.
    /// `taken` are the names of the service's own features.
    ///
    /// # Errors
    /// The first entry that is wrong, and what is allowed.
    pub fn parse(text: &str, prefixes: &Prefixes, taken: &[&str]) -> Result<Self, InvalidRelays> {
        let mut relays: Vec<Relay> = Vec::new();
        let entries = text.split([';', ',']).map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty() && *entry != "none") {
            let relay = read(entry, prefixes).map_err(|reason| wrong(entry, reason))?;
            if taken.contains(&&*relay.name) {
                return Err(wrong(entry, "the service does something else there"));
            }
            if relays.iter().any(|other| other.name == relay.name) {
                return Err(wrong(entry, "there is a relay from there already"));
            }
            relays.push(relay);
        }
        if relays.len() > RELAYS_MAX {
            return Err(wrong("", "at most 64 relays"));
        }
        Ok(Self(relays))
    }

    /// Where a SEND with this body to `/app/<name>` goes; `None` when there is no relay.
    ///
    /// # Errors
    /// `bad_request` when the body is no JSON object, `validation_failed` with the field when one is
    /// missing or cannot stand in a destination.
    pub(super) fn aim(
        &self,
        name: &str,
        body: &[u8],
        prefixes: &Prefixes,
    ) -> Option<Result<Destination, Problem>> {
        let relay = self.0.iter().find(|relay| *relay.name == *name)?;
        Some(relay.fill(body).and_then(|text| {
            prefixes
                .parse_kept(&text)
                .map_err(|error| Problem::new(Code::ValidationFailed, error.to_string()))
        }))
    }
}

impl Relay {
    fn fill(&self, body: &[u8]) -> Result<String, Problem> {
        let fields: Map<String, Value> = match self.template.len() {
            // Nothing is asked of the body.
            ..=1 => Map::new(),
            _ => serde_json::from_slice(body).map_err(|error| {
                let words = format!("The body is a JSON object: {error}");
                Problem::new(Code::BadRequest, words)
            })?,
        };
        let mut text = String::new();
        for part in &self.template {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => text.push_str(&value(&fields, field)?),
            }
        }
        Ok(text)
    }
}

/// What a field of the body puts into a destination.
fn value<'a>(fields: &'a Map<String, Value>, field: &str) -> Result<Cow<'a, str>, Problem> {
    let invalid = |words: &str| {
        let words = format!("`{field}` {words}");
        Err(Problem::new(Code::ValidationFailed, words).in_field(field.to_owned()))
    };
    let value: Cow<'_, str> = match fields.get(field) {
        None => return invalid("is missing; it names the destination."),
        Some(Value::String(text)) => text.into(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string().into(),
        Some(
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_),
        ) => {
            return invalid("must be a text or a whole number.");
        }
    };
    if value.is_empty() || value.len() > VALUE_BYTES_MAX {
        return invalid("must have 1 to 128 octets.");
    }
    let cuts = |c: char| c.is_control() || matches!(c, '/' | '.' | '\\' | '*' | '#' | '>');
    if value.contains(cuts) {
        return invalid("must have no slash, dot, backslash, *, #, > or control character.");
    }
    Ok(value)
}

fn read(entry: &str, prefixes: &Prefixes) -> Result<Relay, &'static str> {
    let (from, to) = entry
        .split_once('=')
        .ok_or("an entry is /app/<name>=/topic/<name>/{field}")?;
    let Ok(Destination::App(name)) = prefixes.parse_kept(from.trim()) else {
        return Err("a relay begins at a destination under /app");
    };
    let template = template(to.trim())?;
    let example: String = template
        .iter()
        .map(|part| match part {
            Part::Text(text) => &**text,
            Part::Field(_) => "field",
        })
        .collect();
    let is_named = matches!(&template[..], [Part::Text(text), ..] if text[1..].contains('/'));
    match prefixes.parse_kept(&example) {
        Ok(Destination::Topic(text) | Destination::Queue(text))
            if is_named && !crate::model::is_pattern(&text) =>
        {
            Ok(Relay {
                name: (*name).into(),
                template,
            })
        }
        _ => Err("a relay ends at a destination under /topic or /queue, without wildcards"),
    }
}

fn template(text: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, behind) = after.split_once('}').ok_or("a { has no } behind it")?;
        if field.is_empty() || field.contains('{') {
            return Err("between { and } stands the name of a field");
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        parts.push(Part::Field(field.into()));
        rest = behind;
    }
    if rest.contains('}') {
        return Err("a } has no { before it");
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

fn wrong(part: &str, reason: &'static str) -> InvalidRelays {
    InvalidRelays {
        part: part.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relays(text: &str) -> Result<Relays, InvalidRelays> {
        Relays::parse(text, &Prefixes::default(), &["chat.send"])
    }

    #[test]
    fn a_body_names_the_topic_that_it_goes_to() {
        let check = |table: &str, to: &str, body: &str, expected: Result<&str, (Code, &str)>| {
            let relays = relays(table).unwrap();
            let aimed = relays.aim(to, body.as_bytes(), &Prefixes::default());
            let found = aimed.unwrap().map(|found| found.to_string());
            let expected = expected.map(str::to_owned);
            let found = found.map_err(|problem| {
                let field = problem.field.as_deref().unwrap_or_default();
                (problem.code, field.to_owned())
            });
            assert_eq!(
                found,
                expected.map_err(|(code, field)| (code, field.to_owned())),
                "{body}"
            );
        };
        let (usual, to) = (Relays::DEFAULT, "chat/message");
        let one = "/topic/chat/room/1";
        check(usual, to, r#"{"roomId":"1","message":"hi"}"#, Ok(one));
        check(usual, to, r#"{"message":{"a":[1]},"roomId":1}"#, Ok(one));
        check(usual, to, r#"{"roomId":-1}"#, Ok("/topic/chat/room/-1"));
        check(usual, to, r#"{"roomId":"방"}"#, Ok("/topic/chat/room/방"));
        let field = Err((Code::ValidationFailed, "roomId"));
        for value in [
            r#""""#,
            r#""a/b""#,
            r#""a.b""#,
            r#""..""#,
            r#""*""#,
            r##""#""##,
            r#""**""#,
            r#"">""#,
            r#""a\\b""#,
            r#""a\u0000""#,
            r#""a\nb""#,
            "1.5",
            "null",
            "true",
            "[1]",
            "{}",
        ] {
            check(usual, to, &format!(r#"{{"roomId":{value}}}"#), field);
        }
        check(
            usual,
            to,
            &format!(r#"{{"roomId":"{}"}}"#, "x".repeat(129)),
            field,
        );
        check(usual, to, r#"{"roomid":"1"}"#, field);
        for body in ["", "1", "[]", "\"roomId\"", "{"] {
            check(usual, to, body, Err((Code::BadRequest, "")));
        }
        let two = "/app/a=/topic/{x}.{y}/z; /app/b=/queue/jobs";
        check(two, "a", r#"{"x":1,"y":"b"}"#, Ok("/topic/1.b/z"));
        check(two, "b", "no JSON", Ok("/queue/jobs"));
        let long = format!(r#"{{"x":"{0}","y":"{0}"}}"#, "x".repeat(128));
        check(two, "a", &long, Err((Code::ValidationFailed, "")));
    }

    #[test]
    fn relays_that_cannot_work_are_refused_at_the_start() {
        for text in [
            "/app/a",
            "/topic/a=/topic/b",
            "/app/a=/app/b",
            "/app/a=/user/{name}/queue/x",
            "/app/a=/topic",
            "/app/a=/topic{x}",
            "/app/a=/{x}/a",
            "/app/a={x}",
            "/app/a=/topic/*",
            "/app/a=/sub/a",
            "/pub/a=/topic/a",
            "/app/a=/topic/{x",
            "/app/a=/topic/x}",
            "/app/a=/topic/{}",
            "/app/a=/topic/{{x}}",
            "/app/chat.send=/topic/a",
            "/app/a=/topic/a,/app/a=/topic/b",
        ] {
            assert!(relays(text).is_err(), "{text}");
        }
        for text in ["none", " ; ,", Relays::DEFAULT] {
            assert!(relays(text).is_ok(), "{text}");
        }
        assert_eq!(relays("none"), Ok(Relays::default()));
    }

    proptest! {
        #[test]
        fn a_value_never_leaves_its_segment(value in any::<String>(), text in any::<String>()) {
            let _never_panics = relays(&text);
            let body = serde_json::json!({"roomId": value}).to_string();
            let prefixes = Prefixes::default();
            let relays = relays(Relays::DEFAULT).unwrap();
            let aimed = relays.aim("chat/message", body.as_bytes(), &prefixes).unwrap();
            if let Ok(destination) = aimed {
                let kept = destination.to_string();
                let name = kept.strip_prefix("/topic/chat/room/").unwrap();
                prop_assert!(!name.contains(['/', '.']) && !crate::model::is_pattern(&kept));
            }
        }
    }
}
