//! Where each value of a configuration comes from.

use std::collections::BTreeMap;
use std::fmt;

use super::sources::Position;

/// Where one value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A line of the file.
    File {
        /// Which one.
        at: Position,
    },
    /// A line of the file that takes it, or a part of it, from environment variables.
    Environment {
        /// Which one.
        at: Position,
        /// Their names, in the order of use.
        variables: Vec<String>,
    },
    /// A variable that gives the default of a key which the file does not set.
    Variable {
        /// Its name.
        name: &'static str,
    },
    /// An option of the command line.
    CommandLine {
        /// With its dashes.
        option: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { at } => write!(f, "{at}"),
            Origin::Environment { at, variables } => {
                write!(f, "{at}, from")?;
                for variable in variables {
                    write!(f, " ${{{variable}}}")?;
                }
                Ok(())
            }
            Origin::Variable { name } => write!(f, "from the environment, {name}"),
            Origin::CommandLine { option } => f.write_str(option),
        }
    }
}

/// The origin of every key that is not at its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    keys: BTreeMap<String, Origin>,
    /// Secrets that are written as variables, in the file's words.
    written: BTreeMap<String, String>,
}

impl Origins {
    /// The origin of a key by its dotted path: `listen.address`, `routes.0.match`.
    pub fn get(&self, path: &str) -> Origin {
        self.keys.get(path).cloned().unwrap_or_default()
    }

    /// The file's words for a secret, where they are variables and nothing else.
    pub(crate) fn written(&self, path: &str) -> Option<&str> {
        self.written.get(path).map(String::as_str)
    }

    pub(crate) fn set_written(&mut self, path: String, written: String) {
        self.written.insert(path, written);
    }

    pub(crate) fn set(&mut self, path: String, origin: Origin) {
        self.keys.insert(path, origin);
    }
}
