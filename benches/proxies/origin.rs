//! The app behind the proxies: fixed answers from memory, as cheap as a socket allows.
//!
//! It runs on the core of the load generator, so whatever it saves, the proxies can use. It is not
//! an HTTP server: it understands the heads the three proxies write and refuses the rest loudly.
//!
//! Invariant: no answer leaves before the whole request has been read.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use memchr::memmem;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::load::socket;
use crate::plan::AnswerSize;
use crate::trouble::{Fallible, io};

/// A request for this path is remembered, and answered like a small one.
pub(crate) const INSPECTED_PATH: &str = "/inspected";
/// A head beyond this is nobody's we know.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The running origin.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Rc<State>,
}

struct State {
    answers: [Vec<u8>; AnswerSize::ALL.len()],
    inspected_head: RefCell<Option<String>>,
}

impl Origin {
    /// Listens on a free port of the loopback and serves until the runtime ends.
    pub(crate) async fn start() -> Fallible<Self> {
        let listener = socket::listen().map_err(io("cannot listen for the origin"))?;
        let address = listener.local_addr().map_err(io("origin"))?;
        let state = Rc::new(State {
            answers: AnswerSize::ALL.map(prepared_answer),
            inspected_head: RefCell::new(None),
        });
        spawn_local(accept(listener, Rc::clone(&state)));
        Ok(Self { address, state })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of the last request for [`INSPECTED_PATH`], as it came from the proxy.
    pub(crate) fn take_inspected_head(&self) -> Option<String> {
        self.state.inspected_head.borrow_mut().take()
    }
}

fn prepared_answer(size: AnswerSize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        size.bytes()
    )
    .into_bytes();
    answer.resize(answer.len() + size.bytes(), b'x');
    answer
}

async fn accept(listener: TcpListener, state: Rc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(serve(stream, Rc::clone(&state)));
    }
}

/// Serves one connection. Errors end it: the load generator sees and reports what is missing.
async fn serve(mut stream: TcpStream, state: Rc<State>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut head = Vec::with_capacity(1024);
    loop {
        head.clear();
        let Some(request) = read_request(&mut stream, &mut head).await else {
            return;
        };
        let Some(request) = request else {
            let _ = stream.write_all(REFUSAL).await;
            return;
        };
        if request.inspected {
            let text = String::from_utf8_lossy(&head).into_owned();
            *state.inspected_head.borrow_mut() = Some(text);
        }
        let answer = &state.answers[request.answer as usize];
        if stream.write_all(answer).await.is_err() || request.close {
            return;
        }
    }
}

struct Request {
    answer: AnswerSize,
    inspected: bool,
    close: bool,
}

/// Reads a head into `head` and the body into nowhere. The outer `None` is the end of the
/// connection, the inner one a request the origin does not understand.
async fn read_request(stream: &mut TcpStream, head: &mut Vec<u8>) -> Option<Option<Request>> {
    let end = loop {
        let searched = head.len().saturating_sub(3);
        let count = socket::read(stream, |bytes| {
            head.extend_from_slice(bytes);
            bytes.len()
        })
        .await
        .ok()?;
        if count == 0 {
            return None;
        }
        if let Some(found) = memmem::find(&head[searched..], b"\r\n\r\n") {
            break searched + found + 4;
        }
        if head.len() > HEAD_LIMIT_BYTES {
            return Some(None);
        }
    };
    let mut body_read = head.len() - end;
    head.truncate(end);
    let Some((request, body_bytes)) = understand(head) else {
        return Some(None);
    };
    while body_read < body_bytes {
        let count = socket::read(stream, <[u8]>::len).await.ok()?;
        if count == 0 {
            return None;
        }
        body_read += count;
    }
    Some((body_read == body_bytes).then_some(request))
}

fn understand(head: &[u8]) -> Option<(Request, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 48];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok()?;
    let path = parsed.path?;
    let inspected = path == INSPECTED_PATH;
    let answer = AnswerSize::ALL
        .into_iter()
        .find(|size| size.path() == path)
        .or_else(|| inspected.then_some(AnswerSize::Small))?;
    let mut request = Request { answer, inspected, close: false };
    let mut body_bytes = 0;
    for field in parsed.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            body_bytes = str::from_utf8(field.value).ok()?.parse().ok()?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            request.close = field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some((request, body_bytes))
}
