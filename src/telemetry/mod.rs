//! What is told of each exchange, and of all of them. Encoders are pure; the sink does the I/O.

pub mod access_line;
pub mod emf;
pub mod histogram;
pub mod measurements;
pub mod prometheus;
pub mod record;
pub mod series;
pub mod sink;
pub mod talkers;
pub mod totals;
