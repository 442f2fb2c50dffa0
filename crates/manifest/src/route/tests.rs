use super::source::{DEVICE_MESSAGES, TWIN_CHANGES, module_messages, module_output};
use super::*;

fn route(text: &str) -> Route {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    match text.parse::<Route>() {
        Ok(route) => panic!("{text} was taken as {route}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn sources_are_prefixes_in_any_case() {
    let sensor = module_output("sensor", "temperatureOutput");
    let plain = module_messages("sensor");
    let cases: &[(&str, &str, bool)] = &[
        ("FROM /* INTO $upstream", DEVICE_MESSAGES, true),
        ("FROM /* INTO $upstream", TWIN_CHANGES, true),
        ("FROM /* INTO $upstream", &sensor, true),
        ("FROM /messages/* INTO $upstream", DEVICE_MESSAGES, true),
        ("FROM /messages/* INTO $upstream", &sensor, true),
        ("FROM /messages/* INTO $upstream", TWIN_CHANGES, false),
        ("FROM /messages INTO $upstream", &sensor, true),
        ("FROM /twinChangeNotifications INTO $upstream", TWIN_CHANGES, true),
        ("FROM /messages/modules/SENSOR/outputs/temperatureoutput INTO $upstream", &sensor, true),
        ("FROM /messages/modules/sensor/* INTO $upstream", &plain, true),
        ("FROM /messages/modules/sensor/* INTO $upstream", &sensor, true),
        ("FROM /messages/modules/sensor/outputs/* INTO $upstream", &plain, false),
        ("FROM /messages/modules/sens INTO $upstream", &sensor, false),
        ("FROM /messages/modules/*/outputs/temperatureOutput INTO $upstream", &sensor, false),
        ("FROM /messages/modules/* INTO $upstream", DEVICE_MESSAGES, false),
    ];
    for (text, source, expected) in cases {
        assert_eq!(route(text).matches(source), *expected, "{text} on {source}");
    }
    assert!(!route("FROM /messages INTO $upstream").matches("/messagesä/"));
    assert!(!route("FROM /messages INTO $upstream").matches(""));
}

#[test]
fn sinks_are_upstream_or_an_input() {
    for text in [
        "FROM /messages/* INTO $upstream",
        "select * from /messages/* into $UPSTREAM",
        "  SELECT\t*\nFROM /messages/* WHERE true INTO $upstream ",
        "/* all of it */ FROM /messages INTO $upstream",
    ] {
        assert_eq!(route(text).sink(), &Sink::Upstream, "{text}");
    }
    for text in [
        "FROM /messages/* INTO BrokeredEndpoint(\"/modules/filter/inputs/in1\")",
        "FROM /messages/* INTO brokeredendpoint('/modules/filter/inputs/in1')",
        "FROM /messages/* INTO BrokeredEndpoint ( \"x/filter/y/in1/\" )",
        r#"FROM /messages/* INTO BrokeredEndpoint("/modules/filter/inputs/in\u0031")"#,
    ] {
        let Sink::ModuleInput { module, input } = route(text).sink().clone() else {
            panic!("{text}");
        };
        assert_eq!((module.as_str(), input.as_str()), ("filter", "in1"), "{text}");
    }
}

#[test]
fn a_route_reads_back_from_its_text() {
    for text in [
        "FROM /messages/* INTO $upstream",
        "FROM /* INTO $upstream",
        "FROM /messages/modules/a INTO BrokeredEndpoint(\"/modules/b/inputs/c\")",
        "FROM /messages/* WHERE a = 'x' AND $body.b[0] > 3 INTO $upstream",
        r#"FROM /messages INTO BrokeredEndpoint('/modules/b/inputs/a "quoted" one \\ or two')"#,
    ] {
        let parsed = route(text);
        assert_eq!(route(&parsed.to_string()), parsed);
    }
}

#[test]
fn conditions_are_parsed_and_kept() {
    let with = route("FROM /messages/* WHERE $body.temperature > 30 INTO $upstream");
    assert_eq!(with.condition().map(Condition::text), Some("$body.temperature > 30"));
    assert_eq!(with.sink(), &Sink::Upstream);
    let text = "FROM /messages/* WHERE a='INTO'||'x' OR \"b\" = 'WHERE' into BrokeredEndpoint('/modules/m/inputs/i')";
    assert_eq!(route(text).condition().unwrap().text(), "a='INTO'||'x' OR \"b\" = 'WHERE'");
    let commented = route("FROM /a /* WHERE */ WHERE /* INTO */ a = 'x' INTO $upstream");
    assert_eq!(commented.condition().unwrap().text(), "/* INTO */ a = 'x'");
    assert_eq!(route("FROM /messages/* WHERE true INTO $upstream").condition(), None);
    assert_ne!(with, route("FROM /messages/* INTO $upstream"));
}

/// er §9, T-ROUTE-TYPE, and §10, 14: types are checked before anything is reported.
#[test]
fn a_wrong_condition_is_refused_at_its_place() {
    for (text, says) in [
        (
            "FROM /messages/* WHERE temperature > 30 INTO $upstream",
            "the condition is wrong at character 24: > compares a text with a number; \
             write as_number(temperature)",
        ),
        (
            "FROM /ä/* WHERE TRUE INTO $upstream",
            "the condition is wrong at character 17: this is a text, and a condition is true or \
             false; write true in lower case",
        ),
        (
            "FROM /messages/* WHERE INTO $upstream",
            "the condition is wrong at character 24: there is no condition; write one, such as \
             level = 'high', or true for all messages",
        ),
        (
            "FROM /messages/* WHERE a = 'x INTO $upstream",
            "the condition is wrong at character 28: the text that begins here has no closing \
             quote",
        ),
        (
            "FROM /messages/* WHERE foo(1) INTO $upstream",
            "the condition is wrong at character 24: foo is not a function",
        ),
        ("FROM /a WHERE a = 'x'", "expected INTO at character 22, found the end"),
        ("FROM /a INTO $upstream WHERE", "expected the end of the route at character 24"),
        ("FROM /a WHERE a = 'x' INTO nowhere", "nowhere is not a sink"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(says), "{text}: {error}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("", "the route is empty; write FROM <source> INTO <sink>"),
        ("SELECT FROM /a INTO $upstream", "expected * after SELECT at character 8, found FROM"),
        ("INTO $upstream", "expected FROM at character 1, found INTO"),
        ("FROM messages INTO $upstream", "expected a source such as /messages/* at character 6"),
        ("FROM / INTO $upstream", "expected INTO at character 13, found $upstream"),
        ("FROM /a/ (", "expected a name or * after / at character 10, found '('"),
        ("FROM /a", "expected INTO at character 8, found the end"),
        ("FROM /a INTO", "expected a sink such as $upstream at character 13, found the end"),
        ("FROM /a INTO $twin", "$twin is not a sink"),
        ("FROM /a INTO Device(\"x\")", "Device is not a sink"),
        ("FROM /a INTO BrokeredEndpoint(\"/modules/b\")", "\"/modules/b\" does not name an input"),
        ("FROM /a INTO BrokeredEndpoint(\"/modules/b c/inputs/d\")", "does not name an input"),
        ("FROM /a INTO BrokeredEndpoint(x)", "expected a quoted text"),
        ("FROM /a INTO BrokeredEndpoint(\"/m/b/i/c\"", "expected ) after the endpoint"),
        ("FROM /a INTO BrokeredEndpoint(\"/m/b/i/c", "the text that begins at character 31"),
        ("FROM /a INTO $upstream x", "expected the end of the route at character 24, found x"),
        ("FROM /a/* INTO $upstream */", "expected INTO"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(expected) || error.contains(expected), "{text}: {error}");
    }
    assert_eq!(refused(&format!("FROM /{} INTO $upstream", "a".repeat(5000))), {
        "the route is longer than 4096 bytes"
    });
}

proptest::proptest! {
    /// Whatever stands in a route, it is read or refused; what is read has a text that reads back.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = text.parse::<Route>();
    }

    #[test]
    fn any_row_of_words_is_read_or_refused(
        words in proptest::collection::vec(
            proptest::sample::select(WORDS.to_vec()), 0..14,
        )
    ) {
        if let Ok(parsed) = words.concat().parse::<Route>() {
            proptest::prop_assert_eq!(parsed.to_string().parse::<Route>(), Ok(parsed));
        }
    }
}

const WORDS: [&str; 24] = [
    "SELECT",
    "FROM",
    "WHERE",
    "INTO",
    "true",
    "a",
    "=",
    "'x'",
    "||",
    "is_defined(b)",
    " ",
    " ",
    " ",
    "*",
    "/",
    "/*",
    "*/",
    "/messages",
    "/modules/ä",
    "$upstream",
    "BrokeredEndpoint",
    "(\"/modules/b/inputs/c\")",
    "\"",
    "\\u00",
];
