//! What is told of each exchange. Encoders are pure; the sink does the I/O.

pub mod access_line;
pub mod record;
pub mod sink;
