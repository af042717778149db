//! Where the states of limits live beyond this process: a file that carries them over a restart.
//!
//! [`encoding`] is pure; [`mod@file`] writes and reads.

pub mod encoding;
pub mod file;
mod wire;

#[cfg(test)]
mod tests;
