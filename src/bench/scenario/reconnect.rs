//! All clients lose their line at once and come back: how long it takes until all are there again.
//!
//! They come back as who they were, with the token that the server gave them, if it gives any.
//! Invariant: nobody says goodbye: that is what a lost network looks like.

use std::time::Instant;

use super::Stage;
use super::returning::come_back;
use crate::bench::Outcome;
use crate::bench::crew::Crew;
use crate::bench::gather::{TURN, gather};
use crate::bench::link::Deaf;
use crate::bench::order::Order;
use crate::bench::report::{Draft, Report, spread};

/// How many connect at a time before they are cut off.
const FIRST_AT_ONCE: u32 = 64;

pub(super) fn run(mut stage: Stage<'_>, crew: &Crew) -> Outcome<Report> {
    let order = stage.order;
    connect(&mut stage, crew)?;
    let names: Vec<Box<str>> = names(&stage);
    let everybody: Vec<usize> = (0..stage.fleet.len()).collect();
    // Others that measure themselves beside this one are ready by then.
    let rests = Instant::now();
    while rests.elapsed() < order.warm_up && !stage.fleet.is_stopped() {
        stage.fleet.turn(TURN, &mut Deaf)?;
    }
    let before = stage.meter.look();
    let began = Instant::now();
    for &link in &everybody {
        stage.fleet.leave(link, false, &mut Deaf);
    }
    let back = come_back(&mut stage.fleet, order, &mut stage.progress)?;
    let took = began.elapsed();
    let after = stage.meter.look();
    let count = everybody.len() as f64;
    let strangers = names
        .iter()
        .zip(self::names(&stage))
        .filter(|(was, is)| *was != is);
    let strangers = strangers.count();
    let mut draft = Draft::new();
    draft.figure(
        "clients",
        everybody.len().to_string(),
        "clients",
        everybody.len(),
    );
    draft.number(
        "seconds until all are back",
        "seconds",
        back.took.as_secs_f64(),
        3,
    );
    draft.number(
        "arrivals/s",
        "arrivals_per_second",
        count / took.as_secs_f64(),
        0,
    );
    draft.figure(
        "attempts refused",
        back.refused.to_string(),
        "attempts_refused",
        back.refused,
    );
    draft.figure(
        "came back as somebody else",
        strangers.to_string(),
        "strangers",
        strangers,
    );
    let cpu = draft.processes(&stage.meter, &before, &after, took);
    if !stage.meter.is_blind() {
        draft.number(
            "server CPU us/arrival",
            "cpu_us_per_arrival",
            cpu.as_secs_f64() * 1e6 / count,
            1,
        );
    }
    draft.times("arrival", "arrival", &back.each);
    draft.draw(spread("coming back", &back.each));
    for &link in &everybody {
        stage.fleet.leave(link, true, &mut Deaf);
    }
    Ok(draft.done(order))
}

/// Connects everybody. Only coming back is done all at once.
fn connect(stage: &mut Stage<'_>, crew: &Crew) -> Outcome<()> {
    let first = Order {
        at_once: stage.order.at_once.min(FIRST_AT_ONCE),
        ..stage.order.clone()
    };
    for wave in &crew.waves {
        gather(&mut stage.fleet, wave, &first, &mut stage.progress)?;
    }
    Ok(())
}

/// What the server calls everybody.
fn names(stage: &Stage<'_>) -> Vec<Box<str>> {
    let users = u32::try_from(stage.fleet.len()).unwrap_or(u32::MAX);
    (0..users)
        .map(|user| stage.fleet.person(user).user_name.clone())
        .collect()
}
