//! Twins on a pair of links (dp §4.7).

use amqp::connection::Delivery;
use amqp::{DeliveryState, Message};
use iot_proto::amqp::twins::{self, Operation};
use iot_proto::status::Tracking;
use model::Fault;
use model::twin::Object;

use super::core::Core;
use super::devices::DeviceKey;
use super::nodes::Nodes;
use super::requests::Request;
use crate::auth::Identities;
use crate::backend::DeviceBackend;

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// An identity asks. What it asks wrongly is answered, too: SDKs wait for ever.
    pub(super) fn twin_operation(&mut self, key: DeviceKey, delivery: &Delivery) {
        let up = delivery.id.link();
        let message = match Message::decode(&delivery.message, &self.machine_limits()) {
            Ok(message) => message,
            Err(error) => return self.reject_malformed(delivery.id, &error.to_string()),
        };
        let correlation = twins::correlation(&message);
        let operation = Operation::parse(&message);
        let Some(device) = self.devices.get(key) else { return };
        self.machine.settle(delivery.id, DeliveryState::Accepted);
        let request = match operation {
            Ok(Operation::Get) => Request::TwinGet { up, correlation },
            Ok(Operation::Report { expected, body }) => {
                Request::Report { up, correlation, expected, body }
            }
            Ok(operation @ (Operation::Subscribe | Operation::Unsubscribe)) => {
                device.twins.set_subscribed(up, operation == Operation::Subscribe);
                Request::Desired { up, correlation, subscriptions: device.subscriptions() }
            }
            Err(error) => {
                let id = host::entropy::uuid_v4().to_string();
                let tracking = Tracking { id: &id, time: self.around.clock.wall() };
                let fault = Fault::argument(error.to_string());
                let answer = twins::fault_answer(correlation, &fault, tracking);
                return self.twin_answer(key, up, &answer);
            }
        };
        self.request(key, request);
    }

    /// Answers on the pair of a link. A client that takes no answers loses its link.
    pub(super) fn twin_answer(
        &mut self,
        key: DeviceKey,
        up: amqp::connection::LinkId,
        answer: &Message,
    ) {
        let Some(device) = self.devices.get(key) else { return };
        if device.twins.answer(up, answer.to_bytes()) {
            return self.flush_device(key);
        }
        let text = "too many answers wait for a link with credit";
        let condition = amqp::performative::condition::RESOURCE_LIMIT_EXCEEDED;
        self.machine.detach(up, Some(amqp::Error::new(condition, text)));
        self.handle_detached(up);
    }

    /// Desired properties changed; `$version` stands in the patch, too.
    pub(super) fn desired_patch(&mut self, key: DeviceKey, mut patch: Object, version: u64) {
        let Some(device) = self.devices.get(key) else { return };
        patch.insert("$version".into(), version.into());
        let patch = serde_json::Value::Object(patch).to_string();
        device.twins.notify(&twins::desired_patch(patch, version).to_bytes());
    }
}
