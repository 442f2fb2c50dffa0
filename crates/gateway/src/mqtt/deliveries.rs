//! What goes down to a client, and what its acknowledgements mean.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use iot_proto::topic::{Subscription, TopicSet};
use mqtt::packet::{PacketId, QoS};
use mqtt::server::ServerConnection;
use mqtt::{SendError, Topic};
use uuid::Uuid;

use crate::backend::{Settlement, Subscriptions};
use crate::session::{Delivery, Downlink};

/// The downward half of a connection.
pub(super) struct Deliveries {
    /// Granted subscriptions: the filter, what it is, its QoS.
    filters: Vec<(String, Subscription, u8)>,
    /// Packets that did not fit into the output yet, in order.
    waiting: VecDeque<Outgoing>,
    /// Locks of deliveries that the client has to acknowledge.
    locks: HashMap<PacketId, Uuid>,
    /// Method calls by their request id on this connection.
    calls: VecDeque<(u32, Uuid)>,
    last_rid: u32,
}

struct Outgoing {
    topic: String,
    payload: Bytes,
    qos: QoS,
    lock: Option<Uuid>,
}

/// Calls that are remembered; older ones have timed out long ago at the caller's side.
const CALLS_MAX: usize = 2 * model::limits::METHODS_IN_FLIGHT_MAX;

impl Deliveries {
    pub(super) fn new() -> Self {
        Self {
            filters: Vec::new(),
            waiting: VecDeque::new(),
            locks: HashMap::new(),
            calls: VecDeque::new(),
            last_rid: 0,
        }
    }

    /// Whether a filter is granted already.
    pub(super) fn has(&self, filter: &str) -> bool {
        self.filters.iter().any(|(known, ..)| known == filter)
    }

    /// Grants a filter, or changes its QoS.
    pub(super) fn grant(&mut self, filter: &str, subscription: Subscription, qos: u8) {
        match self.filters.iter_mut().find(|(known, ..)| known == filter) {
            Some(entry) => entry.2 = qos,
            None => self.filters.push((filter.to_owned(), subscription, qos)),
        }
    }

    pub(super) fn revoke(&mut self, filter: &str) {
        self.filters.retain(|(known, ..)| known != filter);
    }

    pub(super) fn filter_count(&self) -> usize {
        self.filters.len()
    }

    /// What the backend is told of the subscriptions.
    pub(super) fn subscriptions(&self, restored: bool) -> Subscriptions {
        let has = |wanted| self.filters.iter().any(|(_, subscription, _)| *subscription == wanted);
        let mut filters: Vec<_> =
            self.filters.iter().map(|(filter, _, qos)| (filter.clone(), *qos)).collect();
        filters.sort();
        Subscriptions {
            filters,
            cloud_to_device: has(Subscription::CloudToDevice),
            methods: has(Subscription::Methods),
            desired: has(Subscription::DesiredPatches),
            inputs: has(Subscription::ModuleInputs),
            restored,
        }
    }

    /// The best QoS granted for a topic: overlapping filters deliver once.
    fn qos(&self, wanted: Subscription, topic: &str) -> Option<QoS> {
        let granted = self
            .filters
            .iter()
            .filter(|(filter, kind, _)| {
                *kind == wanted && iot_proto::topic::filter_matches(filter, topic)
            })
            .map(|(_, _, qos)| *qos)
            .max()?;
        Some(if granted == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce })
    }

    /// Whether the next thing from the backend may be taken.
    pub(super) fn has_room(&self, machine: &ServerConnection) -> bool {
        self.waiting.is_empty() && machine.can_publish()
    }

    /// Takes something from the backend; gives the lock of a message that nobody listens to, so
    /// that it is given back.
    pub(super) fn downlink(&mut self, topics: &TopicSet, downlink: Downlink) -> Option<Uuid> {
        match downlink {
            Downlink::Desired { mut patch, version } => {
                let topic = TopicSet::desired_patch(version);
                let qos = self.qos(Subscription::DesiredPatches, &topic)?;
                patch.insert("$version".into(), version.into());
                let payload = serde_json::Value::Object(patch).to_string().into();
                self.waiting.push_back(Outgoing { topic, payload, qos, lock: None });
            }
            Downlink::Method { call, request } => {
                let rid = self.register(call);
                let topic = TopicSet::method_request(&request.name, &rid);
                // A narrower filter takes its own methods only; the caller of another one hears of
                // a time-out, as from a device that does not know the method.
                self.qos(Subscription::Methods, &topic)?;
                let outgoing =
                    Outgoing { topic, payload: request.payload, qos: QoS::AtMostOnce, lock: None };
                self.waiting.push_back(outgoing);
            }
            Downlink::CloudToDevice(Delivery { lock, message, .. }) => {
                let topic = topics.cloud_to_device(&message);
                return self.message(Subscription::CloudToDevice, topic, message.body, lock);
            }
            Downlink::Input { input, lock, message } => {
                let topic = topics.module_input(&input, &message);
                return self.message(Subscription::ModuleInputs, topic, message.body, lock);
            }
        }
        None
    }

    fn message(
        &mut self,
        kind: Subscription,
        topic: String,
        payload: Bytes,
        lock: Uuid,
    ) -> Option<Uuid> {
        let Some(qos) = self.qos(kind, &topic) else {
            return Some(lock);
        };
        self.waiting.push_back(Outgoing { topic, payload, qos, lock: Some(lock) });
        None
    }

    /// Answers a twin request; QoS 0, and whether the client subscribed or not: Python asks before
    /// it subscribes (`device-protocol.md` §3.9).
    pub(super) fn respond(&mut self, topic: String, payload: Bytes) {
        self.waiting.push_back(Outgoing { topic, payload, qos: QoS::AtMostOnce, lock: None });
    }

    /// Moves what waits into the machine's output; gives what is settled by that: messages that the
    /// client takes with QoS 0, and those that MQTT cannot carry.
    pub(super) fn flush(&mut self, machine: &mut ServerConnection) -> Vec<(Uuid, Settlement)> {
        let mut settled = Vec::new();
        while let Some(outgoing) = self.waiting.pop_front() {
            let Ok(topic) = Topic::new(outgoing.topic.as_str()) else {
                // Built by us from checked ids, but a property bag may exceed a topic's length:
                // such a message can never be delivered this way, and its sender may hear of it.
                let size_bytes = outgoing.topic.len();
                tracing::warn!(size_bytes, "message properties do not fit into a topic; rejected");
                settled.extend(outgoing.lock.map(|lock| (lock, Settlement::Reject)));
                continue;
            };
            match machine.publish(&topic, &outgoing.payload, outgoing.qos) {
                Ok(Some(packet_id)) => {
                    if let Some(lock) = outgoing.lock {
                        self.locks.insert(packet_id, lock);
                    }
                }
                Ok(None) => settled.extend(outgoing.lock.map(|lock| (lock, Settlement::Complete))),
                Err(SendError::OutputFull | SendError::WindowFull) => {
                    self.waiting.push_front(outgoing);
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot send to the client");
                    break;
                }
            }
        }
        settled
    }

    /// The client has a delivery; gives its lock.
    pub(super) fn acknowledged(&mut self, packet_id: PacketId) -> Option<Uuid> {
        self.locks.remove(&packet_id)
    }

    /// A request id for a call: a small hex number, as the cloud's.
    fn register(&mut self, call: Uuid) -> String {
        self.last_rid = self.last_rid.wrapping_add(1).max(1);
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back((self.last_rid, call));
        format!("{:x}", self.last_rid)
    }

    /// The call that a request id names; once.
    pub(super) fn call(&mut self, rid: &str) -> Option<Uuid> {
        let rid = u32::from_str_radix(rid, 16).ok()?;
        let index = self.calls.iter().position(|(known, _)| *known == rid)?;
        self.calls.remove(index).map(|(_, call)| call)
    }
}
