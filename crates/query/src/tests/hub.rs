//! Where the rules of a hub's message routes differ (sa §4.3).

use super::*;

#[test]
fn the_hubs_rules() {
    let message =
        sample().with_system(SystemProperty::ContentType, "application/json; charset=utf-8");
    let sender = sender();
    let twin = json!({ "tags": { "site": "lab" }, "properties": { "desired": { "limit": 40 } } });
    let arrival = Arrival { twin: Some(&twin), ..arrival(&sender) };
    let subject = MessageSubject::new(&message, arrival, Rules::Hub);
    for (text, expected) in [
        ("$body.weather.temperature > 30", T),
        ("$body.weather.temperature > $twin.properties.desired.limit", T),
        ("$twin.tags.site = 'lab'", T),
        ("$twin.tags.floor = 'x'", U),
        ("$body.weather.city > 30", U),
        ("$body.missing != 'x'", U),
        ("is_defined($body.missing)", F),
        ("$body.weather.nothing = null", U),
        ("is_null($body.weather.nothing)", T),
        ("is_null($body.weather.temperature)", F),
        ("is_object($body.weather)", T),
        ("is_array($body.weather.earlier)", T),
        ("is_array($body.weather)", F),
        ("is_primitive($body.weather.city)", T),
        ("is_primitive($body.weather)", F),
        ("$body.weather = $body.weather", U),
        ("$connectionDeviceId = 'edge1'", T),
        ("$key1 = 'value1'", T),
        ("$iothub-message-source = 'Telemetry'", T),
        ("$body.weather.off", F),
    ] {
        let condition = Condition::parse(text, Rules::Hub).unwrap();
        assert_eq!(condition.evaluate(&subject), expected, "{text}");
    }
}

#[test]
fn without_a_twin_it_is_undefined() {
    let message = sample();
    assert_eq!(verdict("$twin.tags.site = 'lab'", &message, Rules::Hub), U);
}
