//! What conditions see of a message, by the edge hub's rules.

use super::*;

#[test]
fn system_properties() {
    check(&[
        ("$contentType = 'application/json'", T),
        ("$CONTENTTYPE = 'application/json'", T),
        ("{$contentEncoding} = 'utf-8'", T),
        ("{ $contentEncoding } = 'utf-8'", T),
        ("$connectionDeviceId = 'edge1'", T),
        ("$connectionModuleId = 'sensor'", T),
        ("$connectionDeviceGenerationId = '7'", T),
        ("contains($connectionAuthMethod, 'sas')", T),
        ("$enqueuedTime = '2026-11-25T05:00:00.2500000Z'", T),
        ("$enqueuedTime > '2026-11-25'", T),
        ("$edgeHubOriginInterface = 'internal'", T),
        ("$correlationId = 'x'", U),
        ("is_defined($none)", F),
        // The sender's word does not count for who it is.
        ("connectionDeviceId = 'spoofed'", T),
        // An application property of the very name comes first; braces pass it by.
        ("$messageId = 'mine'", T),
        ("{$messageId} = 'm-1'", T),
        ("as_number($messageId) = 4", U),
    ]);
}

#[test]
fn paths_into_the_body() {
    check(&[
        ("$body.weather.temperature = 50", T),
        ("$BODY.weather.temperature >= 50", T),
        ("{$body.weather.temperature} >= 50", T),
        ("$body.Weather.temperature = 50", F),
        ("$body.case = 1", F),
        ("50 >= $body.weather.temperature", T),
        ("$body.weather.temperature = 40 + 10", T),
        ("$body.weather.earlier[0] + $body.weather.earlier[1] = 50", T),
        ("$body.weather.earlier[1] / $body.weather.earlier[0] = 1.5", T),
        ("$body.weather.days[0].month = 'Feb'", T),
        ("$body.weather.days[0].temperature - 10 = 30", T),
        ("$body.weather.with-hyphen = 1", T),
        ("$body.weather.city = City", T),
        ("$body.weather.city != City", F),
        ("$body.weather.on", T),
        ("$body.weather.on = true", T),
        ("NOT $body.weather.on", F),
        ("$body.weather.on AND key1 = 'value1'", T),
        ("key1 = 'value1' AND $body.weather.on", T),
        ("$body.weather.city", U),
        ("NOT $body.weather.city", U),
        ("abs($body.weather.frost) = 50.4", T),
        ("is_defined(abs($body.weather.city))", F),
        ("as_number($body.weather.temperature) = 50", T),
        ("length($body.weather.city) = 7", T),
        ("upper($body.weather.street) = 'ONE MICROSOFT WAY'", T),
        ("concat($body.weather.city, '!') = 'Redmond!'", T),
        ("is_string($body.weather.city)", T),
        ("is_number($body.weather.city)", F),
        ("is_bool($body.weather.off)", F),
        ("is_bool({$body.weather.off})", T),
        ("-$body.weather.temperature = -50", T),
        ("$body.weather.temperature % 7 = 1", T),
        // An application property of the very name comes first.
        ("$body.weather.off = '100'", T),
        ("as_number($body.weather.off) = 100", T),
        ("{$body.weather.off} = '100'", F),
    ]);
}

/// T-ROUTE-DYNAMIC: values of a body compare by the ranks of their types, and what is missing is
/// null.
#[test]
fn types_of_the_body_are_ranked() {
    check(&[
        ("$body.weather.city > 30", T),
        ("$body.weather.city < 30", F),
        ("$body.weather.temperature = '50'", F),
        ("$body.weather.temperature < '50'", T),
        ("$body.weather.on < $body.weather.temperature", T),
        ("$body.missing != 'x'", T),
        ("$body.missing = null", T),
        ("$body.missing > 'x'", T),
        ("$body.missing = $body.weather.nothing", T),
        ("$body.weather.nothing = null", T),
        ("$body.weather.temperature != null", T),
        ("$body.weather.earlier[3] = null", T),
        ("$body.weather.city.length = null", T),
        ("$body.weather.city[0] = null", T),
        ("NOT ($body.missing != null)", T),
        ("is_defined($body.missing)", T),
        // Objects and arrays are undefined.
        ("$body.weather != null", U),
        ("is_defined($body.weather.earlier)", F),
        // And undefined on the other side decides nothing.
        ("none != $body.missing", U),
        ("$body.missing", U),
        ("$body.missing + 1 = 1", U),
    ]);
}

/// T-ISNULL: of a body, `is_null` says whether something is there.
#[test]
fn is_null_of_the_body_is_as_in_the_original() {
    check(&[
        ("is_null($body.weather.temperature)", T),
        ("is_null($body.missing)", F),
        ("is_null($body.weather.nothing)", T),
        ("is_null($body.weather)", U),
    ]);
}

/// Content type and encoding, body, verdict.
type Case<'c> = (Option<&'c str>, Option<&'c str>, Vec<u8>, Verdict);

/// T-BODY: content type and encoding have to say what the body is.
#[test]
fn a_body_is_looked_into_only_if_it_is_said_to_be_json() {
    let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| {
        text.encode_utf16().flat_map(order).collect::<Vec<u8>>()
    };
    let utf32 =
        |text: &str| text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<u8>>();
    let text = r#"{"t":50}"#;
    let json = "application/json";
    let cases: Vec<Case<'_>> = vec![
        (Some(json), Some("utf-8"), text.into(), T),
        (Some("Application/JSON"), Some("UTF-8"), text.into(), T),
        (Some(json), Some("utf-8"), format!("\u{feff}{text}").into(), T),
        (Some(json), Some("utf-16"), utf16(text, u16::to_le_bytes), T),
        (Some(json), Some("UTF-16"), utf16(&format!("\u{feff}{text}"), u16::to_be_bytes), T),
        (Some(json), Some("utf-32"), utf32(text), T),
        (Some(json), Some("utf-16"), text.into(), U),
        (Some(json), Some("utf-32"), b"{\"t\":1}".to_vec(), U),
        (Some("application/json; charset=utf-8"), Some("utf-8"), text.into(), U),
        (Some("text/plain"), Some("utf-8"), text.into(), U),
        (None, Some("utf-8"), text.into(), U),
        (Some(json), None, text.into(), U),
        (Some(json), Some("utf8"), text.into(), U),
        (Some(json), Some("utf-8"), b"50".to_vec(), U),
        (Some(json), Some("utf-8"), b"[50]".to_vec(), U),
        (Some(json), Some("utf-8"), b"{\"t\":50".to_vec(), U),
        (Some(json), Some("utf-8"), b"{\"t\":\"\xff\"}".to_vec(), U),
        (Some(json), Some("utf-8"), Vec::new(), U),
    ];
    for (content_type, encoding, body, expected) in cases {
        let mut message = Message::from_body(body);
        for (property, value) in [
            (SystemProperty::ContentType, content_type),
            (SystemProperty::ContentEncoding, encoding),
        ] {
            if let Some(value) = value {
                message.set_system(property, value);
            }
        }
        let said = (content_type, encoding);
        assert_eq!(verdict("$body.t > 30", &message, Rules::Edge), expected, "{said:?}");
        // Not that, either.
        let inverse = verdict("NOT ($body.t > 30)", &message, Rules::Edge);
        assert_eq!(inverse == U, expected == U, "{said:?}");
    }
}

/// A body that is not asked for is not parsed.
#[test]
fn a_property_that_decides_spares_the_body() {
    struct NoBody;
    impl Subject for NoBody {
        fn property(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
            (name == "kind").then(|| "status".into())
        }
        fn system_property(&self, _: &str) -> Option<std::borrow::Cow<'_, str>> {
            None
        }
        fn body(&self) -> Option<&serde_json::Value> {
            panic!("the body was asked for")
        }
        fn twin(&self) -> Option<&serde_json::Value> {
            None
        }
    }
    for text in [
        "kind = 'alarm' AND {$body.t} > 30",
        "NOT (kind = 'status' OR {$body.t} > 30)",
        "(kind ?? {$body.t}) = 'x'",
    ] {
        assert!(!Condition::parse(text, Rules::Edge).unwrap().matches(&NoBody), "{text}");
    }
}
