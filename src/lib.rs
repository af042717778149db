//! tollgate: a sidecar in front of a Gunicorn app.
//!
//! A request's way: a [`proxy::listener`] accepts a socket, [`proxy::connection`] serves it, [`proxy::wire`] checks
//! each head before the parser sees it, [`proxy::handle`] takes the request through its stages, [`upstream`]
//! speaks with the app, and [`telemetry`] tells of it when the last byte is sent.
#![forbid(unsafe_code)]

pub mod clock;

pub mod identity;
pub mod limit;
pub mod message;

pub mod config;

pub mod telemetry;

pub mod alarms;
pub mod socket;
pub mod store;
pub mod tls;
pub mod upstream;

pub mod proxy;

pub mod admin;
pub mod alerts;
pub mod cloudwatch;

pub mod daemon;
pub mod doctor;
pub mod gunicorn;

pub mod cli;
