//! Golden tables: configuration and source in, queues out.

use serde_json::{Value, json};

use super::*;

fn table(config: Value) -> Table {
    let Value::Object(desired) = config else { panic!("not an object") };
    Table::new(&HubConfig::parse(&desired).unwrap()).unwrap()
}

#[track_caller]
fn check(table: &Table, cases: &[(&str, &[&str])]) {
    for (source, expected) in cases {
        assert_eq!(targets(table, source, "edge1/a", &Message::default()), *expected, "{source}");
    }
}

fn targets(table: &Table, source: &str, sender: &str, message: &Message) -> Vec<String> {
    let sender = Sender {
        identity: &sender.parse().unwrap(),
        generation: &GenerationId::from_number(7),
        method: AuthMethod::ModuleSas,
        edge: &"edge1".parse().unwrap(),
    };
    let enqueued = jiff::Timestamp::UNIX_EPOCH;
    let routed = Routed {
        message,
        sender: &sender,
        enqueued,
        source: source.to_owned(),
        message_type: None,
    };
    let shown = |target: &Target| match target.time_to_live {
        Some(time) => format!("{} {}s", target.queue, time.as_secs()),
        None => format!("{} for ever", target.queue),
    };
    table.targets(&routed).iter().map(shown).collect()
}

#[test]
fn conditions_choose_among_the_routes_of_an_endpoint() {
    let table = table(json!({
        "schemaVersion": "1.1",
        "routes": {
            "hot": {
                "route": "FROM /messages/* WHERE $body.temperature > 30 INTO $upstream",
                "priority": 0,
                "timeToLiveSecs": 60
            },
            "alarm": {
                "route": "FROM /messages/* WHERE alarm = 'true' INTO $upstream",
                "priority": 1
            },
            "leaves": {
                "route": "FROM /messages/* WHERE $edgeHubOriginInterface = 'downstream' AND \
                          contains($connectionAuthMethod, 'sas') INTO $upstream",
                "priority": 2
            },
            "filter": "FROM /messages/* WHERE $connectionModuleId != 'filter' INTO \
                       BrokeredEndpoint('/modules/filter/inputs/in')"
        },
        "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 }
    }));
    let json = |body: &str| {
        Message::from_body(body.to_owned())
            .with_system(SystemProperty::ContentType, "application/json")
            .with_system(SystemProperty::ContentEncoding, "utf-8")
    };
    let mut alarm = json(r#"{"temperature":20}"#);
    alarm.set_property("alarm", "true");
    let unsaid = Message::from_body(r#"{"temperature":31}"#);
    let filter = "last/filter/in 7200s";
    let cases: &[(&str, &Message, &[&str])] = &[
        ("edge1/a", &json(r#"{"temperature":31}"#), &["0/upstream 60s", filter]),
        ("edge1/a", &json(r#"{"temperature":30}"#), &[filter]),
        ("edge1/a", &unsaid, &[filter]),
        ("edge1/a", &alarm, &["1/upstream 7200s", filter]),
        ("edge1/filter", &alarm, &["1/upstream 7200s"]),
        ("edge1/filter", &json(r#"{"temperature":"high"}"#), &["0/upstream 60s"]),
        // A device has no module id: undefined is not unequal.
        ("leaf", &unsaid, &["2/upstream 7200s"]),
        ("leaf/m", &unsaid, &["2/upstream 7200s", filter]),
    ];
    for (sender, message, expected) in cases {
        let found = targets(&table, "/messages/", sender, message);
        assert_eq!(found, *expected, "{sender} {:?}", message.body);
    }
}

#[test]
fn every_endpoint_gets_one_copy_by_its_best_route() {
    let table = table(json!({
        "schemaVersion": "1.1",
        "routes": {
            "all": "FROM /messages/* INTO $upstream",
            "urgent": {
                "route": "FROM /messages/modules/a/outputs/alarm INTO $upstream",
                "priority": 0,
                "timeToLiveSecs": 60
            },
            "same": { "route": "FROM /messages/modules/a/* INTO $upstream", "priority": 3 },
            "b": "FROM /messages/modules/a/outputs/* INTO BrokeredEndpoint(\"/modules/b/inputs/in\")",
            "b2": "FROM /messages/modules/a/outputs/* INTO BrokeredEndpoint(\"/modules/b/inputs/other\")"
        },
        "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 }
    }));
    check(
        &table,
        &[
            ("/messages/", &["last/upstream 7200s"]),
            ("/messages/modules/ab/", &["last/upstream 7200s"]),
            ("/messages/modules/a/", &["3/upstream 7200s"]),
            (
                "/messages/modules/a/outputs/alarm/",
                &["0/upstream 60s", "last/b/in 7200s", "last/b/other 7200s"],
            ),
            (
                "/messages/modules/A/outputs/x/",
                &["3/upstream 7200s", "last/b/in 7200s", "last/b/other 7200s"],
            ),
            ("/twinChangeNotifications/", &[]),
        ],
    );
    let queues: Vec<String> = table.queues().iter().map(ToString::to_string).collect();
    assert_eq!(queues, ["0/upstream", "3/upstream", "last/upstream", "last/b/in", "last/b/other"]);
}

#[test]
fn without_a_route_a_message_goes_nowhere() {
    let table = table(json!({
        "schemaVersion": "1.0",
        "routes": { "one": "FROM /messages/modules/a/outputs/o INTO $upstream" },
        "storeAndForwardConfiguration": { "timeToLiveSecs": -1 }
    }));
    check(
        &table,
        &[
            ("/messages/", &[]),
            ("/messages/modules/a/", &[]),
            ("/messages/modules/a/outputs/o/", &["last/upstream for ever"]),
        ],
    );
}

#[test]
fn the_source_comes_from_the_sender_and_its_output() {
    let edge: model::DeviceId = "edge1".parse().unwrap();
    for (sender, output, source) in [
        ("leaf", None, "/messages/"),
        ("leaf", Some("o"), "/messages/"),
        ("leaf/m", Some("o"), "/messages/"),
        ("edge1", None, "/messages/"),
        ("edge1/m", None, "/messages/modules/m/"),
        ("edge1/m", Some(""), "/messages/modules/m/"),
        ("edge1/m", Some("o"), "/messages/modules/m/outputs/o/"),
    ] {
        assert_eq!(
            source_of(&sender.parse().unwrap(), &edge, output),
            source,
            "{sender} {output:?}"
        );
    }
}

#[test]
fn names_of_queues_read_back() {
    for text in ["last/upstream", "0/upstream", "9/b/in", "last/upstream/upstream", "last/m#1/a/b"]
    {
        assert_eq!(text.parse::<Queue>().unwrap().to_string(), text);
    }
    for text in ["", "upstream", "10/upstream", "x/upstream", "0/other", "parked/edge1/m", "dead"] {
        assert_eq!(text.parse::<Queue>(), Err(NotAQueue), "{text}");
    }
}

#[test]
fn an_input_with_too_long_a_name_is_refused_by_the_routes_name() {
    let long = "i".repeat(101);
    let Value::Object(desired) = json!({
        "schemaVersion": "1.0",
        "routes": { "long": format!("FROM /* INTO BrokeredEndpoint(\"/modules/b/inputs/{long}\")") }
    }) else {
        unreachable!()
    };
    let error = Table::new(&HubConfig::parse(&desired).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "routes.long: the input's name has 101 bytes; at most 100 are allowed"
    );
}
