//! The one integration binary: tollgate as the real program between raw sockets on both sides.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "everything here is private to the tests")]

mod harness;
mod layering;
mod regressions;
mod scenarios;
