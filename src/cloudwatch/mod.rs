//! All that speaks with AWS: metrics and lines on their way to CloudWatch, and CloudWatch set up for them.
//!
//! What is sent and what is wanted are computed as plain data ([`emitted`], [`data`], [`batch`], [`dashboard`],
//! [`alarms`], [`difference`], [`template`]); [`push`], [`logs`], [`remote`] and [`doctor`] do the talking. Invariant: no client of AWS
//! is built before there is something to ask it.

pub mod alarm;
pub mod alarms;
pub mod batch;
pub mod client;
pub mod dashboard;
pub mod data;
pub mod difference;
pub mod doctor;
pub mod emitted;
pub mod logs;
pub mod plan;
pub mod push;
pub mod remote;
pub mod template;

#[cfg(test)]
mod tests;
