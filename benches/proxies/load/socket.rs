//! Sockets as the load generator and the origin use them: one `recv` a read, one `send` a write.
//!
//! Reads share one buffer, because everything runs on one thread and the bytes are looked at once:
//! a buffer for each of thousands of connections would measure the cache instead of the proxies.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Large answers are read in pieces of this size.
const SCRATCH_BYTES: usize = 256 * 1024;
const BACKLOG: i32 = 4096;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// A listener on a free port of the loopback.
pub(crate) fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection that sends at once what it is given.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits for bytes and shows them to `look`; an empty slice is the end.
pub(crate) async fn read<R, T>(stream: &mut R, look: impl FnOnce(&[u8]) -> T) -> io::Result<T>
where
    R: AsyncRead + Unpin,
{
    let mut look = Some(look);
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => match look.take() {
                    Some(look) => Poll::Ready(Ok(look(buffer.filled()))),
                    None => Poll::Ready(Err(io::Error::other("read polled after its end"))),
                },
            }
        })
    })
    .await
}

/// Writes all of `head` and `body`, in one system call when the socket takes it.
pub(crate) async fn write<W>(stream: &mut W, head: &[u8], body: &[u8]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let total = head.len() + body.len();
    let mut written = 0;
    while written < total {
        let rest_of_head = &head[written.min(head.len())..];
        let rest_of_body = &body[written.saturating_sub(head.len())..];
        let count = poll_fn(|context| {
            let stream = Pin::new(&mut *stream);
            match (rest_of_head.is_empty(), rest_of_body.is_empty()) {
                (false, true) => stream.poll_write(context, rest_of_head),
                (true, _) => stream.poll_write(context, rest_of_body),
                (false, false) => {
                    let both = [IoSlice::new(rest_of_head), IoSlice::new(rest_of_body)];
                    stream.poll_write_vectored(context, &both)
                }
            }
        })
        .await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written += count;
    }
    Ok(())
}
