//! What nodes tell each other about a connected identity. Not durable: whoever misses a signal
//! finds the truth in the store when the identity connects.

use model::method::{MethodRequest, MethodResponse};
use model::twin::Object;
use model::{Fault, IdentityId};
use tokio::sync::mpsc;
use uuid::Uuid;

/// The line between nodes.
pub trait Signals: Send + Sync {
    /// Sends a signal to the node that owns the identity's connection, or to all when none does.
    fn send(&self, signal: Signal);

    /// The signals for this node. Bounded; the hub takes this once and must keep reading.
    fn subscribe(&self) -> mpsc::Receiver<Signal>;
}

/// A signal.
#[derive(Debug, Clone)]
pub enum Signal {
    /// The identity's desired properties changed.
    Desired {
        /// Whose.
        id: IdentityId,
        /// The patch, without `$version`.
        patch: Object,
        /// The new `$version`.
        version: u64,
    },
    /// A message waits in the identity's cloud-to-device queue.
    CloudToDevice(IdentityId),
    /// A direct method is called.
    MethodRequest {
        /// Whose.
        id: IdentityId,
        /// Names the call when it is answered.
        call: Uuid,
        /// The call.
        request: MethodRequest,
    },
    /// A direct method is answered, or cannot be.
    MethodReply {
        /// Which call.
        call: Uuid,
        /// The answer.
        outcome: Result<MethodResponse, Fault>,
    },
    /// The identity was changed, disabled or deleted: live connections must prove themselves again.
    IdentityChanged(IdentityId),
    /// A certificate authority was changed or deleted: connections that chain to one must prove
    /// themselves again.
    AuthoritiesChanged,
}
