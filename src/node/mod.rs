//! Configuration, composition, run, drain: everything that builds the rooms and starts them.
//!
//! This room may import every other and is imported by none. Invariant: only here, and in the
//! files of the engines, does the name of an engine stand.

mod accounts;
pub mod cli;
pub mod config;
mod doors;
mod engines;
mod files;
mod greeting;
mod health;
pub mod kept;
mod memory;
mod records;
pub mod run;
pub mod telemetry;
mod upkeep;
