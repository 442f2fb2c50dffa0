use proptest::prelude::*;

use super::*;

fn check(text: &str, system: &[(SystemProperty, &str)], properties: &[(&str, &str)]) {
    let bag = Bag::parse(text, Sender::Hub).unwrap();
    let found: Vec<_> = bag.system.iter().map(|(p, v)| (*p, v.as_str())).collect();
    assert_eq!(found, system, "{text}");
    let found: Vec<_> = bag.properties.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(found, properties, "{text}");
}

#[test]
fn reads_what_the_sdks_send() {
    use SystemProperty as P;
    check("", &[], &[]);
    check("/", &[], &[]);
    check("?", &[], &[]);
    // Recorded from Python (dp §16.1).
    check(
        "%24.mid=id%201&%24.cid=c%2F1&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8&\
         %24.exp=2030-01-01T00%3A00%3A00Z&a=1&b%20key=v%26%3D%2F%C3%BC",
        &[
            (P::MessageId, "id 1"),
            (P::CorrelationId, "c/1"),
            (P::UserId, "u"),
            (P::ContentType, "application/json"),
            (P::ContentEncoding, "utf-8"),
            (P::ExpiryTime, "2030-01-01T00:00:00Z"),
        ],
        &[("a", "1"), ("b key", "v&=/ü")],
    );
    // Java sends the prefix raw; C# and Node's outputs end in a slash; edgeHub takes a `?`.
    check("$.mid=1&$.on=out1/", &[(P::MessageId, "1"), (P::OutputName, "out1")], &[]);
    check("?a=1", &[], &[("a", "1")]);
    // C does not encode values by default.
    check(
        "ct=application/json&p=50%&q=a+b",
        &[],
        &[("ct", "application/json"), ("p", "50%"), ("q", "a+b")],
    );
    // A null and an empty value; a value with `=` in it.
    check("novalue&empty=&k=a=b", &[], &[("novalue", ""), ("empty", ""), ("k", "a=b")]);
    // The last duplicate wins, however it is spelled.
    check("a=1&%24.mid=1&a=2&$.mid=2", &[(P::MessageId, "2")], &[("a", "2")]);
    // Names without a prefix; an unknown reserved name is an application property.
    check(
        "iothub-ack=full&%24.zzz=1&iothub-x=y",
        &[(P::Ack, "full")],
        &[("$.zzz", "1"), ("iothub-x", "y")],
    );
    check("&a=1&&b=2&", &[], &[("a", "1"), ("b", "2")]);
}

#[test]
fn only_one_trailing_slash_is_a_separator() {
    check("a=b//", &[], &[("a", "b/")]);
}

#[test]
fn malformed_bags_are_refused() {
    assert_eq!(Bag::parse("=v", Sender::Device), Err(BagError::NoName("=v".into())));
    assert_eq!(Bag::parse("a=1&=", Sender::Device), Err(BagError::NoName("=".into())));
    let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
    assert!(Bag::parse(&many(PAIRS_MAX), Sender::Device).is_ok());
    assert_eq!(Bag::parse(&many(PAIRS_MAX + 1), Sender::Device), Err(BagError::TooMany));
}

#[test]
fn a_device_cannot_claim_another_sender() {
    let text = "%24.cdid=other&$.cmid=m&a=1";
    assert_eq!(Bag::parse(text, Sender::Device).unwrap().system, []);
    assert_eq!(Bag::parse(text, Sender::Hub).unwrap().system.len(), 2);
}

#[test]
fn every_property_has_a_name_or_is_known_not_to() {
    for property in SystemProperty::ALL {
        let named = encoded_name(property).is_some();
        assert_eq!(named, property != SystemProperty::ModelId, "{property:?}");
    }
    for (property, decoded, encoded) in NAMES {
        assert_eq!(percent::decode(encoded), decoded);
        assert_eq!(system_property(decoded), Some(property));
    }
}

#[test]
fn system_properties_come_first_and_encoded() {
    let bag = Bag {
        system: vec![
            (SystemProperty::To, "/devices/d/messages/deviceBound".into()),
            (SystemProperty::MessageId, String::new()),
            (SystemProperty::ModelId, "dtmi:x;1".into()),
        ],
        properties: vec![("prop 1".into(), "v/1".into()), ("empty".into(), String::new())],
    };
    let mut out = String::new();
    bag.write(&mut out);
    assert_eq!(out, "%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&prop%201=v%2F1&empty=");
}

fn any_bag() -> impl Strategy<Value = Bag> {
    let named: Vec<SystemProperty> = NAMES.iter().map(|(p, _, _)| *p).collect();
    let system =
        proptest::collection::btree_map(proptest::sample::select(named), "\\PC{1,12}", 0..6);
    let properties = proptest::collection::btree_map("\\PC{1,12}", "\\PC{0,12}", 0..6);
    (system, properties).prop_map(|(system, properties)| Bag {
        system: system.into_iter().collect(),
        properties: properties
            .into_iter()
            .filter(|(name, _)| system_property(name).is_none())
            .collect(),
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(bag in any_bag()) {
        let mut text = String::new();
        bag.write(&mut text);
        prop_assert_eq!(Bag::parse(&text, Sender::Hub).unwrap(), bag.clone());
        text.push('/');
        prop_assert_eq!(Bag::parse(&text, Sender::Hub).unwrap(), bag);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Bag::parse(&text, Sender::Device);
    }
}
