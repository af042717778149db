//! What operators ask a running tollgate, on a listener of its own.

mod auth;
pub mod control;
mod process_figures;
mod reply;
pub mod status;
