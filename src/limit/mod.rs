//! Limits: what they measure, where their states are, and the decision over all limits a request meets.
//!
//! Pure: `now` is an argument, no socket, file or random source is known here. From the bottom up: [`rate`] and the
//! ways to measure, [`bucket`], [`sliding`], [`quota`] and a plain count of requests in flight; [`meter`] puts them
//! under one name; [`key`], [`table`] and [`logs`] hold states by key, [`buckets`] all of them; [`rules`] is what
//! the configuration says; [`decide`] admits or refuses, [`fields`] tells of it; [`carry`] carries states over a
//! change of the rules; [`reset`], [`fullest`] and [`quota_use`] are what operators ask for.

pub mod bucket;
pub mod buckets;
pub mod carry;
pub mod decide;
pub mod fields;
pub mod fullest;
pub mod key;
pub mod logs;
pub mod meter;
pub mod notation;
pub mod quota;
pub mod quota_use;
pub mod rate;
pub mod reset;
pub mod rules;
mod shard;
pub mod sliding;
pub mod state;
pub mod table;

#[cfg(test)]
mod tests;
