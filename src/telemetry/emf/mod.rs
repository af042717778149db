//! CloudWatch's embedded metric format: JSON lines that CloudWatch Logs makes metrics of.
//!
//! Follows the specification "Embedded metric format" of the CloudWatch user guide.

pub mod catalog;
pub mod check;
pub mod line;
pub mod template;
