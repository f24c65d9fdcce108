//! What an arrival costs a node: the same arrivals at two builds, in turns.
//!
//! An arrival is a connection, the WebSocket, CONNECT of a new visitor, SUBSCRIBE and its RECEIPT, and the end.
//! Not here: latencies, which depend on the machine's load; processor time depends on it far less. Invariant:
//! both builds get the same arrivals the same number of times, and the median of each is what counts; it is judged.

use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use super::server::Node;
use super::support::Outcome;
use super::support::process::SETTINGS;
use super::support::report::{Table, say};
use super::wire::{Session, Target};

/// How many visitors arrive in one round.
const ARRIVALS: usize = 6_000;
/// How many of them at a time.
const AT_A_TIME: usize = 8;

/// An arrival costs at most this part of one at the older build.
const PART_MAX: f64 = 0.75;

/// Measures both, in turns. Returns whether an arrival costs as little as it has to.
pub(crate) async fn measure(before: &Path, after: &Path, rounds: usize) -> Outcome<bool> {
    let builds: [(&str, PathBuf); 2] = [("before", before.into()), ("after", after.into())];
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for ((name, binary), costs) in builds.iter().zip(&mut costs) {
            let micros = one_round(binary).await?;
            say(&format!("round {}, {name}: {micros:.1} us", round + 1))?;
            costs.push(micros);
        }
    }
    let mut table = Table::new(&["build", "CPU per arrival, us", "part of before"]);
    let medians = costs.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        costs.get(rounds / 2).copied().unwrap_or_default()
    });
    for ((name, _), median) in builds.iter().zip(medians) {
        let part = median / medians[0];
        table.row(&[
            (*name).to_owned(),
            format!("{median:.1}"),
            format!("{part:.2}"),
        ]);
    }
    table.print()?;
    let part = medians[1] / medians[0];
    // No number is a miss too.
    let is_kept = part <= PART_MAX;
    if !is_kept {
        say(&format!(
            "missed: an arrival costs {part:.2} of one before, and may cost {PART_MAX}"
        ))?;
    }
    Ok(is_kept)
}

async fn one_round(binary: &Path) -> Outcome<f64> {
    let node = Node::start(binary, false, &SETTINGS)?;
    // What is made once is made before it counts.
    arrive(&node.target, ARRIVALS / 10).await?;
    let used = node.cpu_seconds()?;
    arrive(&node.target, ARRIVALS).await?;
    Ok((node.cpu_seconds()? - used) * 1e6 / ARRIVALS as f64)
}

async fn arrive(target: &Target, count: usize) -> Outcome<()> {
    let mut arriving = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let target = target.clone();
        arriving.spawn(async move {
            for _ in 0..count / AT_A_TIME {
                let mut session = Session::connect(&target, [127, 0, 0, 1].into(), "new").await?;
                let subscribe = b"SUBSCRIBE\nid:1\ndestination:/topic/idle\nreceipt:1\n\n\0";
                session.send(subscribe).await?;
                if !session.next().await?.starts_with(b"RECEIPT\n") {
                    return Err("SUBSCRIBE was refused".into());
                }
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = arriving.join_next().await {
        ended??;
    }
    Ok(())
}
