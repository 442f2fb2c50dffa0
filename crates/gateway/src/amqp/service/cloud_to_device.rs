//! Back ends send cloud-to-device messages (`service-api.md` §5.2): accepted when the message is
//! durable in its device's queue, rejected with the reason otherwise. One after the other, so that
//! they stand in the queue as they were sent.

use std::sync::Arc;

use amqp::performative::condition;
use amqp::{DeliveryState, Error, Limits, Message};
use host::clock::Clock;
use iot_proto::event_hubs::cloud_to_device::{Addressed, from_message};
use model::{Fault, FaultKind};

use crate::amqp::fault;
use crate::amqp::port::{Port, PortEvent, Received};
use crate::backend::cloud_to_device::CloudToDeviceBackend;

/// Messages of one link that may be under way; rhea wants at least ten.
pub(super) const CREDIT: u32 = 64;

/// Serves a link.
pub(super) async fn serve<B: CloudToDeviceBackend>(
    backend: Arc<B>,
    clock: Clock,
    mut port: Port,
) -> Option<Box<Error>> {
    while let Some(event) = port.next().await {
        let PortEvent::Received(received) = event else { continue };
        let state = match take(&*backend, &received).await {
            Ok(()) => DeliveryState::Accepted,
            Err(Refused::Error(error)) => DeliveryState::Rejected(Some(error)),
            Err(Refused::Fault(refusal)) => {
                tracing::debug!(%refusal, "cloud-to-device message refused");
                DeliveryState::Rejected(Some(fault::error(&refusal, &clock)))
            }
        };
        port.settle(&received, state);
    }
    None
}

enum Refused {
    Fault(Fault),
    Error(Error),
}

async fn take<B: CloudToDeviceBackend>(backend: &B, received: &Received) -> Result<(), Refused> {
    if received.format != 0 {
        let text = "cloud-to-device messages are sent one by one, not as a batch";
        return Err(Refused::Error(Error::new(condition::NOT_IMPLEMENTED, text)));
    }
    let message = Message::decode(&received.message, &Limits::default())
        .map_err(|e| Refused::Error(Error::new(condition::DECODE_ERROR, e.to_string())))?;
    let Addressed { device, literal, message } = from_message(message).map_err(Refused::Fault)?;
    let other = literal.map(|literal| (literal, message.clone()));
    match (backend.send(&device, message).await, other) {
        // A client that does not encode ids means the text as it stands.
        (Err(fault), Some((literal, message))) if fault.kind == FaultKind::DeviceNotFound => {
            backend.send(&literal, message).await.map_err(Refused::Fault)
        }
        (sent, _) => sent.map_err(Refused::Fault),
    }
}
