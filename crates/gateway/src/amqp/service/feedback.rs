//! Back ends receive feedback on cloud-to-device messages (`service-api.md` §5.3). A message is
//! locked while it is under way; its delivery tag is the lock, as .NET wants it. What a receiver
//! leaves unsettled goes to the next one at once.

use std::collections::HashMap;
use std::sync::Arc;

use amqp::connection::Outgoing;
use amqp::{DeliveryState, Error};
use bytes::BytesMut;
use host::clock::Clock;
use iot_proto::amqp::message::lock_tag;
use iot_proto::event_hubs::feedback::FeedbackParts;
use uuid::Uuid;

use crate::amqp::fault;
use crate::amqp::port::{Port, PortEvent, PortTurn, Sent};
use crate::backend::Settlement;
use crate::backend::feedback::{Feedback, FeedbackBackend};

/// Feedback messages of one receiver that may be unsettled: each holds up to 64 records, and locks
/// them for everybody else.
const UNSETTLED_MAX: usize = 32;

/// Serves a link.
pub(super) async fn serve<B: FeedbackBackend>(
    backend: Arc<B>,
    clock: Clock,
    mut port: Port,
    hub_name: String,
) -> Option<Box<Error>> {
    let mut unsettled = HashMap::new();
    let error = deliver(&*backend, &clock, &mut port, &hub_name, &mut unsettled).await;
    for lock in unsettled.into_values() {
        settle(&*backend, lock, Settlement::Abandon).await;
    }
    error
}

/// Until the link is gone; what is unsettled then is left.
async fn deliver<B: FeedbackBackend>(
    backend: &B,
    clock: &Clock,
    port: &mut Port,
    hub_name: &str,
    unsettled: &mut HashMap<Sent, Uuid>,
) -> Option<Box<Error>> {
    let mut ready = backend.feedback_ready();
    loop {
        let room = (port.room() as usize).min(UNSETTLED_MAX.saturating_sub(unsettled.len()));
        if room > 0 {
            let messages = match backend.lock_feedback(room).await {
                Ok(messages) => messages,
                Err(refusal) => return Some(Box::new(fault::error(&refusal, clock))),
            };
            for feedback in messages {
                match port.send(outgoing(&feedback, hub_name)) {
                    Some(sent) => drop(unsettled.insert(sent, feedback.lock)),
                    None => settle(backend, feedback.lock, Settlement::Abandon).await,
                }
            }
        }
        let turn = match port.room() > 0 || unsettled.len() >= UNSETTLED_MAX {
            false => port.next_or_ready().await,
            true => tokio::select! {
                event = port.next() => event.map_or(PortTurn::Gone, PortTurn::Event),
                changed = ready.changed() => match changed {
                    Ok(()) => PortTurn::Ready,
                    // The hub is going.
                    Err(_) => return None,
                },
            },
        };
        match turn {
            PortTurn::Gone => return None,
            PortTurn::Event(PortEvent::Settled { sent, state }) => {
                if let Some(lock) = unsettled.remove(&sent) {
                    settle(backend, lock, outcome(state.as_ref())).await;
                }
            }
            PortTurn::Event(PortEvent::Received(_)) | PortTurn::Ready => {}
        }
    }
}

async fn settle<B: FeedbackBackend>(backend: &B, lock: Uuid, outcome: Settlement) {
    if let Err(fault) = backend.settle_feedback(lock, outcome).await {
        // The lock ran out, and the message comes again.
        tracing::debug!(%fault, "feedback cannot be settled");
    }
}

/// A client that settles without a word about the outcome has taken it.
fn outcome(state: Option<&DeliveryState>) -> Settlement {
    match state {
        Some(DeliveryState::Rejected(_)) => Settlement::Reject,
        Some(DeliveryState::Released | DeliveryState::Modified { .. }) => Settlement::Abandon,
        _ => Settlement::Complete,
    }
}

fn outgoing(feedback: &Feedback, hub_name: &str) -> Outgoing {
    let Feedback { lock, id, enqueued, records, .. } = feedback;
    let parts = FeedbackParts { id: *id, enqueued: *enqueued, hub_name, records };
    let mut message = BytesMut::new();
    parts.to_message().encode(&mut message);
    Outgoing { tag: lock_tag(*lock), message: message.freeze(), format: 0, settled: false }
}
