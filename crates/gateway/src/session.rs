//! From the backend to a connected identity: a bounded handle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use model::limits;
use model::message::Message;
use model::method::MethodRequest;
use model::twin::Object;
use parking_lot::Mutex;
use uuid::Uuid;

/// What a backend sends to a connected identity.
#[derive(Debug)]
pub enum Downlink {
    /// The desired properties changed; only sent on when the identity subscribed.
    Desired {
        /// The patch, without `$version`.
        patch: Object,
        /// The new `$version`.
        version: u64,
    },
    /// A direct method; answered by [`crate::backend::DeviceLink::method_answer`].
    Method {
        /// Names the call.
        call: Uuid,
        /// The call.
        request: MethodRequest,
    },
    /// A cloud-to-device message; settled by [`crate::backend::DeviceLink::settle`].
    CloudToDevice(Delivery),
    /// A message to a module's input; settled by [`crate::backend::DeviceLink::settle`].
    Input {
        /// Which input.
        input: String,
        /// Names the delivery.
        lock: Uuid,
        /// The message.
        message: Message,
    },
}

/// A cloud-to-device message on its way to the identity.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names the delivery.
    pub lock: Uuid,
    /// The message.
    pub message: Message,
    /// The message's number in its queue.
    pub sequence: u64,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// How often it was delivered before.
    pub delivery_count: u32,
}

/// Why a session ends from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The same identity connected again (400027).
    TakenOver,
    /// The identity was changed, disabled or deleted.
    IdentityChanged,
    /// It reads too slowly: its queue was full.
    SlowConsumer,
    /// The token has run out.
    TokenExpired,
    /// This server stops.
    Shutdown,
}

/// What may wait for one identity on its way down, for every protocol: as many calls and messages as
/// may be under way at once, and changes of desired properties. A session with more is closed.
pub const DOWNLINKS_MAX: usize =
    limits::METHODS_IN_FLIGHT_MAX + limits::CLOUD_TO_DEVICE_WINDOW + DESIRED_MAX;
/// Desired patches come one by one; a client that lets so many wait does not read.
const DESIRED_MAX: usize = 48;

/// A handle to one connected identity. Cheap to clone.
#[derive(Debug)]
pub struct DeviceSession {
    shared: Arc<Shared>,
}

/// The session's own end of the handle.
#[derive(Debug)]
pub struct SessionEnd {
    /// What the backend sends.
    pub queue: Downlinks,
    close: SessionClosed,
}

/// The receiving end of what a backend sends to a session.
#[derive(Debug)]
pub struct Downlinks {
    shared: Arc<Shared>,
}

/// What both ends share. Most sessions have nothing on its way down at most times: an empty queue
/// holds no memory.
#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Downlink>,
    /// Handles that could still send.
    senders: usize,
    /// The receiving end is gone.
    is_deaf: bool,
    /// Waits for something in the queue.
    receiver: Option<Waker>,
    reason: Option<CloseReason>,
    /// Waits for the reason.
    closing: Option<Waker>,
}

/// The session is over; what was sent did not reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct SessionGone;

impl DeviceSession {
    /// A handle and its other end. `capacity` bounds what may wait for the connection.
    pub fn new(capacity: usize) -> (Self, SessionEnd) {
        let state = Mutex::new(State { senders: 1, ..State::default() });
        let shared = Arc::new(Shared { capacity, state });
        let queue = Downlinks { shared: Arc::clone(&shared) };
        let close = SessionClosed { shared: Arc::clone(&shared) };
        (Self { shared }, SessionEnd { queue, close })
    }

    /// Hands something to the identity. A full queue closes the session: a backend never waits for
    /// a slow reader, and nothing is dropped silently.
    pub fn send(&self, downlink: Downlink) -> Result<(), SessionGone> {
        let waker = {
            let mut state = self.shared.state.lock();
            if state.reason.is_some() || state.is_deaf {
                return Err(SessionGone);
            }
            if state.queue.len() == self.shared.capacity {
                drop(state);
                self.close(CloseReason::SlowConsumer);
                return Err(SessionGone);
            }
            state.queue.push_back(downlink);
            state.receiver.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Ends the session. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let waker = {
            let mut state = self.shared.state.lock();
            state.reason.get_or_insert(reason);
            state.closing.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether both handles are of the same session.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Clone for DeviceSession {
    fn clone(&self) -> Self {
        self.shared.state.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for DeviceSession {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.shared.state.lock();
            state.senders -= 1;
            if state.senders == 0 { state.receiver.take() } else { None }
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Downlinks {
    /// The next thing that was sent; none when nobody is left who could send.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Downlink>> {
        let mut state = self.shared.state.lock();
        match state.next() {
            Ok(downlink) => Poll::Ready(Some(downlink)),
            Err(()) if state.senders == 0 => Poll::Ready(None),
            Err(()) => {
                store(&mut state.receiver, cx);
                Poll::Pending
            }
        }
    }

    /// Waits for the next thing that was sent; none when nobody is left who could send.
    pub async fn recv(&mut self) -> Option<Downlink> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What was sent and is there already.
    pub fn try_recv(&mut self) -> Option<Downlink> {
        self.shared.state.lock().next().ok()
    }
}

impl Drop for Downlinks {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_deaf = true;
        // What nobody will take any more is dropped outside of the lock.
        let left = std::mem::take(&mut state.queue);
        drop(state);
        drop(left);
    }
}

impl State {
    fn next(&mut self) -> Result<Downlink, ()> {
        let downlink = self.queue.pop_front().ok_or(())?;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Ok(downlink)
    }
}

fn store(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// The part of a session's end that tells when it shall end.
#[derive(Debug, Clone)]
pub struct SessionClosed {
    shared: Arc<Shared>,
}

impl SessionClosed {
    /// Resolves when the session shall end. One at a time may wait.
    pub async fn closed(&self) -> CloseReason {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut state = self.shared.state.lock();
        if let Some(reason) = state.reason {
            return Poll::Ready(reason);
        }
        store(&mut state.closing, cx);
        Poll::Pending
    }
}

impl SessionEnd {
    /// Takes it apart, for a connection that waits for the two in different places.
    pub fn split(self) -> (Downlinks, SessionClosed) {
        (self.queue, self.close)
    }

    /// Ready when the session shall end.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.close.poll(cx)
    }

    /// Resolves when the session shall end.
    pub async fn closed(&self) -> CloseReason {
        self.close.closed().await
    }

    /// Why the session shall end, if it shall.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close.shared.state.lock().reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(version: u64) -> Downlink {
        Downlink::Desired { patch: Object::new(), version }
    }

    #[tokio::test]
    async fn a_full_queue_closes_the_session_and_says_why() {
        let (session, mut end) = DeviceSession::new(2);
        assert!(session.send(desired(1)).is_ok());
        assert!(session.send(desired(2)).is_ok());
        assert_eq!(session.send(desired(3)), Err(SessionGone));
        assert_eq!(end.closed().await, CloseReason::SlowConsumer);
        // What was taken before is still there for the connection to write out.
        assert!(matches!(end.queue.try_recv(), Some(Downlink::Desired { version: 1, .. })));
        session.close(CloseReason::Shutdown);
        assert_eq!(end.close_reason(), Some(CloseReason::SlowConsumer));
        assert_eq!(session.send(desired(4)), Err(SessionGone));
    }

    #[tokio::test]
    async fn what_was_sent_comes_in_order_and_then_the_end() {
        let (session, mut end) = DeviceSession::new(4);
        let other = session.clone();
        let sending = tokio::spawn(async move {
            for version in 1..=3 {
                session.send(desired(version)).unwrap();
                tokio::task::yield_now().await;
            }
        });
        for expected in 1..=3 {
            let Some(Downlink::Desired { version, .. }) = end.queue.recv().await else {
                panic!("nothing came")
            };
            assert_eq!(version, expected);
        }
        sending.await.unwrap();
        let ended = tokio::spawn(async move { end.queue.recv().await.is_none() });
        tokio::task::yield_now().await;
        drop(other);
        assert!(ended.await.unwrap(), "nobody could send any more");
    }

    #[test]
    fn nothing_is_sent_to_an_end_that_is_gone() {
        let (session, end) = DeviceSession::new(4);
        assert!(session.send(desired(1)).is_ok());
        drop(end);
        assert_eq!(session.send(desired(2)), Err(SessionGone));
    }
}
