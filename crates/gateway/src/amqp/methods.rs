//! Direct methods on a pair of links (dp §4.6): the pair open is the subscription.

use amqp::connection::Delivery;
use amqp::{DeliveryState, Message};
use iot_proto::amqp::methods;
use model::limits;
use model::method::MethodRequest;
use uuid::Uuid;

use super::core::Core;
use super::devices::DeviceKey;
use super::nodes::Nodes;
use crate::auth::Identities;
use crate::backend::{DeviceBackend, DeviceLink};

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A call for an identity. Without a pair it is too late: the caller hears of a time-out.
    pub(super) fn method_call(&mut self, key: DeviceKey, call: Uuid, request: &MethodRequest) {
        if let Some(device) = self.devices.get(key) {
            device.methods.call(methods::request(call, request).to_bytes());
        }
    }

    /// An identity answers. Unknown, late and oversized answers are taken and dropped.
    pub(super) fn method_answer(&mut self, key: DeviceKey, delivery: &Delivery) {
        let read = Message::decode(&delivery.message, &self.machine_limits())
            .map_err(|error| error.to_string())
            .and_then(|message| methods::read_response(&message).map_err(|e| e.to_string()));
        let (call, response) = match read {
            Ok(read) => read,
            Err(error) => return self.reject_malformed(delivery.id, &error),
        };
        let Some(device) = self.devices.get(key) else { return };
        let size = response.payload.len();
        if size > limits::METHOD_PAYLOAD_BYTES_MAX {
            tracing::warn!(id = %device.id, size, "method answer is larger than 128 KiB; dropped");
        } else {
            device.link.method_answer(call, response);
        }
        self.machine.settle(delivery.id, DeliveryState::Accepted);
    }
}
