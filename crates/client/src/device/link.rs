//! One connection and the protocol's machine on it: bytes in both directions, nothing else.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use host::clock::{Clock, Mono};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use super::session::Moved;
use super::transport::Stream;

/// What the machines of all protocols have in common.
pub(crate) trait Machine {
    /// What it tells.
    type Event;

    /// Takes what is complete off the front of `input`.
    fn handle_input(&mut self, now: Duration, input: &mut BytesMut);
    /// The next thing for the owner.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// When [`Self::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Duration>;
    /// Time has passed.
    fn handle_timeout(&mut self, now: Duration);
    /// Whether to read from the peer.
    fn wants_input(&self) -> bool;
    /// Whether bytes that were left in the input can go on now.
    fn wants_resume(&self) -> bool;
    /// Bytes to write.
    fn output(&mut self) -> &[u8];
    /// Forgets the first `count` bytes of the output.
    fn advance_output(&mut self, count: usize);
    /// Says goodbye in the output.
    fn close(&mut self, now: Duration);
}

/// A connection with its machine.
pub(crate) struct Link<M> {
    pub(crate) machine: M,
    stream: Stream,
    input: BytesMut,
    unflushed: bool,
    clock: Clock,
}

impl<M: Machine> Link<M> {
    pub(crate) fn new(stream: Stream, machine: M, clock: Clock) -> Self {
        Self { machine, stream, input: BytesMut::new(), unflushed: false, clock }
    }

    /// The machine's next event, after letting it go on with bytes that it had left.
    pub(crate) fn poll_event(&mut self) -> Option<M::Event> {
        if self.machine.wants_resume() {
            self.take_input();
        }
        self.machine.poll_event()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.machine.poll_timeout().map(|at| Mono::ZERO + at)
    }

    pub(crate) fn handle_timeout(&mut self) {
        self.machine.handle_timeout(self.now());
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now().since_origin()
    }

    /// Writes what there is to write and reads what there is to read; waits for either. Nothing
    /// is lost when this is dropped midway.
    pub(crate) async fn exchange(&mut self) -> io::Result<Moved> {
        poll_fn(|cx| self.poll_exchange(cx)).await
    }

    pub(super) fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let mut written = false;
        loop {
            let output = self.machine.output();
            if output.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, output)? {
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
                Poll::Ready(_) => {
                    self.take_input();
                    return Poll::Ready(Ok(Moved::Read));
                }
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
        self.machine.close(self.now());
        let clock = self.clock.clone();
        let farewell = async {
            self.stream.write_all(self.machine.output()).await?;
            self.stream.flush().await?;
            self.stream.shutdown().await
        };
        // The peer may be gone; it will notice the end all the same.
        let _ = clock.timeout(limit, farewell).await;
    }
}

/// Room for a read: some small packets. Larger ones grow the buffer by themselves.
const READ_BYTES_MIN: usize = 2048;
