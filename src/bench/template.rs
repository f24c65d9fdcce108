//! Destinations with something to fill in.
//!
//! Invariant: what stands in braces and is not one of the known names is left as it is.

use std::fmt::Write as _;

/// What may be filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blanks<'a> {
    /// `{room}`: the number of the topic.
    pub(super) room: u32,
    /// `{self}`: the number of the user.
    pub(super) own: u32,
    /// `{peer}`: the number of the user who is written to.
    pub(super) peer: u32,
    /// `{user}`: the name by which the server knows that user.
    pub(super) user: &'a str,
}

/// The template with its blanks filled in.
pub(super) fn fill(template: &str, blanks: &Blanks<'_>) -> String {
    let mut out = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].split_once('}').map_or("", |(name, _)| name);
        // Writing to a String cannot fail.
        let _infallible = match name {
            "room" => write!(out, "{}", blanks.room),
            "self" => write!(out, "{}", blanks.own),
            "peer" => write!(out, "{}", blanks.peer),
            "user" => write!(out, "{}", blanks.user),
            _ => {
                out.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        rest = &rest[name.len() + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled_and_the_rest_is_left() {
        let blanks = Blanks {
            room: 3,
            own: 4,
            peer: 5,
            user: "user_x",
        };
        let check = |template, expected| assert_eq!(fill(template, &blanks), expected);
        check("/topic/room-{room}", "/topic/room-3");
        check("{self}{peer}", "45");
        check("/user/{user}/queue/bench", "/user/user_x/queue/bench");
        check("/topic/{other}/{", "/topic/{other}/{");
        check("/topic/{room", "/topic/{room");
    }
}
