//! The one error of the benchmark: a sentence for the person who runs it.
//!
//! Invariant: every error names what was being done, because it ends the run.

use std::fmt::{self, Display};
use std::io;

/// Why the run ended.
#[derive(Debug, Clone)]
pub(crate) struct Trouble(String);

/// What fallible functions of the benchmark return.
pub(crate) type Fallible<T> = Result<T, Trouble>;

impl Trouble {
    pub(crate) fn new(text: impl Display) -> Self {
        Self(text.to_string())
    }

    /// The same trouble, with where it happened in front.
    pub(crate) fn during(self, what: impl Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For `map_err`: an I/O error with what was being done.
pub(crate) fn io(what: impl Display) -> impl FnOnce(io::Error) -> Trouble {
    move |error| Trouble(format!("{what}: {error}"))
}
