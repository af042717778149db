//! The one integration binary.
#![allow(clippy::unwrap_used)] // A test says by panicking what it has to say.

mod command_line;
mod config_files;
mod messages;
