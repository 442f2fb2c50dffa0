//! Any text as a condition: it is taken or refused, what is taken can be evaluated and reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::message::{Message, SystemProperty};
use query::{Arrival, Condition, MessageSubject, Rules};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, body) = text.split_once('\0').unwrap_or((text, BODY));
    let mut message = Message::from_body(body.to_owned())
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8");
    message.set_property("a", "1,234.5e-6");
    message.set_property("b", "x\u{1F600}");
    let Ok(sender) = "edge1/sensor".parse() else { return };
    let arrival = Arrival {
        sender: &sender,
        generation: None,
        auth_method: "",
        enqueued: jiff::Timestamp::UNIX_EPOCH,
        interface: None,
        message_type: None,
        twin: None,
    };
    for rules in [Rules::Edge, Rules::Hub] {
        match Condition::parse(text, rules) {
            Ok(condition) => {
                let subject = MessageSubject::new(&message, arrival, rules);
                let verdict = condition.evaluate(&subject);
                let Ok(again) = Condition::parse(condition.text(), rules) else {
                    panic!("does not read back: {}", condition.text());
                };
                assert_eq!(again.evaluate(&subject), verdict);
            }
            Err(error) => assert!(text.get(error.at..).is_some()),
        }
    }
});

const BODY: &str = r#"{"a":1,"b":"x","c":[1,"2",null,{"d":true}],"e":null}"#;
