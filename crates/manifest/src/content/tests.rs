use serde_json::{Value, json};

use super::*;

/// The deployment that the guide's walk sets.
const MANIFEST: &str = include_str!("../../fixtures/simulated-temperature-sensor.json");

fn manifest() -> Object {
    model::twin::parse_object(MANIFEST.as_bytes()).unwrap()
}

fn plan(content: Value) -> Result<Vec<TwinReplacement>, ContentError> {
    plan_apply(content.as_object().unwrap())
}

fn refused(content: Value) -> String {
    plan(content).expect_err("it was taken").to_string()
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn a_whole_manifest_replaces_three_twins() {
    let plan = plan_apply(&manifest()).unwrap();
    let modules: Vec<&str> = plan.iter().map(|change| change.module.as_str()).collect();
    assert_eq!(modules, ["$edgeAgent", "$edgeHub", "SimulatedTemperatureSensor"]);
    assert!(plan.iter().all(|change| change.desired.set.is_empty()));
    let current = object(json!({"SendData": false, "byHand": 1}));
    assert_eq!(
        plan[2].resulting_desired(&current).unwrap(),
        object(json!({"SendData": true, "SendInterval": 5})),
        "the section is put, not merged"
    );
}

#[test]
fn dotted_keys_write_subtrees() {
    let plan = plan(json!({"modulesContent": {"m": {
        "properties.desired.a.b.c": 1,
        "properties.desired.a": {"b": {"x": 0}},
        "properties.desired.gone": null,
        "properties.desired.gone2.deep": null,
        "properties.desired.scalar.now": "object",
    }}}))
    .unwrap();
    let current = object(json!({"a": {"old": 1}, "gone": 1, "scalar": 5, "kept": true}));
    assert_eq!(
        plan[0].resulting_desired(&current).unwrap(),
        object(json!({
            "a": {"b": {"x": 0, "c": 1}},
            "scalar": {"now": "object"},
            "kept": true,
        }))
    );
}

#[test]
fn dotted_keys_come_after_the_whole_section() {
    let plan = plan(json!({"modulesContent": {"m": {
        "properties.desired.a": 2,
        "properties.desired": {"a": 1, "b": 1},
    }}}))
    .unwrap();
    assert_eq!(plan[0].resulting_desired(&Object::new()).unwrap(), object(json!({"a": 2, "b": 1})));
}

#[test]
fn a_layer_is_checked_with_what_it_lies_on() {
    let layer = plan(json!({"modulesContent": {
        "$edgeHub": {"properties.desired.routes.extra": "FROM /messages/* INTO nowhere"},
        "$edgeAgent": {"properties.desired.modules.extra": {
            "type": "docker", "status": "running", "settings": {"image": "extra:1"},
        }},
    }}))
    .unwrap();
    let base = plan_apply(&manifest()).unwrap();
    let agent = layer[0].resulting_desired(base[0].desired.replace.as_ref().unwrap()).unwrap();
    assert_eq!(AgentConfig::parse(&agent).unwrap().modules.len(), 2);
    let error = layer[1].resulting_desired(base[1].desired.replace.as_ref().unwrap());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("modulesContent.$edgeHub: routes.extra: nowhere"),
    );
}

#[test]
fn bad_content_is_refused_with_its_place() {
    let mut bad_image = Value::Object(manifest());
    bad_image["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["SimulatedTemperatureSensor"]
        ["settings"]["image"] = "x;rm -rf".into();
    for (content, expected) in [
        (json!({}), "modulesContent is missing; send {\"modulesContent\""),
        (json!({"modulesContent": []}), "modulesContent is an array; it has to be an object"),
        (json!({"modulesContent": {}}), "modulesContent names no module; add $edgeAgent"),
        (
            json!({"deviceContent": {"properties.desired.a": 1}}),
            "deviceContent cannot be applied to one edge device",
        ),
        (
            json!({"modulesContent": {"a/b": {"properties.desired": {}}}}),
            "modulesContent.a/b is not a module id",
        ),
        (json!({"modulesContent": {"m": 5}}), "modulesContent.m is a number"),
        (
            json!({"modulesContent": {"m": {"properties.desired": "x"}}}),
            "modulesContent.m.properties.desired is a text; it has to be an object",
        ),
        (
            json!({"modulesContent": {"m": {"properties.desired": null}}}),
            "modulesContent.m.properties.desired is null; it has to be an object",
        ),
        (
            json!({"modulesContent": {"m": {"properties.desired": {"properties.desired": {}}}}}),
            "modulesContent.m.properties.desired.properties.desired repeats the heading",
        ),
        (
            json!({"modulesContent": {"m": {"properties.desired.a..b": 1}}}),
            "modulesContent.m.properties.desired.a..b is not a path",
        ),
        (
            json!({"modulesContent": {"m": {"properties.reported": {}}}}),
            "modulesContent.m.properties.reported is not known here",
        ),
        (
            json!({"modulesContent": {"$edgeAgent": {"properties.desired": {}}}}),
            "modulesContent.$edgeAgent: the desired properties of $edgeAgent are empty",
        ),
        (
            bad_image,
            "modulesContent.$edgeAgent: modules.SimulatedTemperatureSensor.settings.image is \
             \"x;rm -rf\", which is not an image reference",
        ),
    ] {
        let error = refused(content);
        assert!(error.starts_with(expected), "{error}");
    }
}
