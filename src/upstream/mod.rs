//! The app's side: connections to it, the requests written to it, and its answers, judged.
//!
//! HTTP/1.1 toward the app is spoken here rather than by a client library, because four promises
//! need the bytes: a request is sent again only if none of them was written, an early answer is read although
//! the app stopped reading, a malformed answer is refused as strictly as a malformed request, and a
//! request costs one write.

pub mod answer;
pub mod app;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod condition;
pub mod connect;
pub mod fault;
pub mod gate;
pub mod gradient;
pub mod outgoing;
pub mod pool;
mod probe;
pub mod queue;
pub mod request_head;
pub mod response_head;
pub mod signs;
pub mod spill;
pub mod watch;
