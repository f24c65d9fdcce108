//! The rule table: who may SEND and SUBSCRIBE to which of the open destinations.
//!
//! ```text
//! table   = rule *( ";" rule )
//! rule    = verb pattern who
//! verb    = "send" | "subscribe" | "all"
//! pattern = a destination under /topic, /queue or (with "send" only) /user; "*", "**" and "#" as in
//!           SUBSCRIBE
//! who     = "anyone" | "nobody" | kind *( "+" kind )
//! kind    = "anonymous" | "member" | "bot" | "admin"
//! ```
//!
//! The first rule that fits decides, and where none fits nobody may. Not here: names that are
//! reserved whatever the table says (`names`), and one's own `/user/**`, which needs no rule.
//! Invariant: a subscription with wildcards is allowed only when each destination that it stands for
//! would be.

use crate::model::{Code, Kind, Pattern, Problem};

/// The most rules of a table: each SEND may be compared with all of them.
const RULES_MAX: usize = 256;

/// What a client does with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// SEND.
    Send,
    /// SUBSCRIBE.
    Subscribe,
}

/// Who may use which open destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// A table that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}`: {reason}")]
pub struct InvalidRules {
    /// The rule, or the word of it, that is wrong.
    pub part: String,
    /// What is allowed.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// None for both.
    verb: Option<Verb>,
    pattern: Pattern,
    who: Who,
}

/// A set of kinds of user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Who(u8);

impl Who {
    const ANONYMOUS: Self = Self(1);
    const MEMBER: Self = Self(2);
    const BOT: Self = Self(4);
    const ADMIN: Self = Self(8);
    const ANYONE: Self = Self(15);
    const NOBODY: Self = Self(0);

    fn has(self, kind: Kind) -> bool {
        let one = match kind {
            Kind::Anonymous => Self::ANONYMOUS,
            Kind::Member => Self::MEMBER,
            Kind::Bot => Self::BOT,
            Kind::Admin => Self::ADMIN,
        };
        self.0 & one.0 != 0
    }
}

impl Default for Rules {
    /// The default of the setting. A table that could not be read would let nobody in.
    fn default() -> Self {
        Self::parse(Self::DEFAULT).unwrap_or(Self(Vec::new()))
    }
}

impl Rules {
    /// The default of the setting `DESTINATION_RULES`.
    pub const DEFAULT: &str =
        "all /topic/** anyone; all /queue/** anyone; send /user/** member+bot+admin";

    /// Reads a table.
    ///
    /// # Errors
    /// The first rule that is wrong or that is never reached, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidRules> {
        let mut rules: Vec<Rule> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let rule = rule(part)?;
            if rules.iter().any(|earlier| earlier.hides(&rule)) {
                return Err(wrong(
                    part,
                    "it is never reached: a rule before it fits whenever it does",
                ));
            }
            rules.push(rule);
        }
        if rules.len() > RULES_MAX {
            return Err(wrong(text.get(..40).unwrap_or(text), "at most 256 rules"));
        }
        Ok(Self(rules))
    }

    /// Whether a user of this kind may do this with one destination.
    ///
    /// # Errors
    /// `anonymous_not_allowed` where somebody with an account might, `forbidden` otherwise.
    pub(super) fn check(&self, verb: Verb, kind: Kind, destination: &str) -> Result<(), Problem> {
        let mut rules = self.of(verb);
        let rule = rules.find(|rule| rule.pattern.matches(destination));
        match rule.map(|rule| rule.who) {
            Some(who) if who.has(kind) => Ok(()),
            who => Err(refusal(kind, who.unwrap_or_default())),
        }
    }

    /// Whether a user of this kind may subscribe to everything that a pattern stands for.
    ///
    /// # Errors
    /// As [`Rules::check`], for the first rule that keeps him from a part of it.
    pub(super) fn check_pattern(&self, kind: Kind, pattern: &Pattern) -> Result<(), Problem> {
        for rule in self.of(Verb::Subscribe) {
            if !rule.pattern.overlaps(pattern) {
                continue;
            }
            if !rule.who.has(kind) {
                return Err(refusal(kind, rule.who));
            }
            if rule.pattern.covers(pattern) {
                return Ok(());
            }
        }
        Err(refusal(kind, Who::NOBODY))
    }

    fn of(&self, verb: Verb) -> impl Iterator<Item = &Rule> {
        self.0
            .iter()
            .filter(move |rule| rule.verb.is_none_or(|of| of == verb))
    }
}

impl Rule {
    /// Whether the other rule, which comes later, never decides.
    fn hides(&self, other: &Self) -> bool {
        (self.verb.is_none() || self.verb == other.verb) && self.pattern.covers(&other.pattern)
    }
}

fn rule(part: &str) -> Result<Rule, InvalidRules> {
    let words: Vec<_> = part.split_whitespace().collect();
    let [verb, pattern, who] = words[..] else {
        return Err(wrong(
            part,
            "a rule has three words, such as `send /topic/news.* member`",
        ));
    };
    let verb = match verb {
        "send" => Some(Verb::Send),
        "subscribe" => Some(Verb::Subscribe),
        "all" => None,
        _ => return Err(wrong(verb, "a rule begins with send, subscribe or all")),
    };
    let is_user = pattern.starts_with("/user/");
    if !(is_user || pattern.starts_with("/topic/") || pattern.starts_with("/queue/")) {
        return Err(wrong(
            pattern,
            "rules are for /topic/..., /queue/... and /user/..., whatever other prefixes there are",
        ));
    }
    if is_user && verb != Some(Verb::Send) {
        return Err(wrong(
            part,
            "everybody may subscribe to his own /user/** and to nobody else's; write send /user/...",
        ));
    }
    let pattern = Pattern::parse(&pattern.replace("%2f", "%2F"))
        .map_err(|error| wrong(pattern, &error.to_string()))?;
    Ok(Rule {
        verb,
        pattern,
        who: read_who(who)?,
    })
}

fn read_who(text: &str) -> Result<Who, InvalidRules> {
    match text {
        "anyone" => return Ok(Who::ANYONE),
        "nobody" => return Ok(Who::NOBODY),
        _ => {}
    }
    text.split('+').try_fold(Who::NOBODY, |who, word| {
        let one = match word {
            "anonymous" => Who::ANONYMOUS,
            "member" => Who::MEMBER,
            "bot" => Who::BOT,
            "admin" => Who::ADMIN,
            _ => {
                let reason = "anyone, nobody, or some of anonymous, member, bot and admin with + \
                              between them";
                return Err(wrong(word, reason));
            }
        };
        Ok(Who(who.0 | one.0))
    })
}

fn wrong(part: &str, reason: &str) -> InvalidRules {
    InvalidRules {
        part: part.to_owned(),
        reason: reason.to_owned(),
    }
}

fn refusal(kind: Kind, who: Who) -> Problem {
    match kind {
        Kind::Anonymous if who != Who::NOBODY => Problem::new(
            Code::AnonymousNotAllowed,
            "Visitors without an account may not use this destination.",
        ),
        Kind::Anonymous | Kind::Member | Kind::Bot | Kind::Admin => {
            Problem::new(Code::Forbidden, "You may not use this destination.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YES: Option<Code> = None;
    const NO: Option<Code> = Some(Code::Forbidden);
    const MEMBERS: Option<Code> = Some(Code::AnonymousNotAllowed);

    fn code(verdict: Result<(), Problem>) -> Option<Code> {
        verdict.err().map(|problem| problem.code)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let table = "subscribe /topic/news.secret nobody; subscribe /topic/news.* anyone;
                     send /topic/news.* member+admin; all /topic/chat/** anonymous;";
        let rules = Rules::parse(table).unwrap();
        let check = |verb, text: &str, visitor, member| {
            let found = |kind| code(rules.check(verb, kind, text));
            assert_eq!(found(Kind::Anonymous), visitor, "{verb:?} {text}");
            assert_eq!(found(Kind::Member), member, "{verb:?} {text}");
        };
        let (send, subscribe) = (Verb::Send, Verb::Subscribe);
        check(subscribe, "/topic/news.secret", NO, NO);
        check(subscribe, "/topic/news.kr", YES, YES);
        check(send, "/topic/news.kr", MEMBERS, YES);
        check(send, "/topic/news.secret", MEMBERS, YES);
        check(send, "/topic/chat/1", YES, NO);
        check(send, "/topic/other", NO, NO);
        check(send, "/queue/other", NO, NO);
    }

    #[test]
    fn a_pattern_is_allowed_when_everything_that_it_stands_for_is() {
        let check = |table: &str, pattern: &str, visitor| {
            let rules = Rules::parse(table).unwrap();
            let pattern = Pattern::parse(pattern).unwrap();
            let found = code(rules.check_pattern(Kind::Anonymous, &pattern));
            assert_eq!(found, visitor, "{table}: {pattern:?}");
        };
        let table = "subscribe /topic/a.secret member; all /topic/** anyone";
        check(table, "/topic/**", MEMBERS);
        check(table, "/topic/a.*", MEMBERS);
        check(table, "/topic/*.secret", MEMBERS);
        check(table, "/topic/b.*", YES);
        check(table, "/topic/a/*", YES);
        check(table, "/topic/*", YES);
        check(table, "/queue/*", NO);
        check("subscribe /topic/a/** anyone", "/topic/*", NO);
        check("subscribe /topic/a/** anyone", "/topic/**", NO);
        check("subscribe /topic/a/** anyone", "/topic/a/*", YES);
        check(
            "send /topic/a nobody; all /topic/** anyone",
            "/topic/*",
            YES,
        );
    }

    #[test]
    fn a_table_that_cannot_be_meant_is_refused_with_the_part_that_is_wrong() {
        let check = |table: &str, part: &str| {
            let found = Rules::parse(table).map_err(|error| error.part);
            assert_eq!(found, Err(part.to_owned()), "{table}");
        };
        check("send /topic/a", "send /topic/a");
        check("all /topic/** anyone; x", "x");
        check("read /topic/a anyone", "read");
        check("send /app/a anyone", "/app/a");
        check("send /sub/a anyone", "/sub/a");
        check("send /** anyone", "/**");
        check("send /topic anyone", "/topic");
        check("send /topic/**/a anyone", "/topic/**/a");
        check("send /topic/a guests", "guests");
        check("send /topic/a member+guests", "guests");
        check("send /topic/a member+", "");
        check("all /user/** member", "all /user/** member");
        check("subscribe /user/** member", "subscribe /user/** member");
        let never = "send /topic/a admin";
        check(&format!("all /topic/** anyone; {never}"), never);
        let long = "send /topic/a".to_owned() + &"/a".repeat(40);
        check(&format!("{long} anyone"), long.split_once(' ').unwrap().1);
        assert!(
            Rules::parse(&format!(
                "send /topic/** anyone; all {}",
                "/topic/** anyone"
            ))
            .is_ok()
        );
    }

    #[test]
    fn the_default_can_be_read() {
        assert_eq!(Rules::default(), Rules::parse(Rules::DEFAULT).unwrap());
        assert_eq!(Rules::default().0.len(), 3);
        assert_eq!(Rules::parse(" ; "), Ok(Rules(Vec::new())));
    }

    fn any_pattern() -> impl Strategy<Value = String> {
        let words = prop::sample::select(&["a", "b", "*", "**", "#"][..]);
        let segment = (prop::sample::select(&["/", "."][..]), words);
        prop::collection::vec(segment, 0..3).prop_map(|parts| {
            let parts = parts
                .iter()
                .map(|(separator, word)| format!("{separator}{word}"));
            format!("/topic/a{}", parts.collect::<String>())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn who_may_have_a_pattern_may_have_all_of_it(
            patterns in prop::collection::vec((any_pattern(), any::<bool>()), 1..5),
            wanted in any_pattern(),
            destination in "/topic/a([/.][abc]){0,3}",
        ) {
            let words = |may: &bool| if *may { "anonymous" } else { "nobody" };
            let readable = patterns.iter().filter(|(pattern, _)| Pattern::parse(pattern).is_ok());
            let table = readable.fold(String::new(), |table, (pattern, may)| {
                let longer = format!("{table};subscribe {pattern} {}", words(may));
                if Rules::parse(&longer).is_ok() { longer } else { table }
            });
            let rules = Rules::parse(&table).unwrap();
            let Ok(wanted) = Pattern::parse(&wanted) else {
                return Ok(());
            };
            if rules.check_pattern(Kind::Anonymous, &wanted).is_ok() && wanted.matches(&destination) {
                let verdict = rules.check(Verb::Subscribe, Kind::Anonymous, &destination);
                prop_assert_eq!(verdict, Ok(()), "{}: {:?}", table, wanted);
            }
        }

        #[test]
        fn any_text_is_a_table_or_is_refused(text in any::<String>()) {
            let _never_panics = Rules::parse(&text);
        }
    }
}
