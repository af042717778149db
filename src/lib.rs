//! tollgate, a sidecar in front of a Gunicorn app.
#![forbid(unsafe_code)]

pub mod config;
pub mod message;
