use model::message::Message;
use model::message::SystemProperty;
use proptest::prelude::*;

use super::*;
use crate::bag::{Bag, Sender};

fn set(identity: &str) -> TopicSet {
    TopicSet::new(identity.parse().unwrap())
}

#[test]
fn reads_what_devices_publish() {
    let d = set("dev1");
    for (topic, expected) in [
        ("devices/dev1/messages/events", DeviceTopic::Telemetry { bag: "" }),
        ("devices/dev1/messages/events/", DeviceTopic::Telemetry { bag: "" }),
        ("devices/dev1/messages/events/a=1", DeviceTopic::Telemetry { bag: "a=1" }),
        ("devices/dev1/messages/events/$.on=o/", DeviceTopic::Telemetry { bag: "$.on=o/" }),
        ("$iothub/twin/GET/?$rid=9427fd19", DeviceTopic::TwinGet { rid: "9427fd19" }),
        ("$iothub/twin/GET?$rid=1", DeviceTopic::TwinGet { rid: "1" }),
        ("$iothub/twin/GET/?$rid=1/", DeviceTopic::TwinGet { rid: "1" }),
        (
            "$iothub/twin/PATCH/properties/reported/?$rid=7",
            DeviceTopic::TwinPatchReported { rid: "7", version: None },
        ),
        (
            "$iothub/twin/PATCH/properties/reported/?$rid=7&$version=12",
            DeviceTopic::TwinPatchReported { rid: "7", version: Some(12) },
        ),
        (
            "$iothub/methods/res/200/?$rid=1f",
            DeviceTopic::MethodResponse { status: 200, rid: "1f" },
        ),
        (
            "$iothub/methods/res/-2147483648/?$rid=1f",
            DeviceTopic::MethodResponse { status: i32::MIN, rid: "1f" },
        ),
    ] {
        assert_eq!(d.parse_from_device(topic), Ok(expected), "{topic}");
    }
    assert_eq!(
        set("dev1/mod1").parse_from_device("devices/dev1/modules/mod1/messages/events/%24.on=out1"),
        Ok(DeviceTopic::Telemetry { bag: "%24.on=out1" })
    );
}

#[test]
fn tells_foreign_topics_from_unknown_ones() {
    use TopicError as E;
    for (identity, topic, error) in [
        ("d", "devices/e/messages/events/", E::NotOwn),
        ("d", "devices/D/messages/events/", E::NotOwn),
        ("d", "devices/dd/messages/events/", E::NotOwn),
        ("d", "devices/d/modules/m/messages/events/", E::NotOwn),
        ("d/m", "devices/d/messages/events/", E::NotOwn),
        ("d/m", "devices/d/modules/n/messages/events/", E::NotOwn),
        ("d", "devices/d/messages/eventsx", E::Unknown),
        ("d", "devices/d/messages/devicebound/", E::Unknown),
        ("d", "devices/d", E::Unknown),
        ("d", "", E::Unknown),
        ("d", "telemetry", E::Unknown),
        ("d", "$iothub/other", E::Unknown),
        ("d", "$iothub/twin/res/200/?$rid=1", E::Unknown),
        ("d", "$iothub/twin/GET/", E::Malformed("`?$rid=`")),
        ("d", "$iothub/twin/GET/?$rid=", E::Malformed("request id")),
        ("d", "$iothub/twin/GET/?x=1", E::Malformed("request id")),
        ("d", "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", E::Malformed("version")),
        ("d", "$iothub/methods/res/ok/?$rid=1", E::Malformed("status")),
        ("d", "$iothub/methods/res/9999999999/?$rid=1", E::Malformed("status")),
    ] {
        assert_eq!(set(identity).parse_from_device(topic), Err(error), "{identity}: {topic}");
    }
}

#[test]
fn a_request_id_fits_in_the_answer() {
    let d = set("d");
    let topic = |length| TopicSet::twin_get(&"r".repeat(length));
    assert!(d.parse_from_device(&topic(REQUEST_ID_BYTES_MAX)).is_ok());
    assert_eq!(
        d.parse_from_device(&topic(REQUEST_ID_BYTES_MAX + 1)),
        Err(TopicError::Malformed("request id"))
    );
}

#[test]
fn a_recorded_session_is_understood() {
    // dp §16.1: what Python 2.14.0 sent, in this order.
    let d = set("dev1");
    let telemetry = "devices/dev1/messages/events/%24.mid=id%201&%24.cid=c%2F1&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8&%24.exp=2030-01-01T00%3A00%3A00Z&a=1&b%20key=v%26%3D%2F%C3%BC";
    let Ok(DeviceTopic::Telemetry { bag }) = d.parse_from_device(telemetry) else {
        panic!("not telemetry");
    };
    let bag = Bag::parse(bag, Sender::Device).unwrap();
    let message = Message { system: bag.system, properties: bag.properties, ..Message::default() };
    assert_eq!(message.system(SystemProperty::CorrelationId), Some("c/1"));
    assert_eq!(message.property("b key"), Some("v&=/ü"));
    assert_eq!(d.telemetry(&message), telemetry);
    for (filter, subscription) in [
        ("devices/dev1/messages/devicebound/#", Subscription::CloudToDevice),
        ("$iothub/methods/POST/#", Subscription::Methods),
        ("$iothub/twin/PATCH/properties/desired/#", Subscription::DesiredPatches),
        ("$iothub/twin/res/#", Subscription::TwinResponses),
    ] {
        assert_eq!(d.parse_filter(filter), Ok(subscription));
        assert_eq!(d.filter(subscription), filter);
    }
    let m = set("dev1/mod1");
    assert_eq!(m.filter(Subscription::ModuleInputs), "devices/dev1/modules/mod1/inputs/#");
    // The C2D bag that it was given, with a null and an empty value.
    let topic = "devices/dev1/messages/devicebound/%24.mid=1&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&iothub-ack=full&prop%201=v%2F1&novalue&empty=";
    let Ok(HubTopic::CloudToDevice { bag }) = d.parse_from_hub(topic) else {
        panic!("not cloud-to-device");
    };
    let bag = Bag::parse(bag, Sender::Hub).unwrap();
    assert_eq!(bag.system.len(), 3);
    let empty = |name: &str| (name.to_owned(), String::new());
    assert_eq!(bag.properties[1..], [empty("novalue"), empty("empty")]);
}

#[test]
fn reads_ids_by_position() {
    // The characters that would end an id for a parser that searches.
    let odd = set("a?b#c%26=+/m$.on=x?");
    let topic = "devices/a?b#c%26=+/modules/m$.on=x?/messages/events/k=v";
    assert_eq!(odd.parse_from_device(topic), Ok(DeviceTopic::Telemetry { bag: "k=v" }));
}

#[test]
fn filters_of_the_sdks_are_granted() {
    use Subscription as S;
    for (identity, filter, granted) in [
        ("d", "devices/d/messages/devicebound/#", Ok(S::CloudToDevice)),
        ("d", "devices/d/#", Ok(S::CloudToDevice)),
        ("d", "devices/d/messages/#", Ok(S::CloudToDevice)),
        ("d", "$iothub/methods/POST/#", Ok(S::Methods)),
        ("d", "$iothub/methods/POST/reboot/#", Ok(S::Methods)),
        ("d", "$iothub/twin/res/#", Ok(S::TwinResponses)),
        ("d", "$iothub/twin/res/200/#", Ok(S::TwinResponses)),
        ("d", "$iothub/twin/PATCH/properties/desired/#", Ok(S::DesiredPatches)),
        ("d/m", "devices/d/modules/m/inputs/#", Ok(S::ModuleInputs)),
        ("d/m", "devices/d/modules/m/inputs/in1/#", Ok(S::ModuleInputs)),
        ("d/m", "devices/d/modules/m/#", Ok(S::ModuleInputs)),
        ("d/m", "devices/d/modules/m/messages/devicebound/#", Ok(S::CloudToDevice)),
        ("d/m", "$iothub/methods/POST/#", Ok(S::Methods)),
        ("d", "devices/e/messages/devicebound/#", Err(FilterError::NotOwn)),
        ("d", "devices/d/modules/m/#", Err(FilterError::NotOwn)),
        ("d", "devices/dd/#", Err(FilterError::NotOwn)),
        ("d/m", "devices/d/messages/devicebound/#", Err(FilterError::NotOwn)),
        ("d/m", "devices/d/modules/n/inputs/#", Err(FilterError::NotOwn)),
        ("d", "devices/#", Err(FilterError::NotOwn)),
        ("d", "devices/+/messages/devicebound/#", Err(FilterError::NotOwn)),
        ("d", "devices/d/messages/events/#", Err(FilterError::Unknown)),
        ("d", "devices/d/messages/deviceboundx/#", Err(FilterError::Unknown)),
        ("d", "devices/d/messages/devicebound#", Err(FilterError::Unknown)),
        ("d", "devices/d/messages/devicebound", Err(FilterError::Unknown)),
        ("d", "#", Err(FilterError::Unknown)),
        ("d", "$iothub/#", Err(FilterError::Unknown)),
        ("d", "$iothub/twin/PATCH/properties/desiredx/#", Err(FilterError::Unknown)),
        ("d", "$iothub/methods/POST/+/#", Err(FilterError::Unknown)),
        ("d", "$iothub/twin/res/#/#", Err(FilterError::Unknown)),
        ("a+#", "devices/a+#/messages/devicebound/#", Ok(S::CloudToDevice)),
        ("d", "", Err(FilterError::Unknown)),
    ] {
        assert_eq!(set(identity).parse_filter(filter), granted, "{identity}: {filter}");
    }
    let m = set("d/m");
    for subscription in Subscription::ALL {
        assert_eq!(m.parse_filter(&m.filter(subscription)), Ok(subscription));
    }
}

#[test]
fn filters_match_their_topics() {
    for (filter, topic, matches) in [
        ("$iothub/methods/POST/#", "$iothub/methods/POST/m/?$rid=1", true),
        ("$iothub/methods/POST/m/#", "$iothub/methods/POST/m/?$rid=1", true),
        ("$iothub/methods/POST/m/#", "$iothub/methods/POST/mm/?$rid=1", false),
        ("a/#", "a", true),
        ("a/#", "ab", false),
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
    ] {
        assert_eq!(filter_matches(filter, topic), matches, "{filter} {topic}");
    }
}

#[test]
fn cloud_to_device_topics_suit_every_sdk() {
    let d = set("dev1");
    assert_eq!(
        d.cloud_to_device(&Message::default()),
        "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound"
    );
    let mut message = Message::default()
        .with_system(SystemProperty::MessageId, "m 1")
        .with_system(SystemProperty::Ack, "full")
        .with_system(SystemProperty::ExpiryTime, "2030-01-01T00:00:00Z")
        .with_system(SystemProperty::CreationTime, "yesterday")
        .with_system(SystemProperty::UserId, "");
    message.set_property("empty", "");
    message.set_property("prop 1", "v/1");
    assert_eq!(
        d.cloud_to_device(&message),
        "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound\
         &%24.mid=m%201&iothub-ack=full&%24.exp=2030-01-01T00%3A00%3A00.0000000Z&prop%201=v%2F1"
    );
    // A destination that the sender wrote itself stays.
    let message = Message::default().with_system(SystemProperty::To, "/devices/dev1/x");
    assert_eq!(
        d.cloud_to_device(&message),
        "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fx"
    );
}

#[test]
fn topics_of_the_hub_are_spelled_as_recorded() {
    assert_eq!(TopicSet::method_request("reboot", "1f"), "$iothub/methods/POST/reboot/?$rid=1f");
    assert_eq!(
        TopicSet::method_request("a/b#+?% ü", "1"),
        "$iothub/methods/POST/a%2Fb%23%2B%3F%25 ü/?$rid=1"
    );
    assert_eq!(TopicSet::twin_response(200, "r-1", None), "$iothub/twin/res/200/?$rid=r-1");
    assert_eq!(
        TopicSet::twin_response(204, "r", Some(3)),
        "$iothub/twin/res/204/?$rid=r&$version=3"
    );
    assert_eq!(TopicSet::desired_patch(7), "$iothub/twin/PATCH/properties/desired/?$version=7");
    let m = set("dev1/mod1");
    assert_eq!(m.module_input("in1", &Message::default()), "devices/dev1/modules/mod1/inputs/in1/");
    let mut message = Message::default()
        .with_system(SystemProperty::ConnectionDeviceId, "dev1")
        .with_system(SystemProperty::ConnectionModuleId, "other")
        .with_system(SystemProperty::MessageId, "m9");
    message.set_property("k", "v");
    assert_eq!(
        m.module_input("in1", &message),
        "devices/dev1/modules/mod1/inputs/in1/%24.cdid=dev1&%24.cmid=other&%24.mid=m9&k=v"
    );
}

#[test]
fn topics_of_the_device_are_spelled_as_recorded() {
    assert_eq!(TopicSet::twin_get("9427fd19"), "$iothub/twin/GET/?$rid=9427fd19");
    assert_eq!(
        TopicSet::twin_patch_reported("1", None),
        "$iothub/twin/PATCH/properties/reported/?$rid=1"
    );
    assert_eq!(TopicSet::method_response(200, "1f"), "$iothub/methods/res/200/?$rid=1f");
    assert_eq!(set("dev1").telemetry(&Message::default()), "devices/dev1/messages/events/");
    let message = Message::default().with_system(SystemProperty::OutputName, "out1");
    assert_eq!(
        set("dev1/mod1").telemetry(&message),
        "devices/dev1/modules/mod1/messages/events/%24.on=out1"
    );
}

#[test]
fn the_client_end_refuses_what_is_not_its_own() {
    for (identity, topic, error) in [
        ("d", "devices/e/messages/devicebound/x=y", TopicError::NotOwn),
        ("d", "devices/d/inputs/i/", TopicError::NotOwn),
        ("d/m", "devices/d/modules/n/inputs/i/", TopicError::NotOwn),
        ("d", "devices/d/messages/events/", TopicError::Unknown),
        ("d", "$iothub/twin/res/abc/?$rid=1", TopicError::Malformed("status")),
        ("d", "$iothub/methods/POST/m/", TopicError::Malformed("`?$rid=`")),
    ] {
        assert_eq!(set(identity).parse_from_hub(topic), Err(error), "{identity}: {topic}");
    }
}

const ID: &str = "[A-Za-z0-9:.+%_#*?!(),=@$;'-]{1,30}";

fn any_message() -> impl Strategy<Value = Message> {
    (
        proptest::option::of("\\PC{1,10}"),
        proptest::collection::btree_map("[a-z]\\PC{0,8}", "\\PC{0,8}", 0..4),
    )
        .prop_map(|(id, properties)| {
            let mut message = Message::default();
            if let Some(id) = id {
                message.set_system(SystemProperty::MessageId, id);
            }
            for (name, value) in properties {
                if !name.starts_with("iothub-") {
                    message.set_property(name, value);
                }
            }
            message
        })
}

proptest! {
    #[test]
    fn topics_read_back_with_any_legal_id(
        device in ID,
        module in ID,
        other in ID,
        message in any_message(),
        name in "\\PC{1,20}",
        rid in "[0-9a-f-]{1,36}",
        status in 0u16..1000,
        version in proptest::option::of(any::<u64>()),
        method_status in any::<i32>(),
    ) {
        for identity in [device.clone(), format!("{device}/{module}")] {
            let topics = set(&identity);
            let topic = topics.telemetry(&message);
            let Ok(DeviceTopic::Telemetry { bag }) = topics.parse_from_device(&topic) else {
                return Err(TestCaseError::fail(topic));
            };
            let bag = Bag::parse(bag, Sender::Device).unwrap();
            prop_assert_eq!(&bag.system, &message.system);
            prop_assert_eq!(&bag.properties, &message.properties);

            let topic = topics.cloud_to_device(&message);
            let Ok(HubTopic::CloudToDevice { bag }) = topics.parse_from_hub(&topic) else {
                return Err(TestCaseError::fail(topic));
            };
            let bag = Bag::parse(bag, Sender::Hub).unwrap();
            let with_value = message.properties.iter().filter(|(_, value)| !value.is_empty());
            prop_assert_eq!(&bag.properties, &with_value.cloned().collect::<Vec<_>>());

            // Nobody else can read it as their own.
            if other != device {
                let stranger = set(&other);
                let topic = topics.telemetry(&Message::default());
                prop_assert_eq!(stranger.parse_from_device(&topic), Err(TopicError::NotOwn));
            }
        }
        let topics = set(&format!("{device}/{module}"));
        let topic = topics.module_input(&name, &message);
        let Ok(HubTopic::ModuleInput { input, .. }) = topics.parse_from_hub(&topic) else {
            return Err(TestCaseError::fail(topic));
        };
        prop_assert_eq!(input, name.as_str());
        let topic = TopicSet::method_request(&name, &rid);
        prop_assert_eq!(
            topics.parse_from_hub(&topic),
            Ok(HubTopic::MethodRequest { name: name.as_str().into(), rid: &rid })
        );
        let topic = TopicSet::twin_response(status, &rid, version);
        prop_assert_eq!(
            topics.parse_from_hub(&topic),
            Ok(HubTopic::TwinResponse { status, rid: &rid, version })
        );
        let topic = TopicSet::twin_patch_reported(&rid, version);
        prop_assert_eq!(
            topics.parse_from_device(&topic),
            Ok(DeviceTopic::TwinPatchReported { rid: &rid, version })
        );
        let topic = TopicSet::method_response(method_status, &rid);
        prop_assert_eq!(
            topics.parse_from_device(&topic),
            Ok(DeviceTopic::MethodResponse { status: method_status, rid: &rid })
        );
    }

    #[test]
    fn no_topic_makes_it_panic(topic in "\\PC{0,80}") {
        let topics = set("d/m");
        let _ = topics.parse_from_device(&topic);
        let _ = topics.parse_from_hub(&topic);
        let _ = topics.parse_filter(&topic);
    }
}
