//! One TLS connection and the MQTT machine on it: bytes in both directions, nothing else.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use host::clock::{Clock, Mono};
use host::net::TcpStream;
use host::tls::ClientStream;
use mqtt::client::{ClientConnection, Event};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A connection on which CONNECT may be or was sent.
///
/// The stream is on the heap: it is large, and moving it would make every future on the way as
/// large.
pub(super) struct Link<S = Box<ClientStream<TcpStream>>> {
    pub(super) machine: ClientConnection,
    stream: S,
    input: BytesMut,
    unflushed: bool,
    clock: Clock,
}

/// What a look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Bytes went out; there is room again.
    Written,
    /// Bytes came in and went through the machine.
    Read,
    /// The peer has closed.
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(super) fn new(stream: S, machine: ClientConnection, clock: Clock) -> Self {
        Self { machine, stream, input: BytesMut::new(), unflushed: false, clock }
    }

    /// The machine's next event, after letting it go on with bytes that it had left.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        if self.machine.wants_resume() {
            self.take_input();
        }
        self.machine.poll_event()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.machine.poll_timeout().map(|at| Mono::ZERO + at)
    }

    pub(super) fn handle_timeout(&mut self) {
        self.machine.handle_timeout(self.now());
    }

    /// The machine's time.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().since_origin()
    }

    /// Writes what there is to write and reads what there is to read; waits for either. Nothing
    /// is lost when this is dropped midway.
    pub(super) async fn exchange(&mut self) -> io::Result<Moved> {
        let moved = poll_fn(|cx| self.poll_exchange(cx)).await?;
        if moved == Moved::Read {
            self.take_input();
        }
        Ok(moved)
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let mut written = false;
        while !self.machine.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.machine.output())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.machine.advance_output(count);
                    self.unflushed = true;
                    written = true;
                }
                Poll::Pending => break,
            }
        }
        // TLS may hold back what the socket did not take.
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        if self.machine.wants_input() {
            self.input.reserve(READ_BYTES_MIN);
            // Holds no state between polls, so a fresh one each time is the same one.
            let read = pin!(self.stream.read_buf(&mut self.input));
            match read.poll(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(Moved::Ended)),
                Poll::Ready(_) => return Poll::Ready(Ok(Moved::Read)),
                Poll::Pending => {}
            }
        }
        if written { Poll::Ready(Ok(Moved::Written)) } else { Poll::Pending }
    }

    fn take_input(&mut self) {
        let now = self.now();
        self.machine.handle_input(now, &mut self.input);
        // An idle connection keeps no buffer: an edge hub has many of them.
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Says goodbye and writes out what there still is, for at most `limit`.
    pub(super) async fn goodbye(mut self, limit: Duration) {
        self.machine.disconnect();
        let clock = self.clock.clone();
        let farewell = async {
            let mut rest = BytesMut::new();
            self.machine.poll_transmit(&mut rest);
            self.stream.write_all(&rest).await?;
            self.stream.flush().await?;
            self.stream.shutdown().await
        };
        // The peer may be gone; it will notice the end all the same.
        let _ = clock.timeout(limit, farewell).await;
    }
}

/// Room for a read: some small packets. Larger ones grow the buffer by themselves.
const READ_BYTES_MIN: usize = 2048;
