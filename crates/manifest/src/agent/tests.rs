use serde_json::{Value, json};

use super::*;

fn parse(desired: &Value) -> Result<AgentConfig, AgentConfigError> {
    AgentConfig::parse(desired.as_object().unwrap())
}

/// A small deployment with one module; tests change parts of it.
fn deployment(module: Value) -> Value {
    json!({
        "$version": 7,
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "agent:1"}},
            "edgeHub": {"type": "docker", "status": "running", "settings": {"image": "hub:1"}},
        },
        "modules": {"mod": module},
    })
}

fn small() -> Value {
    json!({"type": "docker", "status": "running", "settings": {"image": "x"}})
}

fn module(value: Value) -> ModuleConfig {
    parse(&deployment(value)).unwrap().modules[&"mod".parse::<ModuleId>().unwrap()].clone()
}

fn with(path: &[&str], value: Value) -> Value {
    let mut desired = deployment(small());
    let mut place = &mut desired;
    for name in path {
        place = &mut place[*name];
    }
    *place = value;
    desired
}

#[test]
fn the_fixture_is_a_deployment() {
    let content: Value =
        serde_json::from_str(include_str!("../../fixtures/simulated-temperature-sensor.json"))
            .unwrap();
    let config = parse(&content["modulesContent"]["$edgeAgent"]["properties.desired"]).unwrap();
    assert_eq!(config.schema_version.to_string(), "1.1");
    assert_eq!(config.edge_agent.as_ref().unwrap().env["storageFolder"], "/tmp/storage");
    let hub = config.edge_hub.as_ref().unwrap();
    assert_eq!((hub.startup_order, hub.restart_policy), (0, RestartPolicy::Always));
    assert_eq!(hub.create_options["HostConfig"]["PortBindings"]["8883/tcp"][0]["HostPort"], "8883");
    let names: Vec<String> = config.all_modules().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["$edgeHub", "SimulatedTemperatureSensor"]);
}

#[test]
fn what_is_left_out_has_a_default() {
    assert_eq!(
        module(small()),
        ModuleConfig {
            kind: ModuleKind::Docker,
            image: "x:latest".parse().unwrap(),
            create_options: json!({}),
            env: Env::new(),
            status: ModuleStatus::Running,
            restart_policy: RestartPolicy::OnUnhealthy,
            pull_policy: PullPolicy::OnCreate,
            startup_order: u32::MAX,
            version: String::new(),
        }
    );
    let config = parse(&deployment(small())).unwrap();
    assert_eq!(config.edge_hub.unwrap().restart_policy, RestartPolicy::Always);
}

#[test]
fn reading_is_lenient_as_the_originals() {
    let config = module(json!({
        "Type": "Docker", "STATUS": "Stopped", "restartpolicy": "ON-FAILURE",
        "imagePullPolicy": "Never", "startupOrder": "3", "version": 1.5, "unknown": [],
        "env": {"A": {"value": 5}, "B": {"Value": true}, "gone": null},
        "settings": {"Image": "x:1", "CREATEOPTIONS": "{\"Hostname\":null,\"Tty\":true}"},
    }));
    assert_eq!(config.status, ModuleStatus::Stopped);
    assert_eq!(config.restart_policy, RestartPolicy::OnFailure);
    assert_eq!(config.pull_policy, PullPolicy::Never);
    assert_eq!((config.startup_order, config.version.as_str()), (3, "1.5"));
    assert_eq!(config.env, Env::from([("A".into(), "5".into()), ("B".into(), "true".into())]));
    assert_eq!(config.create_options, json!({"Tty": true}));
}

#[test]
fn create_options_are_joined_and_cut_again() {
    let options = json!({"Labels": {"long": "ä".repeat(1200)}});
    let parts = chunked(&options);
    let names: Vec<&String> = parts.keys().collect();
    assert_eq!(names, ["createOptions", "createOptions01", "createOptions02"]);
    let mut settings = parts;
    settings.insert("image".into(), "x".into());
    // Order in the document does not matter, nor does case.
    let last = settings.shift_remove("createOptions02").unwrap();
    settings.shift_insert(0, "CreateOptions02".into(), last);
    let mut value = small();
    value["settings"] = Value::Object(settings);
    assert_eq!(module(value).create_options, options);
    assert_eq!(chunked(&json!({})), *json!({"createOptions": "{}"}).as_object().unwrap());
}

#[test]
fn bad_create_options_name_the_part() {
    let path = "modules.mod.settings.";
    for (settings, expected) in [
        (json!({"createOptions": "{"}), "createOptions is not JSON"),
        (
            json!({"createOptions": "[]"}),
            "createOptions holds an array; it has to be a JSON object",
        ),
        (json!({"createOptions": 5}), "createOptions is a number; it has to be a text"),
        (json!({"createOptions01": "{}"}), "createOptions is missing, but a later part is there"),
        (
            json!({"createOptions": "{", "createOptions02": "}"}),
            "createOptions01 is missing, but a later part is there",
        ),
        (json!({"createOptions": "{}", "createOptions00": ""}), "createOptions00 is not a part"),
        (json!({"createOptions": "{}", "createOptions1": ""}), "createOptions1 is not a part"),
        (json!({"createOptions": "{}", "createOptions100": ""}), "createOptions100 is not a part"),
        (json!({"createOptions": "{}", "CreateOptions": "{}"}), "CreateOptions stands twice"),
        (
            json!({"createOptions": format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))}),
            "createOptions is longer than 51200 bytes",
        ),
        (
            json!({"createOptions": format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000))}),
            "createOptions is not JSON: recursion limit exceeded",
        ),
    ] {
        let mut value = small();
        value["settings"] = settings;
        value["settings"]["image"] = "x".into();
        let error = parse(&deployment(value)).unwrap_err();
        assert_eq!(error.code(), 400);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{path}{expected}")), "{text}");
    }
}

#[test]
fn errors_carry_code_path_and_fix() {
    for (desired, code, expected) in [
        (
            json!({}),
            417,
            "the desired properties of $edgeAgent are empty; set a deployment manifest",
        ),
        (json!({"$version": 1, "$metadata": {}}), 417, "the desired properties of"),
        (with(&["schemaVersion"], json!("1")), 412, "schemaVersion \"1\" is not supported"),
        (with(&["schemaVersion"], json!("1.2")), 412, "schemaVersion \"1.2\" is not supported"),
        (with(&["schemaVersion"], json!("1.0.0.0")), 412, "schemaVersion \"1.0.0.0\""),
        (with(&["schemaVersion"], json!("2.0")), 412, "schemaVersion \"2.0\" is not"),
        (with(&["schemaVersion"], Value::Null), 400, "schemaVersion is missing; add it"),
        (with(&["runtime"], Value::Null), 400, "runtime is missing; add the object"),
        (
            with(&["runtime", "type"], json!("crio")),
            400,
            "runtime.type is \"crio\"; it has to be docker",
        ),
        (with(&["systemModules"], Value::Null), 400, "systemModules is missing; add the object"),
        (
            with(&["systemModules", "edgeHub", "status"], Value::Null),
            400,
            "systemModules.edgeHub.status is missing; set running or stopped",
        ),
        (with(&["modules"], json!([])), 400, "modules is an array; it has to be an object"),
        (
            with(&["modules", "mod"], json!("x")),
            400,
            "modules.mod is a text; it has to be an object",
        ),
        (with(&["modules", "mod", "type"], Value::Null), 400, "modules.mod.type is missing"),
        (
            with(&["modules", "mod", "settings"], Value::Null),
            400,
            "modules.mod.settings is missing",
        ),
        (
            with(&["modules", "mod", "status"], json!("paused")),
            400,
            "modules.mod.status is \"paused\"; it has to be running, or stopped",
        ),
        (
            with(&["modules", "mod", "restartPolicy"], json!("sometimes")),
            400,
            "modules.mod.restartPolicy is \"sometimes\"; it has to be never, or on-failure",
        ),
        (
            with(&["modules", "mod", "startupOrder"], json!(-1)),
            400,
            "modules.mod.startupOrder is not within 0 to 4294967295",
        ),
        (
            with(&["modules", "mod", "settings", "image"], json!("--privileged")),
            400,
            "modules.mod.settings.image is \"--privileged\", which is not an image reference",
        ),
        (
            with(&["modules", "mod", "env"], json!({"A": "x"})),
            400,
            "modules.mod.env.A is a text; it has to be an object",
        ),
        (
            with(&["modules", "mod", "env"], json!({"A": {}})),
            400,
            "modules.mod.env.A.value is missing",
        ),
        (
            with(&["modules", "mod", "env"], json!({"A=B": {"value": ""}})),
            400,
            "modules.mod.env.\"A=B\" is not a variable's name",
        ),
        (
            with(&["modules", "../../etc"], small()),
            400,
            "modules.\"../../etc\" cannot name a module",
        ),
        (with(&["modules", "a"], small()), 400, "modules.\"a\" cannot name a module"),
        (
            with(&["modules", "$edgeHub"], small()),
            400,
            "modules.\"$edgeHub\" is a name of the system",
        ),
        (
            with(&["modules", "edgeHub"], small()),
            400,
            "modules.\"edgeHub\" is a name of the system",
        ),
        (
            with(
                &["runtime", "settings", "registryCredentials"],
                json!({"r": {"address": "a.io", "username": "u"}}),
            ),
            400,
            "runtime.settings.registryCredentials.r.password is missing; add it",
        ),
        (
            with(
                &["systemModules", "edgeHub", "env"],
                json!({"UpstreamProtocol": {"value": "Mqtt5"}}),
            ),
            400,
            "systemModules.edgeHub.env.UpstreamProtocol is \"Mqtt5\"; set Amqp, AmqpWs, Mqtt or \
             MqttWs, or remove it",
        ),
        (
            with(
                &["systemModules", "edgeAgent", "env"],
                json!({"upstreamprotocol": {"value": "Http"}}),
            ),
            400,
            "systemModules.edgeAgent.env.upstreamprotocol is \"Http\"",
        ),
    ] {
        let error = parse(&desired).expect_err(expected);
        let text = error.to_string();
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(error.code(), code, "{text}");
    }
    for known in ["Amqp", "amqpws", "MQTT", "MqttWs", ""] {
        let env = json!({"UpstreamProtocol": {"value": known}});
        assert!(parse(&with(&["systemModules", "edgeHub", "env"], env)).is_ok(), "{known}");
    }
}

#[test]
fn five_hundred_modules_are_refused() {
    let many = |count: usize| -> Value {
        let modules: Object = (0..count).map(|n| (format!("m{n:03}"), small())).collect();
        with(&["modules"], modules.into())
    };
    assert!(parse(&many(48)).is_ok());
    let error = parse(&many(49)).unwrap_err().to_string();
    assert!(error.contains("51 with the system modules; a device has at most 50"), "{error}");
    assert!(parse(&many(500)).is_err());
}

#[test]
fn credentials_are_found_by_registry_and_kept_out_of_debug() {
    let config = parse(&with(
        &["runtime", "settings", "registryCredentials"],
        json!({
            "a": {"address": "Acr.Azurecr.io", "username": "user", "password": "geheim"},
            "hub": {"address": "https://index.docker.io/v1/", "username": "h", "password": "geheim"},
        }),
    ))
    .unwrap();
    let user_for = |image: &str| {
        let credentials = config.runtime.credentials_for(&image.parse().unwrap());
        credentials.map(|entry| entry.username.clone())
    };
    assert_eq!(user_for("acr.azurecr.io/a/b:1").as_deref(), Some("user"));
    assert_eq!(user_for("library/x").as_deref(), Some("h"));
    assert_eq!(user_for("other.io/x"), None);
    assert_eq!(user_for("x"), None);
    assert!(!format!("{config:?}").contains("geheim"));
}
