//! What a 101 leaves: two byte streams tied together, untouched but for a Close of ours at a drain.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::alarms::Alarm;
use crate::message::websocket::{CLOSE_GOING_AWAY, FrameScan, masked_close_going_away};
use crate::socket::Socket;
use crate::upstream::gate::Slot;

use super::connection::Connection;
use super::exchange::Exchange;

/// Bytes read at a time, each way.
const READ: usize = 16 * 1024;
/// After a first Close, or the end of one side, the other has this long.
const CLOSING_TIME: Duration = Duration::from_secs(5);
/// A peer that vanished without a word is found out after this long.
pub(super) const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);

/// The app's end of a tunnel.
#[derive(Debug)]
pub struct TunnelEnds {
    /// The connection.
    pub socket: Socket,
    /// What the app sent behind its 101.
    pub inbox: BytesMut,
    /// Its place in the app, for as long as the tunnel lasts.
    pub slot: Slot,
}

impl TunnelEnds {
    /// With the exchange that began it, and that ends with it.
    pub fn of(self, exchange: Box<Exchange>) -> TunnelStart {
        TunnelStart { ends: self, exchange }
    }
}

/// A tunnel that begins when the 101 is written.
#[derive(Debug)]
pub struct TunnelStart {
    ends: TunnelEnds,
    exchange: Box<Exchange>,
}

/// What one direction has passed.
#[derive(Debug, Default)]
struct Passed {
    frames: RefCell<FrameScan>,
    bytes: Cell<u64>,
}

/// Passes bytes until both sides are done.
pub async fn run<D: AsyncRead + AsyncWrite + Unpin>(
    tunnel: TunnelStart,
    mut downstream: D,
    early: BytesMut,
    conn: &Rc<Connection>,
) {
    let TunnelStart { ends: TunnelEnds { socket: mut upstream, inbox, slot }, mut exchange } = tunnel;
    upstream.keep_alive(KEEP_ALIVE_AFTER);
    let (from_client, to_client) = (Passed::default(), Passed::default());
    let mask = conn.worker.new_mask();
    {
        let alarm = Alarm::new(&conn.worker.alarms);
        let (down_read, down_write) = tokio::io::split(&mut downstream);
        let (up_read, up_write) = tokio::io::split(&mut upstream);
        let up = Direction {
            read: down_read,
            write: up_write,
            passed: &from_client,
            close: &masked_close_going_away(mask),
        };
        let down =
            Direction { read: up_read, write: down_write, passed: &to_client, close: &CLOSE_GOING_AWAY };
        let mut up = pin!(up.pass(early, conn, &alarm));
        let mut down = pin!(down.pass(inbox, conn, &alarm));
        let (mut up_done, mut down_done) = (false, false);
        poll_fn(|cx| {
            up_done = up_done || up.as_mut().poll(cx).is_ready();
            down_done = down_done || down.as_mut().poll(cx).is_ready();
            if up_done && down_done {
                return Poll::Ready(());
            }
            if (up_done || down_done) && !alarm.is_set() {
                alarm.set_after(CLOSING_TIME);
            }
            alarm.poll(cx)
        })
        .await;
    }
    drop((upstream, slot));
    exchange.add_tunneled(from_client.bytes.get(), to_client.bytes.get());
    exchange.complete();
}

struct Direction<'a, R, W> {
    read: R,
    write: W,
    passed: &'a Passed,
    close: &'a [u8],
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<'_, R, W> {
    /// Passes one direction to its end, then says so to the other side. At a drain it puts a Close at the next
    /// boundary; what comes behind it is read and dropped.
    async fn pass(mut self, first: BytesMut, conn: &Connection, alarm: &Alarm) -> io::Result<()> {
        let mut buffer = first;
        loop {
            if !buffer.is_empty() {
                self.write.write_all(&buffer).await?;
                // Over TLS, what is written may wait in the stream.
                self.write.flush().await?;
                self.passed.frames.borrow_mut().advance(&buffer);
                self.passed.bytes.set(self.passed.bytes.get() + buffer.len() as u64);
                buffer.clear();
            }
            if conn.worker.is_draining() && self.passed.frames.borrow().at_boundary() {
                return self.close(alarm).await;
            }
            buffer.reserve(READ);
            let read = self.read_or_drain(&mut buffer, conn, alarm).await?;
            if read == Some(0) {
                return self.write.shutdown().await;
            }
        }
    }

    /// `None` when a drain began while there was nothing to read.
    async fn read_or_drain(
        &mut self,
        buffer: &mut BytesMut,
        conn: &Connection,
        alarm: &Alarm,
    ) -> io::Result<Option<usize>> {
        let at_boundary = self.passed.frames.borrow().at_boundary();
        let mut reading = pin!(self.read.read_buf(buffer));
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(read.map(Some));
            }
            let _ = alarm.poll(cx);
            if conn.worker.is_draining() && at_boundary { Poll::Ready(Ok(None)) } else { Poll::Pending }
        })
        .await
    }

    async fn close(mut self, alarm: &Alarm) -> io::Result<()> {
        self.write.write_all(self.close).await?;
        self.write.flush().await?;
        self.passed.frames.borrow_mut().advance(self.close);
        self.passed.bytes.set(self.passed.bytes.get() + self.close.len() as u64);
        if !alarm.is_set() {
            alarm.set_after(CLOSING_TIME);
        }
        let mut dropped = vec![0; 4 * 1024];
        while self.read.read(&mut dropped).await? > 0 {}
        Ok(())
    }
}
