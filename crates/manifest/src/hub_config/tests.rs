use serde_json::{Value, json};

use super::*;

fn parse(desired: Value) -> Result<HubConfig, HubConfigError> {
    HubConfig::parse(desired.as_object().unwrap())
}

fn refused(desired: Value) -> String {
    parse(desired).expect_err("it was taken").to_string()
}

fn v11(routes: Value, store: Value) -> Value {
    json!({"schemaVersion": "1.1", "routes": routes, "storeAndForwardConfiguration": store})
}

const UP: &str = "FROM /messages/* INTO $upstream";

#[test]
fn the_portals_configuration_is_read() {
    let config = parse(json!({
        "$version": 4,
        "schemaVersion": "1.0",
        "routes": {"route": UP, "blank": "  "},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
    }))
    .unwrap();
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes["route"].priority, PRIORITY_LAST);
    assert_eq!(config.routes["route"].time_to_live, None);
    assert_eq!(config.time_to_live, Some(Duration::from_secs(7200)));
}

#[test]
fn schema_1_1_mixes_texts_and_objects() {
    let config = parse(v11(
        json!({
            "plain": UP,
            "urgent": {"route": UP, "priority": 0, "timeToLiveSecs": "60"},
            "lenient": {"Route": UP, "PRIORITY": "9", "timeToLiveSecs": 0},
        }),
        json!({"timeToLiveSecs": -1, "storeLimits": {"maxSizeBytes": 1048576}}),
    ))
    .unwrap();
    assert_eq!(config.time_to_live, None);
    assert_eq!(config.store_size_bytes_max, Some(1_048_576));
    let urgent = &config.routes["urgent"];
    assert_eq!((urgent.priority, urgent.time_to_live), (0, Some(Duration::from_secs(60))));
    let lenient = &config.routes["lenient"];
    assert_eq!((lenient.priority, lenient.time_to_live), (9, None));
}

#[test]
fn sections_are_optional_in_1_0_only() {
    let config = parse(json!({"schemaVersion": "1.0"})).unwrap();
    assert!(config.routes.is_empty());
    assert_eq!(config.time_to_live, Some(TIME_TO_LIVE_DEFAULT));
    assert_eq!(refused(json!({"schemaVersion": "1.1"})), "routes is missing; add the object");
    assert_eq!(
        refused(json!({"schemaVersion": "1.2", "routes": {}})),
        "storeAndForwardConfiguration is missing; add the object"
    );
}

#[test]
fn errors_name_the_route_and_the_fix() {
    let store = json!({});
    for (desired, expected) in [
        (json!({}), "the desired properties of $edgeHub are empty; set a deployment manifest"),
        (json!({"$version": 1}), "the desired properties of $edgeHub are empty"),
        (json!({"routes": {}}), "schemaVersion is missing; add it"),
        (json!({"schemaVersion": "1"}), "schemaVersion \"1\" is not supported; use 1.0 to 1.3"),
        (json!({"schemaVersion": "1.4"}), "schemaVersion \"1.4\" is not supported"),
        (json!({"schemaVersion": "2.0"}), "schemaVersion \"2.0\" is not supported"),
        (
            json!({"schemaVersion": "1.0", "routes": {"r": {"route": UP}}}),
            "routes.r is an object; schemaVersion 1.0 has texts only, use 1.1",
        ),
        (v11(json!({" ": UP}), store.clone()), "routes.\"\" is not a route's name"),
        (v11(json!({"r": 5}), store.clone()), "routes.r is a number; it has to be a route's text"),
        (v11(json!({"r": {"priority": 1}}), store.clone()), "routes.r.route is missing; add it"),
        (
            v11(json!({"r": {"route": UP, "priority": 10}}), store.clone()),
            "routes.r.priority is 10; use 0 to 9",
        ),
        (
            v11(json!({"r": {"route": UP, "timeToLiveSecs": -5}}), store.clone()),
            "routes.r.timeToLiveSecs is not within 0 to 4294967295",
        ),
        (
            v11(json!({"r": "FROM /messages/* INTO upstream"}), store.clone()),
            "routes.r: upstream is not a sink",
        ),
        (
            v11(json!({}), json!({"timeToLiveSecs": "soon"})),
            "storeAndForwardConfiguration.timeToLiveSecs is not an integer",
        ),
        (
            v11(json!({}), json!({"storeLimits": {"maxSizeBytes": 0}})),
            "storeAndForwardConfiguration.storeLimits.maxSizeBytes has to be greater than 0",
        ),
    ] {
        let error = refused(desired.clone());
        assert!(error.starts_with(expected), "{desired}: {error}");
    }
}
