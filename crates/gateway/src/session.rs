//! From the backend to a connected identity: a bounded handle.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use model::message::Message;
use model::method::MethodRequest;
use model::twin::Object;
use parking_lot::Mutex;
use tokio::sync::mpsc;
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

/// A handle to one connected identity. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceSession {
    queue: mpsc::Sender<Downlink>,
    close: Arc<CloseCell>,
}

/// The session's own end of the handle.
#[derive(Debug)]
pub struct SessionEnd {
    /// What the backend sends.
    pub queue: mpsc::Receiver<Downlink>,
    close: Arc<CloseCell>,
}

#[derive(Debug, Default)]
struct CloseCell(Mutex<CloseState>);

#[derive(Debug, Default)]
struct CloseState {
    reason: Option<CloseReason>,
    waker: Option<Waker>,
}

/// The session is over; what was sent did not reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct SessionGone;

impl DeviceSession {
    /// A handle and its other end. `capacity` bounds what may wait for the connection.
    pub fn new(capacity: usize) -> (Self, SessionEnd) {
        let (sender, receiver) = mpsc::channel(capacity);
        let close = Arc::new(CloseCell::default());
        (Self { queue: sender, close: Arc::clone(&close) }, SessionEnd { queue: receiver, close })
    }

    /// Hands something to the identity. A full queue closes the session: a backend never waits for
    /// a slow reader, and nothing is dropped silently.
    pub fn send(&self, downlink: Downlink) -> Result<(), SessionGone> {
        if self.close.0.lock().reason.is_some() {
            return Err(SessionGone);
        }
        match self.queue.try_send(downlink) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(CloseReason::SlowConsumer);
                Err(SessionGone)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SessionGone),
        }
    }

    /// Ends the session. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let waker = {
            let mut state = self.close.0.lock();
            state.reason.get_or_insert(reason);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether both handles are of the same session.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.close, &other.close)
    }
}

/// The part of a session's end that tells when it shall end.
#[derive(Debug, Clone)]
pub struct SessionClosed {
    close: Arc<CloseCell>,
}

impl SessionClosed {
    /// Resolves when the session shall end. One at a time may wait.
    pub async fn closed(&self) -> CloseReason {
        std::future::poll_fn(|cx| self.close.poll(cx)).await
    }
}

impl CloseCell {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut state = self.0.lock();
        if let Some(reason) = state.reason {
            return Poll::Ready(reason);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl SessionEnd {
    /// Takes it apart, for a connection that waits for the two in different places.
    pub fn split(self) -> (mpsc::Receiver<Downlink>, SessionClosed) {
        (self.queue, SessionClosed { close: self.close })
    }

    /// Ready when the session shall end.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.close.poll(cx)
    }

    /// Resolves when the session shall end.
    pub async fn closed(&self) -> CloseReason {
        std::future::poll_fn(|cx| self.poll_closed(cx)).await
    }

    /// Why the session shall end, if it shall.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close.0.lock().reason
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
        assert!(matches!(end.queue.try_recv(), Ok(Downlink::Desired { version: 1, .. })));
        session.close(CloseReason::Shutdown);
        assert_eq!(end.close_reason(), Some(CloseReason::SlowConsumer));
        assert_eq!(session.send(desired(4)), Err(SessionGone));
    }
}
