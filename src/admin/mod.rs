//! What operators ask a running tollgate, on a listener of its own.

pub mod page;
pub mod status;
