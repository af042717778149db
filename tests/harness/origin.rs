//! The app behind, as a script: what it does on each accepted connection is a closure over raw
//! bytes, and everything it was sent is kept.

use std::any::Any;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::journal::Journal;
use super::scratch::Scratch;
use super::socket::Socket;
use super::wire::{Body, Ending, Framing, Headers, Wire, parse_head};

/// A request as the app got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// `GET`
    pub method: String,
    /// The target, as sent.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    /// The fields.
    pub headers: Headers,
    /// The body, once the script has read it.
    pub body: Body,
}

impl Received {
    /// How the body's length is told.
    pub fn framing(&self) -> Framing {
        if self.headers.has("transfer-encoding") {
            let coding = self.headers.get("transfer-encoding");
            assert_eq!(coding.as_deref(), Some("chunked"), "a coding the app cannot read");
            assert!(!self.headers.has("content-length"), "two framings reached the app");
            return Framing::Chunked;
        }
        match self.headers.get("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a length")),
            None => Framing::Empty,
        }
    }
}

/// One accepted connection, in the hands of the script.
#[derive(Debug)]
pub struct Peer {
    /// Counted from 1 in order of acceptance.
    pub number: usize,
    wire: Wire,
    received: Journal<Received>,
}

impl Peer {
    /// The next request head; `None` when tollgate closed or reset the connection.
    pub fn head(&mut self) -> Option<Received> {
        let raw_head = self.wire.head().ok()?;
        let (line, headers) = parse_head(&raw_head);
        let parts: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = parts[..] else { panic!("not a request line: {line:?}") };
        let received = Received {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers,
            body: Body::default(),
        };
        assert_eq!(received.version, "HTTP/1.1");
        Some(received)
    }

    /// The next request with its body; it counts as received from here on.
    pub fn request(&mut self) -> Option<Received> {
        let mut received = self.head()?;
        received.body = self.wire.body(received.framing());
        self.received.push(received.clone());
        Some(received)
    }

    /// The next request, which the script cannot do without.
    pub fn expect_request(&mut self) -> Received {
        self.request().expect("a request")
    }

    /// Counts a request read by [`Peer::head`] as received.
    pub fn note(&self, received: &Received) {
        self.received.push(received.clone());
    }

    /// Sends bytes; a connection already gone is tollgate's right.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Peer {
        let _ = self.wire.try_send(bytes.as_ref());
        self
    }

    /// Sends bytes, and tells whether they could be sent.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.try_send(bytes)
    }

    /// Waits until tollgate ends the connection.
    pub fn wait_for_end(&mut self) -> Ending {
        self.wire.rest().1
    }

    /// The raw bytes.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.wire.into_socket().reset();
    }
}

type Script = dyn Fn(Peer) + Send + Sync;

/// A listening upstream.
pub struct Origin {
    address: String,
    accepted: Arc<AtomicUsize>,
    received: Journal<Received>,
    failures: Journal<String>,
    closing: Arc<AtomicBool>,
    scratch: Option<Scratch>,
}

impl Origin {
    /// On a free TCP port; every accepted connection gets a thread and the script.
    pub fn start(script: impl Fn(Peer) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accept = move || {
            let (stream, _) = listener.accept().ok()?;
            stream.set_nodelay(true).ok()?;
            Some(Socket::Tcp(stream))
        };
        Origin::serve(address, accept, None, Arc::new(script))
    }

    /// On a Unix socket.
    pub fn start_unix(script: impl Fn(Peer) + Send + Sync + 'static) -> Origin {
        let scratch = Scratch::new();
        let path = scratch.file("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let accept = move || listener.accept().ok().map(|(stream, _)| Socket::Unix(stream));
        Origin::serve(unix_address(&path), accept, Some(scratch), Arc::new(script))
    }

    /// Answers every request on every connection with the same bytes.
    pub fn answering(response: impl Into<Vec<u8>>) -> Origin {
        let response = response.into();
        Origin::start(move |mut peer| {
            while peer.request().is_some() {
                peer.send(&response);
            }
        })
    }

    /// Answers every request with `200` and the body `ok`.
    pub fn ok() -> Origin {
        Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Answers the first request of every connection with these bytes, then closes.
    pub fn answering_once(response: impl Into<Vec<u8>>) -> Origin {
        let response = response.into();
        Origin::start(move |mut peer| {
            if peer.request().is_some() {
                peer.send(&response);
            }
        })
    }

    fn serve(
        address: String,
        mut accept: impl FnMut() -> Option<Socket> + Send + 'static,
        scratch: Option<Scratch>,
        script: Arc<Script>,
    ) -> Origin {
        let origin = Origin {
            address,
            accepted: Arc::default(),
            received: Journal::default(),
            failures: Journal::default(),
            closing: Arc::default(),
            scratch,
        };
        let (accepted, received) = (Arc::clone(&origin.accepted), origin.received.clone());
        let (failures, closing) = (origin.failures.clone(), Arc::clone(&origin.closing));
        std::thread::spawn(move || {
            while let Some(socket) = accept() {
                if closing.load(Ordering::SeqCst) {
                    return;
                }
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let peer = Peer { number, wire: Wire::new(socket), received: received.clone() };
                let (script, failures) = (Arc::clone(&script), failures.clone());
                std::thread::spawn(move || {
                    let run = catch_unwind(AssertUnwindSafe(|| script(peer)));
                    if let Err(panic) = run {
                        failures.push(format!("connection {number}: {}", panic_text(&*panic)));
                    }
                });
            }
        });
        origin
    }

    /// As `[upstream] address` wants it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Every request the scripts read, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.received.all()
    }

    /// The only request there was.
    pub fn only_request(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "requests that reached the app: {received:#?}");
        received.remove(0)
    }

    /// Waits until this many requests were received.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        let found = self.received.wait(|all| (all.len() >= count).then(|| all.to_vec()));
        found.unwrap_or_else(|| panic!("waited in vain for {count} requests: {:?}", self.received()))
    }

    /// Waits until a script has failed.
    pub fn wait_for_failure(&self) -> bool {
        self.failures.wait(|all| (!all.is_empty()).then_some(())).is_some()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = Socket::connect(&self.address);
        drop(self.scratch.take());
        let failures = self.failures.all();
        if !failures.is_empty() && !std::thread::panicking() {
            panic!("the origin's script failed: {}", failures.join("; "));
        }
        for failure in failures {
            eprintln!("the origin's script failed: {failure}");
        }
    }
}

/// `unix:/path`
pub fn unix_address(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// An address nobody listens on, and nobody else gets while the tests run: bound, and never freed.
pub fn refused_address() -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address.to_string()
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "panic".to_owned(),
    }
}
