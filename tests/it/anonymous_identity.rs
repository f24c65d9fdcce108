//! Anonymous identity on real rules and engines in memory: nobody receives what was meant for
//! another, in whatever order people who share a network and a browser come, go and write.
//!
//! Not here: sockets and frames. Invariant: the wall clock and tokio's clock are advanced together
//! and never slept on.

mod engines;
mod limits;
mod members;
mod model;
mod people;
mod races;
mod reach;
mod rules;
mod stateless;
mod tickets;
mod world;
