//! The traits that a backend implements: `hub` all of them, `edge-hub` the device ones.
//!
//! Here stands the device's side; the back ends' side has one file per resource below.

pub mod authorities;
pub mod cloud_to_device;
pub mod configurations;
pub mod events;
pub mod feedback;
pub mod methods;
pub mod registry;
pub mod twins;

use std::future::Future;
use std::sync::Arc;

use model::Fault;
use model::message::Message;
use model::method::MethodResponse;
use model::twin::Object;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::auth::Principal;
use crate::session::DeviceSession;

/// Whatever stands behind the device connections.
pub trait DeviceBackend: Send + Sync + 'static {
    /// What one connection talks to.
    type Link: DeviceLink;

    /// An authenticated identity connects. A live session of the same identity is closed
    /// ([`crate::session::CloseReason::TakenOver`]); the new one wins.
    fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> impl Future<Output = Result<(Arc<Self::Link>, Opened), OpenError>> + Send;
}

/// Who connects, and how.
#[derive(Debug, Clone)]
pub struct Open {
    /// The authenticated identity.
    pub principal: Principal,
    /// The DTDL model that it announces.
    pub model_id: Option<String>,
    /// Its SDK and version, for the log.
    pub client_type: Option<String>,
    /// What becomes of the subscriptions that are stored.
    pub stored_session: StoredSession,
}

/// What an opening connection wants of the subscriptions that an earlier one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredSession {
    /// Go on with them, and keep them (MQTT, CleanSession 0).
    Resume,
    /// Forget them, and keep none (MQTT, CleanSession 1).
    Forget,
    /// Leave them alone: the connection has links instead (AMQP).
    Ignore,
}

/// What the backend found when it opened the session.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The stored subscriptions (filter and QoS); none when there is no stored session.
    pub subscriptions: Option<Vec<(String, u8)>>,
}

/// Why a session cannot be opened now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Try again later: the store is not ready, too many takeovers, too many clients.
    #[error("{0}")]
    Later(String),
    /// The identity is gone or disabled since it was authenticated.
    #[error("{0}")]
    Refused(String),
}

/// One connection's line to the backend. Calls of one kind come in the order in which the device
/// sent them; the gateway awaits one `report` before it makes the next.
pub trait DeviceLink: Send + Sync + 'static {
    /// Takes telemetry: empties the batch and returns at once; the receipt tells when it is durable.
    /// On an error nothing was taken, and the batch is as it was.
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError>;

    /// Reads the twin as the identity sees it: `{"desired":{…},"reported":{…}}` with `$version`s.
    fn twin(&self) -> impl Future<Output = Result<Value, Fault>> + Send;

    /// Merges into the reported properties; gives their new `$version`, or none where it is not
    /// known yet (an edge hub that will sync later).
    fn report(
        &self,
        patch: Object,
        expected: Option<u64>,
    ) -> impl Future<Output = Result<Option<u64>, Fault>> + Send;

    /// The subscriptions are now these. Resolves when they are stored (CleanSession 0, unless they
    /// came from the store).
    fn subscribed(
        &self,
        subscriptions: Subscriptions,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The session may be given `total` deliveries of this kind in all, counted from its start; the
    /// backend hands over no more. Without a call the backend's own window is the only bound
    /// (MQTT). AMQP calls it as credit comes: `total` is what was sent plus the credit.
    fn permit(&self, kind: DeliveryKind, total: u64);

    /// The identity answers a direct method. Unknown and late calls are ignored.
    fn method_answer(&self, call: Uuid, response: MethodResponse);

    /// The identity settles a delivery. Resolves when that is durable.
    fn settle(
        &self,
        lock: Uuid,
        outcome: Settlement,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The connection is gone. `graceful` when the identity said so itself.
    fn close(&self, graceful: bool) -> impl Future<Output = ()> + Send;
}

/// What an identity listens to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscriptions {
    /// Every granted filter with its QoS, in the order of the filters.
    pub filters: Vec<(String, u8)>,
    /// Whether it takes cloud-to-device messages.
    pub cloud_to_device: bool,
    /// Whether it takes direct methods.
    pub methods: bool,
    /// Whether it takes changes of desired properties.
    pub desired: bool,
    /// Whether it takes messages to its inputs.
    pub inputs: bool,
    /// Whether they were read from the stored session just now.
    pub restored: bool,
}

/// What is delivered to an identity and settled by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKind {
    /// Cloud-to-device messages.
    CloudToDevice,
    /// Messages to a module's inputs.
    Input,
}

/// How a delivery is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Done with it.
    Complete,
    /// Give it again.
    Abandon,
    /// Never give it again.
    Reject,
}

/// Why telemetry is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full; try again when earlier receipts are through. The gateway stops reading.
    #[error("too many messages wait for the disk")]
    Busy,
    /// The store refuses now, or failed to make it durable; the sender must send again.
    #[error("cannot store messages: {0}")]
    Unavailable(String),
}

/// Tells when a batch is durable.
#[derive(Clone)]
pub enum Receipt {
    /// It is already, or nothing had to be stored.
    Done,
    /// When the journal has it.
    Journal(journal::Receipt),
    /// When whoever holds the [`Promise`] says so.
    Promised(Promised),
}

/// Completes a receipt. Dropped without a word it means that nothing was stored.
#[derive(Debug)]
pub struct Promise(watch::Sender<Option<Result<(), SubmitError>>>);

/// The receipt's end of a [`Promise`].
#[derive(Debug, Clone)]
pub struct Promised(watch::Receiver<Option<Result<(), SubmitError>>>);

impl Promise {
    /// Tells what came of it.
    pub fn keep(self, result: Result<(), SubmitError>) {
        self.0.send_replace(Some(result));
    }
}

impl Receipt {
    /// A receipt that is open until its promise is kept.
    pub fn promised() -> (Promise, Self) {
        let (sender, receiver) = watch::channel(None);
        (Promise(sender), Self::Promised(Promised(receiver)))
    }

    /// Whether the batch is durable; none while that is open.
    pub fn poll_ready(&self) -> Option<Result<(), SubmitError>> {
        match self {
            Self::Done => Some(Ok(())),
            Self::Journal(receipt) => {
                receipt.poll_ready().map(|result| result.map_err(SubmitError::from))
            }
            Self::Promised(Promised(receiver)) => match receiver.borrow().clone() {
                Some(result) => Some(result),
                None => receiver.has_changed().is_err().then(|| Err(broken_promise())),
            },
        }
    }

    /// Resolves when the batch is durable, or when it is certain that it is not.
    pub async fn wait(&self) -> Result<(), SubmitError> {
        match self {
            Self::Done => Ok(()),
            Self::Journal(receipt) => receipt.wait().await.map_err(SubmitError::from),
            Self::Promised(Promised(receiver)) => {
                let mut receiver = receiver.clone();
                match receiver.wait_for(Option::is_some).await {
                    Ok(kept) => kept.clone().unwrap_or_else(|| Err(broken_promise())),
                    Err(_) => Err(broken_promise()),
                }
            }
        }
    }
}

fn broken_promise() -> SubmitError {
    SubmitError::Unavailable("whoever was to store it is gone".into())
}

impl From<journal::AppendError> for SubmitError {
    fn from(error: journal::AppendError) -> Self {
        match error {
            journal::AppendError::Full => Self::Busy,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
