//! The one integration binary: tollgate as the real program between raw sockets on both sides.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests poll from threads of their own")]
#![allow(unreachable_pub, reason = "everything here is private to the tests")]

mod command_line;
mod config_files;
mod dependencies;
mod deployed;
mod deployed_aws;
mod deployed_docker;
mod documents;
mod harness;
mod keys;
mod layering;
mod messages;
mod notation;
mod operators;
mod packaging;
mod properties;
mod regressions;
mod scenarios;
