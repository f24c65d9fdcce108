//! The scenarios: what the crew does, and what is read off it.
//!
//! Not here: connections and books. Invariant: a scenario leaves nobody connected, and ends by itself.

mod churn;
mod idle;
mod messages;
mod reconnect;
mod returning;

use std::sync::atomic::AtomicBool;

use super::crew::Crew;
use super::fleet::Fleet;
use super::meter::Meter;
use super::order::{Order, Scenario};
use super::progress::Progress;
use super::report::Report;
use super::{BenchError, Outcome};

/// Files that a process needs besides its sockets.
const OTHER_FILES: u64 = 64;

/// What every scenario begins with.
#[derive(Debug)]
struct Stage<'a> {
    order: &'a Order,
    fleet: Fleet<'a>,
    meter: Meter,
    progress: Progress,
}

/// Does what was ordered.
pub(super) fn run(order: &Order, stop: &AtomicBool) -> Outcome<Report> {
    let (crew, plans) = Crew::of(order);
    has_files_for(plans.len() as u64)?;
    let stage = Stage {
        order,
        meter: Meter::of(&order.pids)?,
        fleet: Fleet::new(order, plans, stop)?,
        progress: Progress::new(order.shows_progress),
    };
    match order.scenario {
        Scenario::Fanout | Scenario::Rooms | Scenario::Direct | Scenario::Stored => {
            messages::run(stage, crew)
        }
        Scenario::Idle => idle::run(stage),
        Scenario::Churn => churn::run(stage),
        Scenario::Reconnect => reconnect::run(stage, &crew),
    }
}

/// Raises the limit of open files as far as it goes.
fn has_files_for(connections: u64) -> Outcome<()> {
    let needed = connections + OTHER_FILES;
    // What could not be raised is what counts below.
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
    if limit < needed {
        return Err(BenchError::System(format!(
            "{connections} connections need {needed} open files, and this process may have {limit}; \
             raise it with `ulimit -n {needed}` (as root: `ulimit -Hn`, LimitNOFILE), or use fewer --clients"
        )));
    }
    Ok(())
}
