use proptest::prelude::*;

use super::*;

fn event(sender: &str, message: Message) -> Event {
    Event {
        source: Source::Telemetry,
        sender: sender.parse().unwrap(),
        generation: GenerationId::from_text("638912345678901234"),
        auth: AuthMethod::ModuleSas,
        message,
    }
}

/// Written by the first version; must be readable for ever.
#[test]
fn golden_bytes() {
    let mut message =
        Message::from_body("{}").with_system(SystemProperty::ContentType, "application/json");
    message.set_property("alarm", "ä");
    let event = event("dev1/m", message);
    let golden = b"\x01\x01\x02\x04dev1\x01m\x12638912345678901234\
        \x01\x06\x10application/json\x01\x05alarm\x02\xc3\xa4{}";
    assert_eq!(encode(&event), &golden[..]);
    assert_eq!(decode(Bytes::from_static(golden)), Ok(event));
}

#[test]
fn damage_is_named() {
    let good = encode(&event("d", Message::from_body("body")));
    let damaged = |index: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[index] = byte;
        decode(bytes.into())
    };
    assert_eq!(decode(Bytes::new()), Err(FormatError::Truncated));
    assert_eq!(damaged(0, 0), Err(FormatError::Field("version")));
    assert_eq!(damaged(0, 9), Err(FormatError::Version(9)));
    assert_eq!(damaged(1, 0), Err(FormatError::Field("source")));
    assert_eq!(damaged(2, 0xff), Err(FormatError::Field("auth")));
    assert_eq!(damaged(3, 0), Err(FormatError::Field("device")));
    assert_eq!(damaged(4, b'/'), Err(FormatError::Field("device")));
    assert_eq!(damaged(3, 0x7f), Err(FormatError::Truncated));
    let endless = [&[VERSION, 1, 1][..], &[0xff; 20]].concat();
    assert_eq!(decode(endless.into()), Err(FormatError::Field("device")));
    // A count of 2^32 entries in a few bytes.
    let bomb = [&[VERSION][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0; 8]].concat();
    assert_eq!(decode_message(bomb.into()), Err(FormatError::Truncated));
}

#[test]
fn lengths_around_the_steps_of_the_number_format() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let mut message = Message::from_body(vec![7; 3]);
        message.set_property("", "x".repeat(length));
        assert_eq!(decode_message(encode_message(&message).into()), Ok(message));
    }
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

prop_compose! {
    fn messages()(
        system in proptest::collection::vec((1..=19_u8, text()), 0..5),
        properties in proptest::collection::vec((text(), text()), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) -> Message {
        let system = system
            .into_iter()
            .map(|(number, value)| (SystemProperty::from_number(number).unwrap(), value))
            .collect();
        Message { system, properties, body: body.into() }
    }
}

proptest! {
    #[test]
    fn events_read_back(message in messages(), module in any::<bool>(), source in 1..=3_u8) {
        let mut event = event(if module { "d#1/m$" } else { "d#1" }, message);
        event.source = match source { 1 => Source::Telemetry, 2 => Source::TwinChange, _ => Source::Lifecycle };
        prop_assert_eq!(decode(encode(&event)), Ok(event));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(Bytes::from(bytes));
    }

    #[test]
    fn changed_bytes_never_panic(message in messages(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = encode(&event("d", message)).to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(Bytes::from(bytes.clone()));
        bytes.truncate(at);
        let _ = decode(Bytes::from(bytes));
    }
}
