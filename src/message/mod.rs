//! Rules over HTTP messages: pure functions over bytes and `http` types.

pub mod chunked;
pub mod forwarded;
pub mod handling;
pub mod head;
pub mod hop_by_hop;
pub mod http2;
pub mod http2_frames;
pub mod local_reply;
pub mod pace;
pub mod path;
pub mod proxy_header;
pub mod request_id;
pub mod routes;
pub mod server_timing;
pub mod target;
pub mod trailers;
pub mod websocket;
