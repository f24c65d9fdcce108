//! What holds for every input of SockJS.
//!
//! The first octet picks what the rest is taken for: messages of a client, a path, or a form. Shared
//! by the fuzz target and by the test that replays the corpus.

use stompbox::sockjs::{
    Framing, Place, close_frame, form_field, is_callback, message_frame, place, query_callback,
    quote_into, read_messages,
};

/// Checks one input; panics when something does not hold.
pub(crate) fn check(input: &[u8]) {
    let Some((pick, octets)) = input.split_first() else {
        return;
    };
    match pick % 3 {
        0 => messages(octets),
        1 => paths(&String::from_utf8_lossy(octets)),
        _ => forms(octets),
    }
}

fn quoted(messages: &[String]) -> String {
    let mut all = String::new();
    for message in messages {
        if !all.is_empty() {
            all.push(',');
        }
        quote_into(&mut all, message);
    }
    all
}

/// What is read is no longer than what it was read from, and is read again from what is written.
fn messages(octets: &[u8]) {
    let read = read_messages(octets);
    // Our reader and the usual one agree, but for lone surrogates, which only ours reads.
    if let Ok(theirs) = serde_json::from_slice::<Vec<String>>(octets) {
        assert_eq!(read.as_ref().ok(), Some(&theirs));
    }
    let Ok(messages) = read else { return };
    // An escape of six octets is at most three octets of text.
    let length: usize = messages.iter().map(String::len).sum();
    assert!(
        length <= octets.len(),
        "{length} octets out of {}",
        octets.len()
    );
    let quoted = quoted(&messages);
    let frame = message_frame(&quoted);
    assert_eq!(
        read_messages(&frame.as_bytes()[1..]).as_ref(),
        Ok(&messages)
    );
    assert_eq!(
        serde_json::from_str::<Vec<String>>(&frame[1..])
            .ok()
            .as_ref(),
        Some(&messages)
    );
    let mangled = |c: char| {
        matches!(c, '\0'..='\x1f' | '\u{200c}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{ffff}')
    };
    assert!(!frame.contains(mangled), "{frame:?}");
    wrapped(&frame);
    wrapped(&close_frame(
        1002,
        messages.first().map_or("", String::as_str),
    ));
}

/// A frame never ends what it stands in.
fn wrapped(frame: &str) {
    let callback = || "cb".to_owned();
    for framing in [Framing::HtmlFile(callback()), Framing::Jsonp(callback())] {
        let wrapped = framing.wrap(frame);
        let (before, after) = match framing.is_polling() {
            true => ("/**/cb(", ");\r\n"),
            false => ("<script>\np(", ");\n</script>\r\n"),
        };
        let inner = wrapped
            .strip_prefix(before)
            .and_then(|it| it.strip_suffix(after));
        let inner = inner.expect("wrapped as it must be");
        assert!(!inner.contains(['<', '>']), "{inner:?}");
        assert_eq!(
            serde_json::from_str::<String>(inner).ok().as_deref(),
            Some(frame)
        );
    }
    for framing in [Framing::Xhr, Framing::XhrStreaming] {
        assert_eq!(framing.wrap(frame).matches(['\n', '\r']).count(), 1);
    }
    assert_eq!(Framing::EventSource.wrap(frame).matches('\n').count(), 2);
}

/// A path means one thing, and what names a session is short and has no dot.
fn paths(path: &str) {
    match place(path) {
        Some(Place::Session { session, .. }) => {
            assert!(!session.is_empty() && session.len() <= 128, "{path:?}");
            assert!(!session.contains(['.', '/']), "{path:?}");
            assert_eq!(path.split('/').count(), 4, "{path:?}");
        }
        Some(Place::Iframe) => assert!(path.starts_with("/iframe") && path.ends_with(".html")),
        Some(Place::Greeting | Place::Info | Place::RawWebSocket) => assert!(path.len() <= 10),
        None => {}
    }
}

/// Decoding never makes anything longer than three times it, and a callback is a name.
fn forms(octets: &[u8]) {
    if let Some(field) = form_field(octets, "d") {
        // An octet that is no UTF-8 becomes three.
        assert!(field.len() <= octets.len() * 3);
    }
    if let Some(callback) = query_callback(&String::from_utf8_lossy(octets))
        && is_callback(&callback)
    {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(
            callback.chars().all(allowed) && callback.len() <= 64,
            "{callback:?}"
        );
    }
}
