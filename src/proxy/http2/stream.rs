//! One stream: its request said in the words of HTTP/1.1, served as any, and the answer on its way back.
//!
//! Invariant: the exchange is open before the stream's task is first polled, and ends with the stream: complete when the
//! socket has taken the last of the answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{self, HeaderMap};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::message::head::{HeadFault, parse_length};
use crate::message::http2::{self, SEC_WEBSOCKET_ACCEPT, to_http1};
use crate::message::local_reply::LocalReply;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::Answered;
use crate::proxy::identify::identify;
use crate::proxy::inbound::{Inbound, StreamBody};
use crate::proxy::tunnel;

use super::io::Watched;
use super::send::{self, Source};
use super::tunnel::StreamIo;

/// A request that came on a stream, and where its answer goes.
struct Stream {
    respond: SendResponse<Bytes>,
    lane: Rc<Connection>,
    watched: Rc<Watched>,
    exchange: Box<Exchange>,
}

/// Serves a stream to its end.
pub(super) fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    conn: &Connection,
    watched: &Rc<Watched>,
) -> impl Future<Output = ()> + 'static {
    let lane = conn.lane();
    let (mut parts, receive) = request.into_parts();
    let protocol = parts.extensions.remove::<Protocol>();
    let worker = Rc::clone(&lane.worker);
    let limits = worker.snapshot().head_limits;
    let key = || worker.new_websocket_key();
    let head = to_http1(&mut parts, protocol.as_ref().map(Protocol::as_str), key, &limits);
    let exchange = Exchange::open(parts, &lane);
    let stream = Stream { respond, lane, watched: Rc::clone(watched), exchange };
    async move { stream.serve(head, receive, protocol.is_some()).await }
}

impl Stream {
    /// `is_connect`: the client asked for a tunnel, by whatever protocol.
    async fn serve(mut self, head: Result<usize, HeadFault>, receive: RecvStream, is_connect: bool) {
        let wire = Rc::clone(&self.lane.wire);
        let (inbound, for_tunnel) = if is_connect {
            (Inbound::Empty, Some(receive))
        } else {
            let length = self.exchange.request.headers.get(header::CONTENT_LENGTH);
            let announced = length.and_then(|length| parse_length(length.as_bytes()));
            let must_ask = self.exchange.request.headers.contains_key(header::EXPECT);
            (Inbound::Http2(StreamBody::new(receive, announced, must_ask, &wire)), None)
        };
        let served = match head {
            Ok(bytes) => {
                wire.add_message_in(bytes);
                self.until_reset(inbound).await
            }
            Err(fault) => {
                identify(&mut self.exchange, &self.lane);
                Some(Err(fault.into()))
            }
        };
        match served {
            // Whoever drops it records it.
            None => self.exchange.downstream_left(),
            Some(Err(reply)) => self.answer(reply).await,
            Some(Ok(response)) => match (response.into_parts(), for_tunnel) {
                ((head, Answered::Tunnel(ends)), Some(receive)) => {
                    self.exchange.status = head.status.as_u16();
                    let Some(send) = self.begin_tunnel(head) else { return };
                    let Stream { lane, exchange, .. } = self;
                    let stream = StreamIo::new(send, receive);
                    tunnel::run(exchange.begin_tunnel(ends), stream, BytesMut::new(), &lane).await;
                }
                // To the client a success would be a tunnel (RFC 8441 section 5).
                ((head, _), Some(_)) if head.status.is_success() => {
                    self.exchange
                        .because(format!("the app answered a WebSocket handshake with {}", head.status));
                    self.answer(LocalReply::BadUpstreamResponse).await;
                }
                ((head, answered), _) => self.pass_on(head, answered).await,
            },
        }
    }

    /// `None` if the client took its request back before there was an answer.
    async fn until_reset(&mut self, body: Inbound) -> Option<Result<Response<Answered>, LocalReply>> {
        let Stream { respond, lane, exchange, .. } = self;
        let mut serving = pin!(crate::proxy::serve(body, lane, exchange));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(served) => Poll::Ready(Some(served)),
            Poll::Pending => {
                if lane.wire.take_asked_for_body() {
                    // A stream that is no more is noticed below.
                    let _ = respond.send_informational(go_on());
                }
                respond.poll_reset(cx).map(|_| None)
            }
        })
        .await
    }

    async fn answer(mut self, reply: LocalReply) {
        let (head, body) = self.exchange.reply(reply).into_parts();
        self.send(head, Source::Local(body)).await;
    }

    async fn pass_on(mut self, head: Parts, answered: Answered) {
        self.exchange.status = head.status.as_u16();
        let source = match answered {
            Answered::Body(answer) => {
                self.lane.wire.carry(answer);
                Source::App
            }
            Answered::Local(bytes) => Source::Local(bytes),
            // Only a request for a tunnel is answered with one.
            Answered::Tunnel(_) => return,
        };
        self.send(head, source).await;
    }

    async fn send(mut self, mut head: Parts, source: Source) {
        let is_head = self.exchange.request.method == Method::HEAD;
        let has_length =
            !is_head && head.status != StatusCode::NO_CONTENT && head.status != StatusCode::NOT_MODIFIED;
        self.prepare(&mut head.headers, source.length(&self.lane.wire).filter(|_| has_length));
        let is_whole = is_head || source.is_over(&self.lane.wire);
        let sent = self.respond.send_response(Response::from_parts(head, ()), is_whole);
        match sent {
            Ok(stream) => {
                let nothing = is_whole.then_some(Source::Nothing);
                let all = send::all(
                    stream,
                    nothing.unwrap_or(source),
                    &mut self.exchange,
                    &self.lane,
                    &self.watched,
                );
                all.await;
            }
            Err(error) => self.unsent(&error),
        }
        if let Some(answer) = self.lane.wire.take_answer() {
            self.exchange.leave_behind(answer.into_answer());
        }
    }

    fn unsent(&mut self, error: &h2::Error) {
        self.exchange.because(error.to_string());
        self.exchange.downstream_left();
    }

    /// What hyper adds over HTTP/1, and what HTTP/2 has no place for.
    fn prepare(&self, headers: &mut HeaderMap, length: Option<u64>) {
        http2::strip(headers);
        if !headers.contains_key(header::CONTENT_LENGTH)
            && let Some(length) = length
        {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if !headers.contains_key(header::DATE) {
            headers.insert(header::DATE, self.lane.worker.date());
        }
        self.lane.wire.add_written(size_of(headers));
    }

    fn begin_tunnel(&mut self, mut head: Parts) -> Option<SendStream<Bytes>> {
        http2::strip(&mut head.headers);
        // It answers a key that the client never sent.
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
        head.status = StatusCode::OK;
        self.lane.wire.add_written(size_of(&head.headers));
        match self.respond.send_response(Response::from_parts(head, ()), false) {
            Ok(send) => Some(send),
            Err(error) => {
                self.unsent(&error);
                None
            }
        }
    }
}

fn go_on() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// Bytes of the fields, uncompressed.
fn size_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
