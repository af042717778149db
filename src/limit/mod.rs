//! Limits: what they measure, where their states are, and the decision over all limits a request meets.
//!
//! Pure: `now` is an argument, no socket, file or random source is known here. From the bottom up: [`rate`] and the
//! four ways to measure, [`bucket`], [`sliding`], [`quota`] and a plain count of requests in flight; [`meter`] puts
//! them under one name; [`key`] and [`table`] hold states by key; [`rules`] is what the configuration says;
//! [`decide`] admits all or refuses; [`register`] carries states over a change of the rules.

pub mod bucket;
pub mod meter;
pub mod notation;
pub mod quota;
pub mod rate;
pub mod rules;
pub mod sliding;
