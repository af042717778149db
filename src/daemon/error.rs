//! Why the process could not start: one line that says what, and what to do.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use super::keys_file::KeysFileError;
use crate::tls::TlsFileError;
use crate::tls::server::ServerTlsError;

/// Wrong configuration, `EX_CONFIG` of sysexits.h.
const CONFIGURATION: u8 = 78;

const PASSED_HELP: &str = "start the socket unit before the service, `systemctl start tollgate.socket`, and have its \
                           `FileDescriptorName=` be the name behind `systemd:`";

/// What failed before the first worker served.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be bound.
    Listen(String, io::Error),
    /// An address of the admin listener could not be bound.
    Admin(String, io::Error),
    /// The app's address means nothing.
    Upstream(String, io::Error),
    /// The API keys cannot be used.
    Keys(String, KeysFileError),
    /// TLS cannot be spoken with clients.
    Tls(ServerTlsError),
    /// TLS cannot be spoken with the app.
    UpstreamTls(TlsFileError),
    /// The record sink cannot be opened.
    Records(String, io::Error),
    /// The sink of EMF lines cannot be opened.
    Emf(String, io::Error),
    /// Bodies that are too large for memory have no place.
    Spill(String, io::Error),
    /// The process with this id cannot be replaced, and why.
    Replaces(i32, String),
    /// A socket that was passed for the admin listener is open to other hosts, and there is no token.
    OpenAdmin(String),
    /// Threads or signal handlers.
    Threads(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error, help) = match self {
            StartError::Keys(path, error) => return write!(f, "cannot use the keys file `{path}`: {error}"),
            StartError::Tls(error) => return write!(f, "`[listen.tls]`: {error}"),
            StartError::UpstreamTls(error) => return write!(f, "`[upstream.tls]`: {error}"),
            StartError::Replaces(id, why) => return write!(f, "cannot replace process {id}: {why}"),
            StartError::OpenAdmin(address) => {
                return write!(
                    f,
                    "`token` of `[admin]` is missing, and other hosts reach `{address}`, which was passed for it; \
                     set a token, or have the socket unit listen on `127.0.0.1:9180`"
                );
            }
            StartError::Listen(address, error) if address.starts_with("systemd:") => {
                (format!("cannot listen on `{address}`"), error, PASSED_HELP)
            }
            StartError::Admin(address, error) if address.starts_with("systemd:") => {
                (format!("cannot listen on `{address}` for `[admin]`"), error, PASSED_HELP)
            }
            StartError::Listen(address, error) => {
                (format!("cannot listen on `{address}`"), error, listen_help(error))
            }
            StartError::Admin(address, error) => {
                (format!("cannot listen on `{address}` for `[admin]`"), error, admin_help(error))
            }
            StartError::Upstream(address, error) => (
                format!("cannot resolve the upstream address `{address}`"),
                error,
                "check `[upstream] address`, or write the address as a number",
            ),
            StartError::Records(name, error) => (
                format!("cannot write records to `{name}`"),
                error,
                "check the path of `[log] access` and its permissions",
            ),
            StartError::Emf(name, error) => (
                format!("cannot send EMF lines to `{name}`"),
                error,
                "check `[emf] sink` and the permissions there",
            ),
            StartError::Spill(directory, error) => (
                format!("cannot write files in `{directory}`"),
                error,
                "make the directory of `[upstream] spill_dir`, and let the user of this process write there",
            ),
            StartError::Threads(error) => {
                ("cannot start".to_owned(), error, "look at the limits on processes and open files")
            }
        };
        write!(f, "{what}: {}; {help}", describe(error))
    }
}

impl std::error::Error for StartError {}

fn listen_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop the process that has it, or choose another `[listen] address`",
        io::ErrorKind::PermissionDenied => {
            "choose a port above 1023 or a writable directory, or grant the right"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this host, or `0.0.0.0` for all of them",
        _ => "choose another `[listen] address`",
    }
}

fn admin_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop the process that has it, or choose another `[admin] address`",
        io::ErrorKind::PermissionDenied => {
            "choose a port above 1023 or a writable directory, or grant the right"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this host",
        _ => "choose another `[admin] address`",
    }
}

/// Without the number that the standard library appends, and in lower case.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Says it on standard error; the exit code of a process that could not start.
pub(super) fn tell(error: &StartError) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "tollgate: {error}");
    match error {
        StartError::Keys(..) | StartError::Tls(_) | StartError::UpstreamTls(_) => {
            ExitCode::from(CONFIGURATION)
        }
        _ => ExitCode::FAILURE,
    }
}
