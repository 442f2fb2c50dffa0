//! Cloud-to-device messages as back ends send them over AMQP (sa §5.2). The properties are those of
//! a device's message; here it is read whom the message is for, and what would get lost is refused.

use jiff::Timestamp;
use model::message::{Message, SystemProperty};
use model::{DeviceId, Fault, FaultKind, IdentityId};

use crate::amqp::address::{Address, DeviceAddress, DeviceNode};
use crate::amqp::message;

/// A message and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The device.
    pub device: DeviceId,
    /// The device when the client did not encode its id, which holds `%`.
    pub literal: Option<DeviceId>,
    /// The message.
    pub message: Message,
}

/// Reads a message that a back end sent.
pub fn from_message(mut received: ::amqp::Message) -> Result<Addressed, Fault> {
    let address = destination(received.properties.to.as_deref())?;
    let device = device(address.identity)?;
    let literal = address.literal.and_then(|literal| self::device(literal).ok());
    let expiry = &mut received.properties.absolute_expiry_time;
    match *expiry {
        // What some clients write for no time at all.
        Some(0) => *expiry = None,
        Some(at) if Timestamp::from_millisecond(at).is_err() => {
            return Err(Fault::new(
                FaultKind::InvalidMessageExpiryTime,
                "the absolute-expiry-time is out of bounds",
            ));
        }
        _ => {}
    }
    let mut message = message::from_device(received).map_err(|e| Fault::argument(e.to_string()))?;
    // An empty text is how some clients leave a property out; it would be a name for a message.
    message.system.retain(|(_, value)| !value.is_empty());
    if let Some(id) = message.system(SystemProperty::MessageId)
        && !(id.is_ascii() && id.len() <= MESSAGE_ID_LENGTH_MAX)
    {
        return Err(Fault::argument(
            "the message-id has more than 128 characters, or not ASCII ones",
        ));
    }
    Ok(Addressed { device, literal, message })
}

fn destination(to: Option<&str>) -> Result<DeviceAddress, Fault> {
    let to = to.filter(|to| !to.is_empty()).ok_or_else(|| {
        Fault::argument("the message has no `to`; set it to /devices/{id}/messages/devicebound")
    })?;
    match Address::parse(to) {
        Ok(Address::Device(address)) if address.node == DeviceNode::DeviceBound => Ok(address),
        _ => Err(Fault::argument(
            "the message's `to` is not /devices/{id}/messages/devicebound with a device id",
        )),
    }
}

fn device(identity: IdentityId) -> Result<DeviceId, Fault> {
    match identity.module {
        None => Ok(identity.device),
        Some(_) => Err(Fault::new(
            FaultKind::InvalidOperation,
            "cloud-to-device messages go to devices, not to modules",
        )),
    }
}

/// Characters of a message id (dp §6.4).
const MESSAGE_ID_LENGTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use ::amqp::message::{Body, MessageId, Properties};
    use ::amqp::{Message as AmqpMessage, Value};

    use super::*;

    fn sent(to: &str) -> AmqpMessage {
        AmqpMessage {
            properties: Properties { to: Some(to.to_owned()), ..Properties::default() },
            body: Body::data("turn on"),
            ..AmqpMessage::default()
        }
    }

    #[test]
    fn the_device_is_found_however_it_is_spelled() {
        for (to, device, literal) in [
            ("/devices/d1/messages/devicebound", "d1", None),
            ("/devices/d1/messages/deviceBound", "d1", None),
            ("devices/a%2B%23/messages/devicebound", "a+#", Some("a%2B%23")),
            ("amqps://h:5671/devices/d1/messages/devicebound", "d1", None),
        ] {
            let read = from_message(sent(to)).unwrap();
            let literal = literal.map(|id| id.parse().unwrap());
            assert_eq!((read.device.as_str(), read.literal), (device, literal), "{to}");
            assert_eq!(read.message.body, "turn on");
        }
    }

    #[test]
    fn properties_are_kept() {
        let mut message = sent("/devices/d1/messages/devicebound");
        message.properties.message_id = Some(MessageId::Uuid([0x22; 16]));
        message.properties.correlation_id = Some(MessageId::String(String::new()));
        message.properties.absolute_expiry_time = Some(0);
        message.application_properties.push("iothub-ack", "full");
        message.application_properties.push("n", 5_i32);
        let read = from_message(message).unwrap().message;
        let id = Some("22222222-2222-2222-2222-222222222222");
        assert_eq!(read.system(SystemProperty::MessageId), id);
        assert_eq!(read.system(SystemProperty::Ack), Some("full"));
        assert_eq!(read.system(SystemProperty::CorrelationId), None);
        assert_eq!(read.system(SystemProperty::ExpiryTime), None);
        assert_eq!(read.property("n"), Some("5"));
    }

    #[test]
    fn what_cannot_be_delivered_is_refused() {
        let to = "/devices/d1/messages/devicebound";
        let with = |change: &dyn Fn(&mut AmqpMessage)| {
            let mut message = sent(to);
            change(&mut message);
            message
        };
        let long = "x".repeat(129);
        for (message, kind) in [
            (with(&|m| m.properties.to = None), FaultKind::ArgumentInvalid),
            (sent(""), FaultKind::ArgumentInvalid),
            (sent("/devices/d1/messages/events"), FaultKind::ArgumentInvalid),
            (sent("/devices/\u{e4}/messages/devicebound"), FaultKind::ArgumentInvalid),
            (sent("/devices/d/modules/m/messages/deviceBound"), FaultKind::InvalidOperation),
            (with(&|m| m.body = Body::Value(Value::Int(1))), FaultKind::ArgumentInvalid),
            (
                with(&|m| m.properties.absolute_expiry_time = Some(i64::MAX)),
                FaultKind::InvalidMessageExpiryTime,
            ),
            (
                with(&|m| m.properties.message_id = Some(MessageId::String(long.clone()))),
                FaultKind::ArgumentInvalid,
            ),
        ] {
            assert_eq!(from_message(message).unwrap_err().kind, kind);
        }
    }
}
