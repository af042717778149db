//! What operators ask a running tollgate, on a listener of its own, and what they can have it do.
//!
//! [`listener`] is the thread, `server` takes a request through its checks by the table in `endpoints`, [`control`]
//! is the handle on the process behind it. [`status`] is the contract of data with the live page and `tollgate top`.

mod auth;
mod changes;
pub mod control;
mod endpoints;
mod events;
mod explain;
pub mod listener;
mod live_limits;
mod minute;
mod openapi;
pub mod page;
mod process_figures;
mod readiness;
mod reply;
mod requests;
mod server;
pub mod status;
mod status_of;
mod status_of_apps;
