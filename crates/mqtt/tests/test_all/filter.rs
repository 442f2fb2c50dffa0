//! Filters select what §4.7 says they select.

use mqtt::filter::matches;
use mqtt::{Filter, Topic};
use proptest::prelude::*;

#[track_caller]
fn check(filter: &str, selected: &[&str], others: &[&str]) {
    let filter: Filter = filter.parse().unwrap();
    for topic in selected {
        assert!(filter.matches(topic), "{filter} should select {topic}");
    }
    for topic in others {
        assert!(!filter.matches(topic), "{filter} should not select {topic}");
    }
}

#[test]
fn examples_of_the_specification() {
    check(
        "sport/tennis/player1/#",
        &[
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player1/score/wimbledon",
        ],
        &["sport/tennis/player10", "sport/tennis"],
    );
    check("sport/#", &["sport", "sport/", "sport/a/b"], &["sports", "/sport"]);
    check(
        "sport/tennis/+",
        &["sport/tennis/player1", "sport/tennis/"],
        &["sport/tennis/player1/ranking", "sport/tennis"],
    );
    check("sport/+", &["sport/"], &["sport"]);
    check("+", &["finance"], &["/finance", "$SYS"]);
    check("/+", &["/finance"], &["finance"]);
    check("+/+", &["/finance"], &["finance", "a/b/c"]);
    check("#", &["a", "a/b", "/"], &["$SYS", "$iothub/twin/res/200/?$rid=1"]);
    check("+/monitor/Clients", &["x/monitor/Clients"], &["$SYS/monitor/Clients"]);
    check("$SYS/#", &["$SYS", "$SYS/a"], &["SYS/a"]);
    check("$SYS/monitor/+", &["$SYS/monitor/Clients"], &[]);
    check("+/tennis/#", &["a/tennis", "a/tennis/b"], &["tennis", "a/b/tennis"]);
    check("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "ACCOUNTS/"]);
    check("a//b", &["a//b"], &["a/b", "a/x/b"]);
    check("a/+/b", &["a//b", "a/x/b"], &["a/b"]);
}

#[test]
fn iot_hub_filters() {
    check(
        "devices/d/messages/devicebound/#",
        &["devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd", "devices/d/messages/devicebound"],
        &["devices/d2/messages/devicebound/x", "devices/d/messages/events/"],
    );
    check(
        "$iothub/methods/POST/#",
        &["$iothub/methods/POST/reboot/?$rid=1f"],
        &["$iothub/methods/res/200"],
    );
}

/// The rule said again, slowly: a `#` at the end, else level by level.
fn matches_by_definition(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let (wanted, open) = match filter.split_last() {
        Some((&"#", wanted)) => (wanted, true),
        _ => (&filter[..], false),
    };
    let fits = wanted.iter().zip(&topic).all(|(wanted, level)| *wanted == "+" || wanted == level);
    let long_enough = topic.len() >= wanted.len();
    fits && long_enough && (open || topic.len() == wanted.len())
}

proptest! {
    #[test]
    fn as_defined(filter in "[ab$+/]{1,6}(/#)?|#", topic in "[ab$/]{1,8}") {
        if let Ok(filter) = filter.parse::<Filter>() {
            prop_assert_eq!(matches(&filter, &topic), matches_by_definition(&filter, &topic));
        }
    }

    #[test]
    fn a_topic_selects_itself(topic in "[a-z$/%=]{1,30}") {
        let filter: Filter = topic.parse().unwrap();
        let topic = Topic::new(topic).unwrap();
        prop_assert!(filter.matches(&topic));
    }
}
