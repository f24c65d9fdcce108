//! End-to-end, conformance and fault tests, in one binary so that it is linked once.
//!
//! Each module is named after what it shows; `support` starts real servers and clients.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as it must be"
)]

mod anonymous_identity;
mod configuration;
mod conformance_bus;
mod conformance_bus;
mod conformance_location;
mod conformance_quota;
mod deployment_files;
mod faults_location;
mod process;
mod rabbitmq_definitions;
mod simulation;
mod support;
