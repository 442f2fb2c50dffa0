//! What holds for any text of a stranger: nothing panics, and what is accepted says the same again
//! when it is written as we write it. Shared with the fuzz targets.

use iot_proto::bag::{Bag, Sender};
use iot_proto::connect::ConnectName;
use iot_proto::payload::{message, method, twin};
use iot_proto::topic::{DeviceTopic, HubTopic, TopicSet, filter_matches};
use model::message::Message;
use model::twin::{Twin, parse_object};

/// Topics, filters, bags and names of CONNECT. The first byte says whose.
pub(crate) fn topics(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let identity = ["d", "d/m", "a?b#c%26=+", "a?b#c%26=+/m$.on=x?"][usize::from(first % 4)];
    let topics = TopicSet::new(identity.parse().expect("it is an id"));
    match topics.parse_from_device(text) {
        Ok(DeviceTopic::Telemetry { bag }) => telemetry(&topics, bag),
        // At the end of a topic it would be taken for the slash that some clients put there.
        Ok(
            DeviceTopic::TwinGet { rid }
            | DeviceTopic::TwinPatchReported { rid, .. }
            | DeviceTopic::MethodResponse { rid, .. },
        ) if rid.ends_with('/') => {}
        Ok(DeviceTopic::TwinGet { rid }) => {
            assert_eq!(
                topics.parse_from_device(&TopicSet::twin_get(rid)),
                Ok(DeviceTopic::TwinGet { rid })
            );
        }
        Ok(DeviceTopic::TwinPatchReported { rid, version }) => {
            let again = TopicSet::twin_patch_reported(rid, version);
            let expected = DeviceTopic::TwinPatchReported { rid, version };
            assert_eq!(topics.parse_from_device(&again), Ok(expected));
        }
        Ok(DeviceTopic::MethodResponse { status, rid }) => {
            let again = TopicSet::method_response(status, rid);
            let expected = DeviceTopic::MethodResponse { status, rid };
            assert_eq!(topics.parse_from_device(&again), Ok(expected));
        }
        Err(_) => {}
    }
    if let Ok(HubTopic::CloudToDevice { bag } | HubTopic::ModuleInput { bag, .. }) =
        topics.parse_from_hub(text)
    {
        let _ = Bag::parse(bag, Sender::Hub);
    }
    if let Ok(subscription) = topics.parse_filter(text) {
        // Whatever was granted leaves foreign topics out.
        assert!(!filter_matches(text, "devices/other/messages/devicebound/x=y"), "{text}");
        assert_eq!(topics.parse_filter(&topics.filter(subscription)).ok(), Some(subscription));
    }
    if let Ok(name) = ConnectName::parse(identity, text) {
        assert_eq!(name.identity, *topics.identity());
        assert_eq!(ConnectName::parse(&name.client_id(), &name.user_name()), Ok(name));
    }
}

fn telemetry(topics: &TopicSet, bag: &str) {
    let Ok(Bag { system, properties }) = Bag::parse(bag, Sender::Device) else { return };
    // A value that is empty is left out when it is a system property's.
    let system = system.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let message = Message { system, properties, ..Message::default() };
    let written = topics.telemetry(&message);
    let Ok(DeviceTopic::Telemetry { bag }) = topics.parse_from_device(&written) else {
        panic!("{written:?} is no telemetry");
    };
    let again = Bag::parse(bag, Sender::Device).expect("we wrote it");
    assert_eq!((again.system, again.properties), (message.system, message.properties));
}

/// JSON of devices and back ends: twins, method calls, messages.
pub(crate) fn bodies(bytes: &[u8]) {
    let now = "2026-01-02T03:04:05Z".parse().expect("it is a time");
    if let Ok(patch) = parse_object(bytes) {
        let mut reporting = Twin::new();
        let before = reporting.clone();
        if reporting.report(patch, now).is_err() {
            assert_eq!(reporting, before);
        }
    }
    if let Ok(change) = twin::read_change(bytes) {
        let again = twin::read_change(&twin::change_body(&change)).expect("we wrote it");
        assert_eq!(again, change);
        let mut changed = Twin::new();
        if changed.patch(change.clone(), now).is_ok() {
            let _ = changed.replace(change, now);
        }
    }
    if let Ok(request) = method::read_request(bytes) {
        let body = method::request_body(&request).expect("its payload is JSON");
        assert_eq!(method::read_request(&body).expect("we wrote it"), request);
    }
    if let Ok(messages) = message::from_document(bytes) {
        let _ = message::to_document(&messages);
    }
}
