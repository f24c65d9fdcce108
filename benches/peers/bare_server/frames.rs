//! As much of STOMP as the bare servers understand.
//!
//! Invariant: what is not understood is passed over.

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// To be greeted.
    Connect,
    /// To hear what is sent to a destination.
    Subscribe {
        destination: &'a str,
        receipt: Option<&'a str>,
    },
    /// That others hear this.
    Send { destination: &'a str, body: &'a str },
    /// Nothing that matters.
    Nothing,
}

/// What a frame wishes.
pub(crate) fn wish(text: &str) -> Wish<'_> {
    let text = text.trim_end_matches('\0');
    let Some((head, body)) = text.split_once("\n\n") else {
        return Wish::Nothing;
    };
    let mut lines = head.lines();
    let command = lines.next().unwrap_or_default();
    let (mut destination, mut receipt) = ("", None);
    for line in lines {
        match line.split_once(':') {
            Some(("destination", value)) => destination = value,
            Some(("receipt", value)) => receipt = Some(value),
            _ => {}
        }
    }
    match command {
        "CONNECT" => Wish::Connect,
        "SUBSCRIBE" => Wish::Subscribe {
            destination,
            receipt,
        },
        "SEND" => Wish::Send { destination, body },
        _ => Wish::Nothing,
    }
}

/// The greeting; nobody beats.
pub(crate) const CONNECTED: &str = "CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0";

/// The receipt of a SUBSCRIBE.
pub(crate) fn receipt(id: &str) -> String {
    format!("RECEIPT\nreceipt-id:{id}\n\n\0")
}

/// The MESSAGE for everybody: all have named their subscription alike.
pub(crate) fn message(destination: &str, number: u64, body: &str) -> String {
    format!(
        "MESSAGE\nsubscription:sub-0\nmessage-id:{number}\ndestination:{destination}\n\
         content-length:{}\n\n{body}\0",
        body.len()
    )
}
