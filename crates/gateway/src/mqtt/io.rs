//! The socket and the protocol machine together.
//!
//! Reading goes through a buffer that all connections of a thread share, so that an idle connection
//! holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use host::clock::{Clock, Mono};
use mqtt::packet::Connect;
use mqtt::server::{self, Event, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection's two halves of one thing.
pub(super) struct Wire<S> {
    io: S,
    pub(super) machine: ServerConnection,
    pub(super) clock: Clock,
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
/// How long the last bytes may take to leave when a connection ends.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S, clock: &Clock, settings: &server::Settings) -> Self {
        let machine = ServerConnection::new(clock.now().since_origin(), settings.clone());
        Self { io, machine, clock: clock.clone(), input: BytesMut::new(), unflushed: false }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now().since_origin()
    }

    /// Waits for the CONNECT; none when the connection ends before. A refusal that the machine
    /// itself decides is written out.
    pub(super) async fn connect_packet(&mut self) -> Option<Box<Connect>> {
        loop {
            if let Some(Event::Connect(connect)) = self.machine.poll_event() {
                return Some(connect);
            }
            if self.machine.is_closed() {
                self.finish().await;
                return None;
            }
            let deadline = self.machine.poll_timeout().map(mono);
            match self.step(true, deadline).await {
                Some(Io::End) => return None,
                Some(_) => {}
                None => self.machine.handle_timeout(self.now()),
            }
        }
    }

    /// Lets the socket do one thing, or gives up at the deadline.
    async fn step(&mut self, read: bool, deadline: Option<Mono>) -> Option<Io> {
        let clock = self.clock.clone();
        let ready = poll_fn(|cx| self.poll(cx, read));
        match deadline {
            Some(deadline) => clock.timeout_at(deadline, ready).await.ok(),
            None => Some(ready.await),
        }
    }

    /// Writes what there is to write, else reads when `read` allows it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Io> {
        if let Poll::Ready(wrote) = self.poll_write(cx) {
            return Poll::Ready(if wrote.is_ok() { Io::Wrote } else { Io::End });
        }
        if self.machine.wants_resume() && read {
            self.machine.handle_input(self.now(), &mut self.input);
            return Poll::Ready(Io::Read);
        }
        if !read || !self.machine.wants_input() {
            return Poll::Pending;
        }
        self.poll_read(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wrote = false;
        while !self.machine.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.machine.output()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.machine.advance_output(count),
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

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Io> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) => {
                    self.input.extend_from_slice(buffer.filled());
                    self.machine.handle_input(self.now(), &mut self.input);
                    if self.input.is_empty() {
                        // Payloads hold on to the buffer as long as they need it.
                        self.input = BytesMut::new();
                    }
                    Poll::Ready(Io::Read)
                }
            }
        })
    }

    /// Writes the last bytes, within a limit, and closes.
    pub(super) async fn finish(&mut self) {
        let clock = self.clock.clone();
        let last = async {
            while !self.machine.output().is_empty() {
                let wrote = poll_fn(|cx| self.poll_write(cx)).await;
                if wrote.is_err() {
                    return;
                }
            }
            let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
        };
        let _ = clock.timeout(LINGER, last).await;
    }
}

/// The machine's time as the clock's.
pub(super) fn mono(since_origin: Duration) -> Mono {
    Mono::ZERO + since_origin
}
