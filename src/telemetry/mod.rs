//! What is told of each exchange, and of all of them. Encoders are pure; sinks and their outlets do the I/O.

pub mod access_line;
pub mod apps;
pub mod arrivals;
pub mod emf;
pub mod histogram;
pub mod measurements;
pub mod outlet;
pub mod prometheus;
pub mod record;
pub mod series;
pub mod sink;
pub mod talkers;
pub mod totals;
