//! What the scenarios stand on: tollgate as the real binary on a free port, an upstream that
//! follows a script byte by byte, clients that send raw bytes, and the real Gunicorn.
//!
//! Everything is a plain thread and a blocking socket. Waiting is always for a thing, with one
//! generous limit ([`PATIENCE`]) after which the test fails and says what it was waiting for.

pub mod admin;
pub mod agent;
pub mod app;
pub mod aws;
pub mod browser;
pub mod client;
pub mod http2;
pub mod journal;
pub mod load;
pub mod log;
pub mod manager;
pub mod nginx;
pub mod origin;
pub mod process;
pub mod scratch;
mod selftest;
pub mod socket;
pub mod terminal;
pub mod tls;
pub mod tollgate;
pub mod websocket;
pub mod wire;

use std::time::Duration;

/// How long anything may take before a test gives up. No test passes or fails by a time below it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub use admin::Operator;
pub use app::{Binding, Gunicorn, WorkerClass};
pub use aws::Moto;
pub use client::Client;
pub use manager::Manager;
pub use origin::{Origin, Peer};
pub use scratch::Scratch;
pub use tls::{Authority, Issued, TlsConnector};
pub use tollgate::{Setup, Tollgate};
pub use wire::{Ending, Framing};
