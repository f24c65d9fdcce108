//! Clients that connect, subscribe and leave: what an arrival costs, its leaving included.
//!
//! Each arrival is a new visitor. Invariant: at any time at most as many clients are there as the order
//! says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Stage;
use crate::bench::gather::TURN;
use crate::bench::link::{Deaf, Ear, Heard, Why};
use crate::bench::pace::{Alarm, Schedule};
use crate::bench::report::{Draft, Latency, Report, latency, spread};
use crate::bench::{BenchError, Outcome};

pub(super) fn run(stage: Stage<'_>) -> Outcome<Report> {
    let rate = stage.order.rate;
    let mut run = Run {
        free: (0..stage.fleet.len()).collect(),
        alarm: match rate {
            Some(_) => Some(Alarm::new(stage.fleet.waker()?, stage.fleet.began())),
            None => None,
        },
        schedule: rate.map(|rate| Schedule::new(rate, stage.fleet.now_ns())),
        opened: 0,
        doors: Doors {
            arrived: VecDeque::new(),
            count: 0,
            each: latency(),
            ended: None,
        },
        stage,
    };
    let before = run.stage.meter.look();
    let took = run.come_and_go()?;
    let after = run.stage.meter.look();
    if run.doors.count == 0 {
        return Err(BenchError::Stopped);
    }
    let mut draft = Draft::new();
    let (count, each) = (run.doors.count as f64, &run.doors.each);
    draft.figure(
        "arrivals",
        run.doors.count.to_string(),
        "arrivals",
        run.doors.count,
    );
    draft.number("seconds", "seconds", took.as_secs_f64(), 2);
    draft.number(
        "arrivals/s",
        "arrivals_per_second",
        count / took.as_secs_f64(),
        0,
    );
    let cpu = draft.processes(&run.stage.meter, &before, &after, took);
    if !run.stage.meter.is_blind() {
        let us = cpu.as_secs_f64() * 1e6 / count;
        draft.number("server CPU us/arrival", "cpu_us_per_arrival", us, 1);
    }
    draft.times("arrival", "arrival", each);
    draft.draw(spread("arrivals", each));
    for link in 0..run.stage.fleet.len() {
        run.stage.fleet.leave(link, false, &mut Deaf);
    }
    Ok(draft.done(run.stage.order))
}

/// Lets them in and out.
struct Run<'a> {
    stage: Stage<'a>,
    /// Connections that nobody uses.
    free: VecDeque<usize>,
    schedule: Option<Schedule>,
    alarm: Option<Alarm>,
    opened: u64,
    doors: Doors,
}

impl Run<'_> {
    /// Until time or number are used up. Returns how long it took.
    fn come_and_go(&mut self) -> Outcome<Duration> {
        let order = self.stage.order;
        let most = order.messages.unwrap_or(u64::MAX);
        let began = Instant::now();
        let mut moved = (0, began);
        while !self.stage.fleet.is_stopped()
            && self.doors.count < most
            && began.elapsed() < order.duration
        {
            self.let_in(most);
            self.stage.fleet.turn(TURN, &mut self.doors)?;
            self.let_out();
            if let Some((link, why)) = &self.doors.ended {
                return Err(self.stage.fleet.explain(*link, why));
            }
            if self.doors.count > moved.0 {
                moved = (self.doors.count, Instant::now());
            }
            if moved.1.elapsed() > order.patience {
                return Err(BenchError::Silent(format!(
                    "nobody has arrived for {:?}; {} had before",
                    order.patience, self.doors.count
                )));
            }
            let count = self.doors.count;
            self.stage.progress.show(|| format!("{count} arrivals"));
        }
        Ok(began.elapsed())
    }

    fn let_in(&mut self, most: u64) {
        let now_ns = self.stage.fleet.now_ns();
        while self.opened < most && !self.free.is_empty() {
            if let Some(schedule) = &mut self.schedule {
                let due_ns = schedule.due_ns();
                if due_ns > now_ns {
                    if let Some(alarm) = &self.alarm {
                        alarm.set(due_ns);
                    }
                    return;
                }
                schedule.take();
            }
            if let Some(link) = self.free.pop_front() {
                self.opened += 1;
                self.stage.fleet.open(link, &mut self.doors);
            }
        }
    }

    /// Whoever has arrived leaves, and is nobody when his connection is used again.
    fn let_out(&mut self) {
        while let Some(link) = self.doors.arrived.pop_front() {
            self.stage.fleet.leave(link, true, &mut Deaf);
            self.stage
                .fleet
                .forget(u32::try_from(link).unwrap_or(u32::MAX));
            self.free.push_back(link);
        }
    }
}

/// Who has come.
#[derive(Debug)]
struct Doors {
    arrived: VecDeque<usize>,
    count: u64,
    each: Latency,
    ended: Option<(usize, Why)>,
}

impl Ear for Doors {
    fn hear(&mut self, link: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Ready { took_ns } => {
                self.arrived.push_back(link);
                self.count += 1;
                self.each.saturating_record(took_ns / 1_000);
            }
            Heard::Ended(why) => {
                self.ended.get_or_insert_with(|| (link, (*why).clone()));
            }
            Heard::Message { .. } | Heard::Receipt { .. } => {}
        }
    }
}
