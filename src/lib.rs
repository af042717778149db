//! tollgate, a sidecar in front of a Gunicorn app.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod message;
