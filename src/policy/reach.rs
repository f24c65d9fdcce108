//! Whom a direct message may reach: the rule that protects the former holder of an address.
//!
//! Not here: rate, size, routing. Invariant: what was meant for the holder before a take-over never
//! reaches the one after it, and the refusal does not tell why it was refused.

use crate::model::{Code, Problem, Standing, UserId};

/// Whether a message of `sender` may go to `recipient` now.
///
/// `holder_wrote_since` says whether the recipient's present holder has written to the sender since
/// he took the identity over; it is of interest only when [`Standing::taken_at`] is set. Becoming
/// firm does not lift the rule: the people who knew the former holder still mean him.
///
/// # Errors
/// `recipient_offline`, in the same words for every reason.
pub fn may_reach(
    sender: &UserId,
    recipient: &UserId,
    standing: Standing,
    holder_wrote_since: bool,
    has_live_session: bool,
) -> Result<(), Problem> {
    let is_own = sender == recipient;
    let knows_holder = is_own || standing.taken_at().is_none() || holder_wrote_since;
    // A loose identity has no mailbox: without a session nobody may ever come for the message.
    let is_there = has_live_session || !standing.is_loose();
    if knows_holder && is_there {
        return Ok(());
    }
    Err(recipient_offline())
}

/// The refusal of a message that may not reach its recipient. It is also the answer when the
/// recipient's identity changed hands after [`may_reach`] and before the commit.
#[must_use]
pub fn recipient_offline() -> Problem {
    Problem::new(
        Code::RecipientOffline,
        "The recipient is not connected and keeps no mailbox.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMillis;

    #[test]
    fn a_taken_over_identity_is_reached_only_by_those_its_holder_wrote_to() {
        let own = Standing::Loose { taken_at: None };
        let taken_at = Some(UnixMillis(1));
        let taken = Standing::Loose { taken_at };
        let firm_after = Standing::Firm { taken_at };
        let check = |to: &str, standing, wrote, live, reached: bool| {
            let from: UserId = "a".parse().unwrap();
            let to: UserId = to.parse().unwrap();
            let verdict = may_reach(&from, &to, standing, wrote, live);
            assert_eq!(verdict.is_ok(), reached, "{to} {standing:?} {wrote} {live}");
            if let Err(problem) = verdict {
                assert_eq!(problem.code, Code::RecipientOffline);
            }
        };
        // Columns: recipient, standing, holder wrote since, live session, reached.
        check("b", Standing::FIRM, false, false, true);
        check("b", Standing::FIRM, false, true, true);
        check("b", Standing::FIRM, true, false, true);
        check("b", Standing::FIRM, true, true, true);
        check("b", firm_after, false, false, false);
        check("b", firm_after, false, true, false);
        check("b", firm_after, true, false, true);
        check("b", firm_after, true, true, true);
        check("b", own, false, false, false);
        check("b", own, false, true, true);
        check("b", own, true, false, false);
        check("b", own, true, true, true);
        check("b", taken, false, false, false);
        check("b", taken, false, true, false);
        check("b", taken, true, false, false);
        check("b", taken, true, true, true);
        // To oneself.
        check("a", own, false, false, false);
        check("a", own, false, true, true);
        check("a", taken, false, false, false);
        check("a", taken, false, true, true);
        check("a", firm_after, false, false, true);
        check("a", firm_after, false, true, true);
    }
}
