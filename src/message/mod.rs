//! Rules over HTTP messages: pure functions over bytes and `http` types.

pub mod routes;
