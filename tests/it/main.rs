//! End-to-end, conformance and fault tests, in one binary so that it is linked once.
//!
//! Each module is named after what it shows; `support` starts real servers and clients.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as it must be"
)]

mod accounts;
mod accounts_cluster;
mod anonymous_identity;
mod backup;
mod bad_clients;
mod bad_input;
mod bench_command;
mod clients_cluster;
mod cluster_start;
mod configuration;
mod conformance_accounts;
mod conformance_bus;
mod conformance_location;
mod conformance_queues;
mod conformance_quota;
mod conformance_stomp;
mod conformance_store;
mod corpus;
mod costs;
mod crowd;
mod deployment_files;
mod deployment_nginx;
mod disk;
mod documented_attacks;
mod documented_destinations;
mod documented_performance;
mod documented_protocol;
mod drain;
mod edge_handshake;
mod edge_http;
mod edge_proxy_protocol;
mod edge_tcp;
mod edge_tls;
mod edge_websocket;
mod fan_out;
mod fan_out_alone;
mod fan_out_beside;
mod faults_cluster;
mod faults_location;
mod faults_queues;
mod faults_store;
mod file_limit;
mod herd;
mod hostile_clients;
mod instruction_gate;
mod limits_cluster;
mod log_lost;
mod login_flood;
mod mail;
mod memory_evictions;
mod memory_requests;
mod memory_sessions;
mod nginx_sockjs;
mod one_node;
mod open_destinations;
mod page;
mod page_accounts;
mod page_dialog;
mod page_links;
mod process;
mod queue_cluster;
mod queue_work;
mod rabbitmq_definitions;
mod reserve;
mod rest;
mod scale;
mod schemathesis;
mod shares;
mod simulation;
mod sockjs;
mod sockjs_clients;
mod spring_front_end;
mod stomp_py;
mod store_postgres;
mod store_sqlite;
mod support;
mod three_nodes;
mod two_nodes;
mod visitors_cluster;
