//! Which running tollgate is asked, and by what token.
//!
//! Invariant: a token comes from a file, a variable or the configuration, never from an argument that other users
//! of the host could read, and no message holds it.

pub(super) mod client;
pub(super) mod events;

use std::env;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::HeaderValue;

use crate::config::Overrides;
use crate::config::model::ListenAddress;
use crate::config::model::admin::Secret;

use super::load::{load, name_of};
use super::options::live::{Asking, AskingByFile};
use super::{CONFIGURATION, USAGE, terminal};

/// Where it listens if nobody says otherwise.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
const VARIABLE: &str = "TOLLGATE_ADMIN_TOKEN";
/// Nobody has a longer token; a mistaken path to a log or a device ends here.
const MAX_TOKEN: u64 = 4096;

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) help: String,
    pub(super) code: u8,
}

impl Failure {
    /// One that running the command again may cure.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure { message: message.into(), help: help.into(), code: 1 }
    }

    /// Wrong use of the command line.
    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure { code: USAGE, ..Failure::new(message, help) }
    }

    /// Tells it on standard error. An empty message was told already.
    pub(super) fn tell(&self) -> ExitCode {
        if !self.message.is_empty() {
            terminal::fail(&self.message, &self.help);
        }
        ExitCode::from(self.code)
    }
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or an address, and a port.
    Tcp { host: String, port: u16 },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A running tollgate, as its operators reach it.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) place: Place,
    /// What `Authorization` says, if anything.
    pub(super) authorization: Option<HeaderValue>,
}

impl Admin {
    /// By the arguments of a command that may name a configuration file.
    pub(super) fn by_file(arguments: &AskingByFile) -> Result<Admin, Failure> {
        Admin::of(&arguments.asking, &arguments.config)
    }

    /// By the arguments, the files' `[admin]` where `--admin` is not given, the environment.
    pub(super) fn of(asking: &Asking, config: &[PathBuf]) -> Result<Admin, Failure> {
        let (place, configured) = match (&asking.admin, config) {
            (Some(address), _) => (place(address)?, None),
            (None, [_, ..]) => from_files(config)?,
            (None, []) => (of_tcp(USUAL), None),
        };
        let token = match (&asking.token_file, env::var(VARIABLE)) {
            (Some(path), _) => Some(read_token(path)?),
            (None, Ok(token)) if !token.is_empty() => Some(Secret::new(token.trim())),
            _ => configured,
        };
        let authorization = token.map(|token| authorization(&token)).transpose()?;
        Ok(Admin { place, authorization })
    }
}

fn from_files(paths: &[PathBuf]) -> Result<(Place, Option<Secret>), Failure> {
    let Some(loaded) = load(paths, &Overrides::default()) else {
        return Err(Failure { code: CONFIGURATION, ..Failure::new("", "") });
    };
    let Some(admin) = loaded.model.admin else {
        let message = format!("{} has no `[admin]`, so its tollgate cannot be asked", name_of(paths));
        let help = format!("add `[admin]` with `address = \"{USUAL}\"`, or name the listener with `--admin`");
        return Err(Failure { code: CONFIGURATION, ..Failure::new(message, help) });
    };
    match admin.addresses.iter().find_map(reachable) {
        Some(place) => Ok((place, admin.token)),
        None => {
            let name = name_of(paths);
            let message = format!("only systemd knows where the tollgate of {name} listens for operators");
            let help = "name the address with `--admin`: `ListenStream=` of its socket unit";
            Err(Failure { code: CONFIGURATION, ..Failure::new(message, help) })
        }
    }
}

/// Where a listener is met from this host, if that can be known.
fn reachable(address: &ListenAddress) -> Option<Place> {
    match address {
        ListenAddress::Unix(path) => Some(Place::Unix(path.clone())),
        ListenAddress::Tcp(address) => Some(of_tcp(*address)),
        ListenAddress::Passed(_) => None,
    }
}

fn of_tcp(address: SocketAddr) -> Place {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Place::Tcp { host: ip.to_string(), port: address.port() }
}

/// Reads `127.0.0.1:9180`, `tollgate:9180`, `[::1]:9180`, `unix:/run/tollgate/admin.sock`.
fn place(text: &str) -> Result<Place, Failure> {
    let help = "write `127.0.0.1:9180`, `[::1]:9180`, `host:9180` or `unix:/run/tollgate/admin.sock`";
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(Place::Unix(PathBuf::from(path))),
            false => Err(Failure::usage(format!("`--admin {text}` has no absolute path"), help)),
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Place::Tcp { host: address.ip().to_string(), port: address.port() });
    }
    if text.starts_with("https://") {
        return Err(Failure::usage(
            format!("`--admin {text}` needs TLS, which the admin listener does not speak"),
            help,
        ));
    }
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    match bare.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) if port > 0 && is_host(host) => Ok(Place::Tcp { host: host.to_owned(), port }),
        _ => Err(Failure::usage(format!("`--admin {text}` is not an address"), help)),
    }
}

fn read_token(path: &Path) -> Result<Secret, Failure> {
    let unusable =
        |why: &str| Failure::new(format!("cannot use the token in `{}`: {why}", path.display()), "");
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TOKEN + 1).read_to_string(&mut text))
        .map_err(|error| unusable(&error.to_string()))?;
    match text.trim() {
        "" => Err(unusable("the file is empty")),
        _ if text.len() as u64 > MAX_TOKEN => Err(unusable("it is longer than 4096 bytes")),
        token => Ok(Secret::new(token)),
    }
}

fn authorization(token: &Secret) -> Result<HeaderValue, Failure> {
    let is_visible = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
    match value {
        Ok(mut value) if is_visible => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Failure::new(
            "the token of the admin listener has bytes that no token may have",
            "a token is visible ASCII without spaces",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let told = |text: &str| place(text).map(|place| place.to_string()).map_err(|failure| failure.message);
        for text in ["127.0.0.1:9180", "[::1]:9180", "unix:/run/admin.sock", "sidecar-1:9180"] {
            assert_eq!(told(text).unwrap(), text);
        }
        assert_eq!(told("http://localhost:9180/").unwrap(), "localhost:9180");
        for text in
            ["", "9180", "localhost", "localhost:0", "localhost:99999", "unix:admin.sock", "https://a:1"]
        {
            assert!(told(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_listener_of_all_interfaces_is_met_on_the_loopback() {
        for (address, place) in
            [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9"), ("10.0.0.1:9", "10.0.0.1:9")]
        {
            let address = ListenAddress::Tcp(address.parse().unwrap());
            assert_eq!(reachable(&address).unwrap().to_string(), place);
        }
    }

    #[test]
    fn a_token_that_is_no_field_value_is_refused_without_being_shown() {
        for token in ["se cret", "se\ncret", "s\u{e9}cret"] {
            let failure = authorization(&Secret::new(token)).unwrap_err();
            assert!(!failure.message.contains("cret"), "{failure:?}");
        }
        let value = authorization(&Secret::new("secret")).unwrap();
        assert!(!format!("{value:?}").contains("secret"));
    }
}
