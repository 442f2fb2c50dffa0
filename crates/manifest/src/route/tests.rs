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
    ] {
        let parsed = route(text);
        assert_eq!(route(&parsed.to_string()), parsed);
    }
}

#[test]
fn a_condition_is_refused_by_name() {
    assert_eq!(
        refused("FROM /messages/* WHERE $body.temperature > 30 INTO $upstream"),
        "the condition WHERE $body.temperature > 30 is not supported by this version; remove it"
    );
    assert!(refused("FROM /messages/* WHERE TRUE INTO $upstream").contains("WHERE TRUE"));
    assert!(refused("FROM /messages/* WHERE INTO $upstream").contains("a condition after WHERE"));
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

const WORDS: [&str; 19] = [
    "SELECT",
    "FROM",
    "WHERE",
    "INTO",
    "true",
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
