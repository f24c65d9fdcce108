//! COMMIT: everything of a transaction, or nothing.
//!
//! All steps are checked before one is done: who may, what they say, which messages they answer, and
//! how much may be sent, all at once. Then they are done, each by the code that does it alone: first
//! what somebody else confirms (queues, conversations), then what cannot be undone or refused
//! (publishing, ACK and NACK), so that nothing is acknowledged whose answer is not safe.
//!
//! Not here: what is kept until COMMIT (`session`). Invariant: when a check fails, nothing has
//! happened. What is confirmed elsewhere can be refused after the checks (a queue may be full); then
//! the refusal says which step it was and that others may have had their effect.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::rates::bytes_of;
use super::{App, Live, Pending, refused, unknown};
use crate::model::{Code, Destination, Problem, Verdict};
use crate::session::{Commit, Reply, Send, Step};

/// How long the rest of a transaction waits for what is confirmed elsewhere.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// A step that was begun, by its place.
type Begun = (usize, Pending);

impl App {
    /// Takes a COMMIT. Await the call before the next request of the session: what comes after it
    /// comes after all of its steps.
    pub async fn commit(self: &Arc<Self>, live: &Live, commit: Commit) -> Pending {
        let names = Names(commit.steps.iter().map(name).collect());
        let steps = match self.admit_steps(live, commit.steps, &names) {
            Ok(steps) => steps,
            Err(problem) => return self.refused_frame(live, problem),
        };
        let paid = match self.pay(live, &steps).await {
            Ok(paid) => paid,
            Err(problem) => return refused(problem),
        };
        if let Err(problem) = self.check_words(&paid, &steps, &names).await {
            return refused(problem);
        }
        self.do_steps(&paid, steps, names).await
    }

    /// Finds out where every step goes, and whether it may be, as far as that costs nothing.
    fn admit_steps(
        &self,
        live: &Live,
        steps: Vec<Step>,
        names: &Names,
    ) -> Result<Vec<Step>, Problem> {
        let admit = |(place, step)| {
            let admitted = match step {
                Step::Send(mut send) => {
                    let admitted = self.aim(live, &mut send);
                    admitted.map(|()| Step::Send(send))
                }
                Step::Acknowledge(it) => {
                    let checked = Self::check_answer(live, &it.of);
                    checked.map(|()| Step::Acknowledge(it))
                }
            };
            admitted.map_err(|problem| names.unbegun(problem, place))
        };
        steps.into_iter().enumerate().map(admit).collect()
    }

    /// Takes the messages of all steps from the buckets. What is done with the session that this
    /// gives is paid for.
    async fn pay(&self, live: &Live, steps: &[Step]) -> Result<Live, Problem> {
        let sends = steps.iter().filter_map(|step| match step {
            Step::Send(send) => Some(bytes_of(send)),
            Step::Acknowledge(_) => None,
        });
        if let Some(burst) = self.exceeded_burst(live, sends.clone()) {
            return Err(too_many_sends(burst));
        }
        if sends.clone().next().is_some() {
            let taken = self.take_messages(live, sends).await;
            taken.map_err(|mut problem| {
                problem.detail = format!("{} Nothing was done.", problem.detail).into();
                problem
            })?;
        }
        Ok(Live {
            activity: Arc::new(live.activity.prepaid()),
            ..live.clone()
        })
    }

    /// Whether what is sent is as it must be.
    async fn check_words(&self, paid: &Live, steps: &[Step], names: &Names) -> Result<(), Problem> {
        for (place, step) in steps.iter().enumerate() {
            let Step::Send(send) = step else { continue };
            let checked = match &send.destination {
                Destination::App(name) if &**name == "chat.send" => {
                    self.check_chat_send(paid, send).await
                }
                Destination::App(_) => Err(unknown(&send.destination)),
                Destination::Queue(_) => self.check_queue_send(send),
                Destination::User(rest) => self.user_destination(paid, rest).await.map(|_| ()),
                Destination::Topic(_)
                | Destination::UserQueue(_)
                | Destination::TempQueue(_)
                | Destination::ReplyQueue(_) => Ok(()),
            };
            checked.map_err(|problem| names.unbegun(problem, place))?;
        }
        Ok(())
    }

    async fn do_steps(self: &Arc<Self>, paid: &Live, steps: Vec<Step>, names: Names) -> Pending {
        let names = Arc::new(names);
        let (confirmed, others): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .enumerate()
            .partition(|(_, step)| is_confirmed(step));
        let begun = self.begin(paid, confirmed).await;
        if others.is_empty() {
            return Box::pin(done(begun, names));
        }
        // Awaited here and not in the outcome: the next request of this session must come after the
        // steps that wait for this.
        match timeout(CONFIRMED_WITHIN, done(begun, Arc::clone(&names))).await {
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => return refused(problem),
            Err(_) => {
                let words = "What was sent to queues and conversations was not confirmed in time, \
                             so nothing else was done. Some of it may have had its effect, and has it \
                             again when you commit it again.";
                return refused(Problem::new(Code::BrokerUnavailable, words));
            }
        }
        let begun = self.begin(paid, others).await;
        Box::pin(done(begun, names))
    }

    /// Does steps in their order, by the code that does them alone.
    async fn begin(self: &Arc<Self>, paid: &Live, steps: Vec<(usize, Step)>) -> Vec<Begun> {
        let mut begun = Vec::with_capacity(steps.len());
        for (place, step) in steps {
            let pending = match step {
                Step::Send(send) => self.dispatch(paid, send).await,
                Step::Acknowledge(it) => self.acknowledge(paid, it).await,
            };
            begun.push((place, pending));
        }
        begun
    }
}

/// The refusal of a transaction that no bucket will ever hold enough for.
fn too_many_sends(burst: u32) -> Problem {
    let words = format!(
        "A transaction has at most {burst} SENDs, of which one counts once per started 4 KiB, because no \
         more may be sent at once. Nothing was done."
    );
    Problem::new(Code::LimitExceeded, words)
}

/// What the steps are, in the words in which a refusal speaks of them.
struct Names(Vec<String>);

impl Names {
    /// A refusal before anything was done.
    fn unbegun(&self, problem: Problem, place: usize) -> Problem {
        self.at(problem, place, "Nothing was done.")
    }

    /// The refusal of a step.
    fn at(&self, mut problem: Problem, place: usize, after: &str) -> Problem {
        let (step, count) = (place + 1, self.0.len());
        let name = self.0.get(place).map_or("", String::as_str);
        let detail = problem.detail;
        problem.detail = format!("Step {step} of {count} ({name}): {detail} {after}").into();
        problem
    }
}

/// Waits for steps; the first that was refused speaks for all.
async fn done(begun: Vec<Begun>, names: Arc<Names>) -> Result<Reply, Problem> {
    let outcomes = begun.into_iter().map(|(place, pending)| async move {
        let outcome = pending.await;
        outcome.map_err(|problem| (place, problem))
    });
    for outcome in join_all(outcomes).await {
        let told = "Other steps may have had their effect.";
        outcome.map_err(|(place, problem)| names.at(problem, place, told))?;
    }
    Ok(Reply::default())
}

/// Whether somebody outside this node says when the step is done, and may refuse it.
fn is_confirmed(step: &Step) -> bool {
    matches!(
        step,
        Step::Send(Send {
            destination: Destination::Queue(_) | Destination::App(_),
            ..
        })
    )
}

/// What a step is, for people.
fn name(step: &Step) -> String {
    match step {
        Step::Send(send) => format!("SEND {}", send.destination),
        Step::Acknowledge(it) => match it.verdict {
            Verdict::Ack => "ACK".to_owned(),
            Verdict::Requeue | Verdict::Reject => "NACK".to_owned(),
        },
    }
}
