//! The socket of a connection, beside its protocol machine.
//!
//! Reading goes through a buffer that all connections of a thread share, so that an idle connection
//! holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use amqp::Connection;
use bytes::BytesMut;
use host::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket and what was read from it but not yet taken by the machine.
pub(super) struct Wire<S> {
    io: S,
    clock: Clock,
    input: BytesMut,
    /// Bytes were written that the stream may still hold (TLS).
    unflushed: bool,
}

/// What the socket did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Io {
    /// Bytes came in and are in the machine.
    Read,
    /// Bytes went out.
    Wrote,
    /// The peer is gone.
    End,
}

/// One read takes at most this much.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S, clock: Clock) -> Self {
        Self { io, clock, input: BytesMut::new(), unflushed: false }
    }

    /// Writes what there is to write, else reads when `read` allows it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Connection,
        read: bool,
    ) -> Poll<Io> {
        if let Poll::Ready(wrote) = self.poll_write(cx, machine) {
            return Poll::Ready(if wrote.is_ok() { Io::Wrote } else { Io::End });
        }
        if !read {
            return Poll::Pending;
        }
        if machine.wants_resume() {
            machine.handle_input(self.clock.now().since_origin(), &mut self.input);
            return Poll::Ready(Io::Read);
        }
        if !machine.wants_input() {
            return Poll::Pending;
        }
        self.poll_read(cx, machine)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Connection,
    ) -> Poll<io::Result<()>> {
        let mut wrote = false;
        while !machine.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, machine.output()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => machine.advance_output(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return if wrote { Poll::Ready(Ok(())) } else { Poll::Pending },
            }
            wrote = true;
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, machine: &mut Connection) -> Poll<Io> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) => {
                    self.input.extend_from_slice(buffer.filled());
                    machine.handle_input(self.clock.now().since_origin(), &mut self.input);
                    if self.input.is_empty() {
                        // Messages hold on to the buffer as long as they need it.
                        self.input = BytesMut::new();
                    }
                    Poll::Ready(Io::Read)
                }
            }
        })
    }

    /// Closes the socket.
    pub(super) async fn shut(&mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
    }
}
