//! Sockets that whoever started the process passed to it, as systemd does for a socket unit: each under a name, already
//! bound, and listening for longer than this process lives.
//!
//! Invariant: each is used at most once, and only if it is what a listener must be.

use std::env;
use std::io;

use listenfd::ListenFd;
use socket2::{Domain, SockRef, Type};

use super::bind::BoundSocket;

/// systemd's name for a socket without one.
const NAMELESS: &str = "unknown";

/// What was passed.
pub(super) struct Passed {
    sockets: ListenFd,
    /// By the place of the socket; `None` when it is taken.
    names: Vec<Option<String>>,
}

impl Passed {
    /// Nothing.
    pub(super) fn nothing() -> Passed {
        Passed { sockets: ListenFd::empty(), names: Vec::new() }
    }

    /// What the environment tells of, if it is meant for this process. To be asked for once, before there are threads:
    /// the variables are removed.
    pub(super) fn to_us() -> Passed {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let sockets = ListenFd::from_env();
        let names = (0..sockets.len()).map(|at| Some(name_of(&names, at).to_owned())).collect();
        Passed { sockets, names }
    }

    /// Takes all of this name; there is at least one, or an error.
    pub(super) fn take(&mut self, name: &str) -> io::Result<Vec<BoundSocket>> {
        let named: Vec<usize> =
            (0..self.names.len()).filter(|at| self.names[*at].as_deref() == Some(name)).collect();
        if named.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, self.what_is_there()));
        }
        let mut taken = Vec::new();
        for at in named {
            taken.push(self.take_one(at)?);
            self.names[at] = None;
        }
        Ok(taken)
    }

    fn take_one(&mut self, at: usize) -> io::Result<BoundSocket> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let no_stream = || wrong("what was passed is no stream socket of TCP or Unix");
        let socket = match self.sockets.take_unix_listener(at) {
            Ok(Some(listener)) => BoundSocket::Unix(listener),
            _ => {
                let listener = self.sockets.take_tcp_listener(at).map_err(|_| no_stream())?;
                BoundSocket::Tcp(listener.ok_or_else(no_stream)?)
            }
        };
        let (domain, kind, listens) = match &socket {
            BoundSocket::Tcp(listener) => described(SockRef::from(listener))?,
            BoundSocket::Unix(listener) => described(SockRef::from(listener))?,
        };
        if kind != Type::STREAM || ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
            return Err(no_stream());
        }
        if !listens {
            return Err(wrong("what was passed does not listen: the socket unit needs `Accept=no`"));
        }
        Ok(socket)
    }

    fn what_is_there(&self) -> String {
        let names: Vec<String> = self.names.iter().flatten().map(|name| format!("`{name}`")).collect();
        match names.as_slice() {
            [] => "no socket was passed".to_owned(),
            names => format!("no socket of this name was passed, but {}", names.join(", ")),
        }
    }

    /// Tells of those that nobody took.
    pub(super) fn tell_unused(&self) {
        for name in self.names.iter().flatten() {
            tracing::warn!(
                name,
                "a socket was passed that no `address` names, who connects there waits in vain; write `systemd:{name}`, \
                 or take it out of the socket unit"
            );
        }
    }
}

fn described(socket: SockRef<'_>) -> io::Result<(Domain, Type, bool)> {
    Ok((socket.domain()?, socket.r#type()?, socket.is_listener()?))
}

/// The name at a place of a list with colons.
fn name_of(names: &str, at: usize) -> &str {
    names.split(':').nth(at).filter(|name| !name.is_empty()).unwrap_or(NAMELESS)
}

impl std::fmt::Debug for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passed").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_places() {
        assert_eq!([0, 1, 2].map(|at| name_of("http:admin", at)), ["http", "admin", NAMELESS]);
        assert_eq!(name_of("", 0), NAMELESS);
        assert_eq!(name_of(":b", 0), NAMELESS);
    }

    #[test]
    fn a_name_that_was_not_passed_is_told_with_those_that_were() {
        let mut passed = Passed::nothing();
        assert_eq!(passed.take("http").unwrap_err().to_string(), "no socket was passed");
        passed.names = vec![Some("https".to_owned()), None];
        let told = passed.take("http").unwrap_err().to_string();
        assert_eq!(told, "no socket of this name was passed, but `https`");
    }
}
