//! HTTP/2 from the client's side: whole requests by a library, and single frames by hand for what no library would send.

use std::io::{Read, Write};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::runtime::Runtime;

use super::PATIENCE;
use super::socket::Socket;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether it is tollgate's own, with this status and code.
    pub fn assert_local(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["request_id"].as_str(), self.field("x-request-id"));
    }
}

/// A connection over which requests can be sent, many at a time.
pub struct Http2 {
    /// Drives the connection, and the requests.
    pub runtime: Runtime,
    send: SendRequest<Bytes>,
}

impl Http2 {
    /// With prior knowledge.
    pub fn connect(address: &str) -> Http2 {
        Http2::connect_with(address, &h2::client::Builder::new())
    }

    /// With these settings.
    pub fn connect_with(address: &str, builder: &h2::client::Builder) -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let send = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (send, connection) = builder.handshake(socket).await.unwrap();
            tokio::spawn(connection);
            send
        });
        Http2 { runtime, send }
    }

    /// The handle on the connection.
    pub fn ready_now(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }

    /// Whether the other side says in its settings that it supports tunnels (RFC 8441).
    pub fn knows_tunnels(&self) -> bool {
        self.within(async {
            while !self.send.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
        });
        true
    }

    /// Waits for something, not forever.
    pub fn within<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
    }

    /// Sends a request without a body.
    pub fn get(&self, path: &str) -> Answer {
        self.request(request("GET", path), b"").unwrap()
    }

    /// Sends a request, and reads its answer.
    pub fn request(&self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        self.within(answer_of(self.send.clone(), request, Bytes::copy_from_slice(body)))
    }

    /// Begins a request without waiting for its answer.
    pub fn begin(
        &self,
        request: Request<()>,
        body: &[u8],
    ) -> tokio::task::JoinHandle<Result<Answer, h2::Error>> {
        self.runtime.spawn(answer_of(self.send.clone(), request, Bytes::copy_from_slice(body)))
    }
}

/// To a host of the tests.
pub fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://app.test{path}")).body(()).unwrap()
}

async fn answer_of(
    send: SendRequest<Bytes>,
    request: Request<()>,
    mut body: Bytes,
) -> Result<Answer, h2::Error> {
    let mut send = send.ready().await?;
    let (response, mut stream) = send.send_request(request, body.is_empty())?;
    let uploading = tokio::spawn(async move {
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(room)) => {
                    let piece = body.split_to(room.min(body.len()));
                    let is_end = body.is_empty();
                    if stream.send_data(piece, is_end).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    uploading.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// A request's fields.
pub const HEADERS: u8 = 1;
/// The end of a stream before its time.
pub const RST_STREAM: u8 = 3;
/// Settings, and that they were seen.
pub const SETTINGS: u8 = 4;
/// To be sent back.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More room.
pub const WINDOW_UPDATE: u8 = 8;
/// More fields.
pub const CONTINUATION: u8 = 9;
/// The stream's last frame.
pub const END_STREAM: u8 = 1;
/// The last of the fields.
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of fields, none of them indexed or compressed (RFC 7541 section 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The fields of `GET path`.
pub fn get_block(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "app.test")])
}

/// A connection of single frames.
#[derive(Debug)]
pub struct Frames {
    socket: Socket,
}

impl Frames {
    /// Connects, and sends the preface with empty settings.
    pub fn connect(address: &str) -> Frames {
        let socket = Socket::connect(address).unwrap();
        socket.set_timeout(Some(PATIENCE));
        let mut frames = Frames { socket };
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        frames
    }

    /// With this window for each stream and for the connection, and a socket that takes little.
    pub fn connect_with_window(address: &str, window: u32) -> Frames {
        let socket = Socket::connect(address).unwrap();
        socket.limit_receiving(16 * 1024);
        socket.set_timeout(Some(PATIENCE));
        let mut frames = Frames { socket };
        let initial = [&[0, 4][..], &window.to_be_bytes()].concat();
        let update = frame(WINDOW_UPDATE, 0, 0, &(window - 65_535).to_be_bytes());
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &initial), &update].concat());
        frames
    }

    /// Sends bytes, all of them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends bytes, as many as are taken.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the connection's end, however it came.
    pub fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.socket.read_exact(&mut header).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.socket.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind.
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    /// Reads to the connection's end; the error code of the last GOAWAY, if there was one.
    pub fn goodbye(&mut self) -> Option<u32> {
        let frames: Vec<Frame> = std::iter::from_fn(|| self.next()).collect();
        let last = frames.into_iter().rev().find(|frame| frame.kind == GOAWAY)?;
        Some(u32::from_be_bytes(last.payload[4..8].try_into().unwrap()))
    }
}
