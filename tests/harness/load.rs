//! A constant load of clients that accept no failure.
//!
//! A request **fails** when its connection cannot be made, when its answer is not 200 with the body that was asked for,
//! whole, or when the connection ends before that. There is one exception, which HTTP grants (RFC 9110 section 9.2.2,
//! RFC 9112 section 9.5): a GET on a connection that has served before, and that ended without a byte of an answer, is
//! sent once more on a new one. These are counted. A POST, and whatever is the first on its connection, has no second
//! try.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;

use super::PATIENCE;
use super::socket::Socket;

/// What the clients have seen.
#[derive(Debug, Default)]
pub struct Load {
    stop: AtomicBool,
    /// Requests that were answered as they should be.
    pub served: AtomicUsize,
    /// GETs that were sent once more.
    pub repeated: AtomicUsize,
    /// Answers that said `Connection: close` on a connection that could have served on.
    pub closes: AtomicUsize,
}

/// How a client uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// One for each request.
    New,
    /// The same for as long as it is kept, with this method.
    Keep(&'static str),
}

impl Load {
    /// Starts a client against this address; it panics at the first failure.
    pub fn client<'s>(&'s self, scope: &'s Scope<'s, '_>, address: &str, habit: Habit) {
        let address = address.to_owned();
        scope.spawn(move || {
            let _stop = StopAll(&self.stop);
            let mut connection = None;
            let mut number = 0;
            while !self.stop.load(Ordering::Relaxed) {
                number += 1;
                self.ask(&address, habit, number, &mut connection);
                self.served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn ask(&self, address: &str, habit: Habit, number: usize, kept: &mut Option<Connection>) {
        let method = match habit {
            Habit::New => "GET",
            Habit::Keep(method) => method,
        };
        let fields = if habit == Habit::New { "Connection: close\r\n" } else { "" };
        let (length, body) = if method == "POST" { ("Content-Length: 4\r\n", "body") } else { ("", "") };
        let request = format!("{method} /{number} HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n{body}");
        let fail = |what: String| -> ! { panic!("{habit:?} request {number} failed: {what}") };
        let was_used = kept.is_some();
        let mut connection = kept
            .take()
            .unwrap_or_else(|| Connection::open(address).unwrap_or_else(|error| fail(error.to_string())));
        let answer = match connection.ask(&request) {
            Err(Ended { error, had_byte: false }) if was_used && method == "GET" => {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                eprintln!("{method} sent once more: {error}");
                connection = Connection::open(address).unwrap_or_else(|error| fail(error.to_string()));
                connection.ask(&request)
            }
            answer => answer,
        };
        let answer = answer.unwrap_or_else(|ended| fail(format!("{ended:?}, reused: {was_used}")));
        if answer.status != 200 || answer.body != format!("/{number}") {
            fail(format!("{answer:?}"));
        }
        if habit != Habit::New {
            match answer.closes {
                true => drop(self.closes.fetch_add(1, Ordering::Relaxed)),
                false => *kept = Some(connection),
            }
        }
    }

    /// Waits until so many more were served, or a client has failed.
    pub fn wait_for_more(&self, more: usize) {
        let goal = self.served.load(Ordering::Relaxed) + more;
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.served.load(Ordering::Relaxed) < goal {
            assert!(!self.stop.load(Ordering::Relaxed), "a client has failed");
            assert!(std::time::Instant::now() < deadline, "the load does not go on");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Lets all clients finish their requests and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Stops all clients when the test leaves its scope, also by a panic.
    pub fn stop_when_left(&self) -> impl Drop + '_ {
        StopAll(&self.stop)
    }
}

/// One that fails ends them all.
struct StopAll<'a>(&'a AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
    closes: bool,
}

/// A connection that ended in place of an answer.
#[derive(Debug)]
struct Ended {
    error: io::Error,
    had_byte: bool,
}

struct Connection(BufReader<Socket>);

impl Connection {
    fn open(address: &str) -> io::Result<Connection> {
        let socket = Socket::connect(address)?;
        socket.set_timeout(Some(PATIENCE));
        Ok(Connection(BufReader::new(socket)))
    }

    fn ask(&mut self, request: &str) -> Result<Answer, Ended> {
        let written = self.0.get_mut().write_all(request.as_bytes());
        let mut had_byte = false;
        let answer = self.answer(&mut had_byte);
        answer.map_err(|error| Ended { error: written.err().unwrap_or(error), had_byte })
    }

    fn answer(&mut self, had_byte: &mut bool) -> io::Result<Answer> {
        let (mut status, mut length, mut closes) = (0, 0, false);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *had_byte = true;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(code) = lower.strip_prefix("http/1.1 ") {
                status = code[..3].parse().unwrap();
            } else if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            closes |= lower == "connection: close";
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8(body).unwrap(), closes })
    }
}
