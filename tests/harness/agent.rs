//! A stand-in for the CloudWatch agent's TCP socket: it takes lines, and can stop reading, close, and come back.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::journal::Journal;

/// A running stand-in.
#[derive(Debug)]
pub struct Agent {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Journal<String>,
    stalled: AtomicBool,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Agent {
    /// On a free port.
    pub fn start() -> Agent {
        Agent::listen(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::default())
    }

    /// A port for an agent that is started later.
    pub fn reserve() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// On this port.
    pub fn start_at(address: SocketAddr) -> Agent {
        Agent::listen(bind_again(address), Arc::default())
    }

    fn listen(listener: TcpListener, shared: Arc<Shared>) -> Agent {
        let address = listener.local_addr().unwrap();
        let accepting = Arc::clone(&shared);
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !accepting.ended.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        accepting.streams.lock().unwrap().push(stream.try_clone().unwrap());
                        let shared = Arc::clone(&accepting);
                        std::thread::spawn(move || follow(stream, &shared));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Agent { address, shared }
    }

    /// As `[emf] sink` wants it.
    pub fn sink(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Whole lines that arrived.
    pub fn lines(&self) -> &Journal<String> {
        &self.shared.lines
    }

    /// Stops reading, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Closes its socket and every connection, and listens anew on the same port.
    pub fn restart(self) -> Agent {
        let (address, lines) = (self.address, self.shared.lines.clone());
        drop(self);
        Agent::listen(bind_again(address), Arc::new(Shared { lines, ..Shared::default() }))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// The port is free as soon as the thread of the one before has noticed its end.
fn bind_again(address: SocketAddr) -> TcpListener {
    let deadline = std::time::Instant::now() + super::PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn follow(mut stream: TcpStream, shared: &Shared) {
    let mut pending = Vec::new();
    let mut piece = [0; 64 * 1024];
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    loop {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        if shared.stalled.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => pending.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            shared.lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
        }
    }
}
