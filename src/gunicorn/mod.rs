//! What a running Gunicorn is set up to do, seen from outside: by what the kernel tells of its processes.
//!
//! `arguments`, `literals`, `settings` and `sockets` are pure: bytes in, facts out. `processes` reads `/proc`. Nothing is
//! asked of Gunicorn, and no Python is run: of a configuration file only simple assignments are read, and what is
//! computed there is not known.

pub mod arguments;
pub mod literals;
pub mod processes;
pub mod settings;
pub mod sockets;

pub use processes::{Master, find};
pub use settings::{Concurrency, Setting, Settings, Source};
pub use sockets::Listener;
