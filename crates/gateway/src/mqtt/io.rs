//! The socket and the protocol machine together.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use host::clock::{Clock, Mono};
use mqtt::packet::Connect;
use mqtt::server::{self, Event, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::socket::{Io, Socket};

/// A connection's two halves of one thing.
pub(super) struct Wire<S> {
    socket: Socket<S>,
    pub(super) machine: ServerConnection,
    pub(super) clock: Clock,
}

/// How long the last bytes may take to leave when a connection ends.
const LINGER: Duration = Duration::from_secs(2);

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S, clock: &Clock, settings: &server::Settings) -> Self {
        let machine = ServerConnection::new(clock.now().since_origin(), settings.clone());
        Self { socket: Socket::new(io, clock.clone()), machine, clock: clock.clone() }
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
        self.socket.poll(cx, &mut self.machine, read)
    }

    /// Writes the last bytes, within a limit, and closes.
    pub(super) async fn finish(&mut self) {
        let clock = self.clock.clone();
        let last = async {
            while !self.machine.output().is_empty() {
                let wrote = poll_fn(|cx| self.socket.poll_write(cx, &mut self.machine)).await;
                if wrote.is_err() {
                    return;
                }
            }
            self.socket.shut().await;
        };
        let _ = clock.timeout(LINGER, last).await;
    }
}

/// The machine's time as the clock's.
pub(super) fn mono(since_origin: Duration) -> Mono {
    Mono::ZERO + since_origin
}
