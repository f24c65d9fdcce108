//! Real servers and clients for the tests: started privately on free ports below 32768, on
//! loopback, ended with the test. A missing program fails the test and names its Debian package.

pub(crate) mod api;
pub(crate) mod bystanders;
pub(crate) mod chromium;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod cpu;
pub(crate) mod edge;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod page;
pub(crate) mod ports;
pub(crate) mod postgres;
mod process;
pub(crate) mod proxy;
pub(crate) mod publisher;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
pub(crate) mod sheet;
pub(crate) mod stompjs;
mod stompjs_messages;
mod stompjs_work;
pub(crate) mod stream;
pub(crate) mod web;
pub(crate) mod wire;
mod wire_expect;
mod wire_frame;
mod wire_xhr;
