//! How long the small steps of the hot path take: frames, envelopes, routing, buckets, the hub.
//!
//! `cargo bench --bench micro` measures all, `cargo bench --bench micro -- hub/` those of a group.
//! Not here: sockets, engines. What counts are the ratios within one run; what they execute is
//! counted by `instructions`, which repeats.

#[path = "support/allocator.rs"]
mod allocator;
mod cases;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for case in cases::all() {
        criterion.bench_function(case.name, |bencher| match (case.make)() {
            Ok(mut run) => bencher.iter(&mut run),
            Err(error) => panic!("{}: {error}", case.name),
        });
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
