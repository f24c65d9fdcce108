//! The private servers of the tests, for a benchmark.
//!
//! Invariant: they end with this process.

#[path = "../../tests/it/support/ports.rs"]
pub(crate) mod ports;
#[path = "../../tests/it/support/postgres.rs"]
#[expect(
    dead_code,
    reason = "a benchmark needs less of the server than the tests"
)]
pub(crate) mod postgres;
#[path = "../../tests/it/support/rabbitmq.rs"]
#[expect(
    dead_code,
    reason = "a benchmark needs less of the server than the tests"
)]
pub(crate) mod rabbitmq;
#[path = "../../tests/it/support/redis.rs"]
#[expect(
    dead_code,
    reason = "a benchmark needs less of the server than the tests"
)]
pub(crate) mod redis;
