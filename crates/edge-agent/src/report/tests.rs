use host::clock::Mono;
use serde_json::json;

use super::*;
use crate::desired::Desired;
use crate::observe::Identities;
use crate::record::{Aim, Failure};
use crate::test_surroundings;

fn id(name: &str) -> ModuleId {
    name.parse().unwrap()
}

fn desired() -> Desired {
    let properties = json!({
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {
            "minDockerVersion": "v1.25",
            "registryCredentials": {"r": {"address": "a.io", "username": "u", "password": "geheim"}},
        }},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "agent:1"}},
            "edgeHub": {"type": "docker", "status": "running", "settings": {"image": "hub:1"}},
        },
        "modules": {"sensor": {
            "type": "docker", "status": "running", "restartPolicy": "always", "startupOrder": 1,
            "version": "1.0", "env": {"A": {"value": "b"}},
            "settings": {"image": "sensor", "createOptions": "{\"Tty\":true}"},
        }},
    });
    Desired { version: 7, properties: object(properties) }
}

fn deployment() -> Deployment {
    match desired().judge(&test_surroundings()) {
        Verdict::Deployment(deployment) => deployment,
        Verdict::Refused { description, .. } => panic!("{description}"),
    }
}

fn running(image: &str) -> ObservedModule {
    ObservedModule {
        status: Status::Running,
        image: image.into(),
        image_hash: Some("sha256:1".into()),
        description: Some("Up 5 seconds".into()),
        started_at: Some("2026-11-25T00:00:05Z".into()),
        ..ObservedModule::default()
    }
}

struct Device {
    deployment: Option<Deployment>,
    observation: Observation,
    records: Records,
    standings: BTreeMap<ModuleId, Standing>,
    last_desired: LastDesired,
    pulling: Pulling,
}

impl Device {
    fn new() -> Self {
        let observation = Observation {
            modules: [("$edgeHub", running("hub:1")), ("sensor", running("sensor:latest"))]
                .into_iter()
                .map(|(name, seen)| (id(name), seen))
                .collect(),
            identities: Identities::default(),
        };
        Self {
            deployment: Some(deployment()),
            observation,
            records: Records::new(),
            standings: [(id("$edgeHub"), Standing::Settled), (id("sensor"), Standing::Settled)]
                .into(),
            last_desired: LastDesired { version: Some(7), code: 200, description: String::new() },
            pulling: Pulling::new(),
        }
    }

    fn report(&self, is_ending: bool) -> Value {
        let about = About { version: "0.1.0".into(), build: "5".into(), commit: "abc".into() };
        let platform =
            Platform { os: "linux".into(), architecture: "x86_64".into(), version: "0.1.0".into() };
        Value::Object(reported(&Facts {
            about: &about,
            started_at: "2026-11-25T00:00:00Z".parse().unwrap(),
            last_desired: &self.last_desired,
            deployment: self.deployment.as_ref(),
            observation: &self.observation,
            records: &self.records,
            standings: &self.standings,
            platform: &platform,
            pulling: &self.pulling,
            is_ending,
        }))
    }

    fn fails(&mut self, name: &str, message: &str) {
        let failure = Failure {
            count: 1,
            retry_at: Mono::ZERO,
            message: message.into(),
            aim: Aim::Absent,
            fault: crate::record::Fault::Device,
        };
        self.records.entry(id(name)).or_default().failure = Some(failure);
        self.standings.insert(id(name), Standing::Failed);
    }
}

#[test]
fn the_whole_report_has_the_originals_form() {
    let report = Device::new().report(false);
    assert_eq!(
        report,
        json!({
            "schemaVersion": "1.0",
            "version": {"version": "0.1.0", "build": "5", "commit": "abc"},
            "lastDesiredVersion": 7,
            "lastDesiredStatus": {"code": 200, "description": ""},
            "runtime": {
                "type": "docker",
                "platform": {"os": "linux", "architecture": "x86_64", "version": "0.1.0"},
                "settings": {
                    "minDockerVersion": "v1.25",
                    "loggingOptions": "",
                    "registryCredentials": {"r": {"address": "a.io", "username": "u"}},
                },
            },
            "systemModules": {
                "edgeAgent": {
                    "type": "docker",
                    "settings": {"image": "agent:1", "createOptions": "{}"},
                    "imagePullPolicy": "on-create",
                    "env": {},
                    "runtimeStatus": "running",
                    "exitCode": 0,
                    "statusDescription": BUILT_IN,
                    "lastStartTimeUtc": "2026-11-25T00:00:00.0000000Z",
                    "lastExitTimeUtc": "0001-01-01T00:00:00Z",
                },
                "edgeHub": {
                    "type": "docker",
                    "status": "running",
                    "restartPolicy": "always",
                    "imagePullPolicy": "on-create",
                    "startupOrder": 4_294_967_295_u32,
                    "version": "",
                    "env": {},
                    "settings": {"image": "hub:1", "createOptions": "{}", "imageHash": "sha256:1"},
                    "runtimeStatus": "running",
                    "statusDescription": "Up 5 seconds",
                    "exitCode": 0,
                    "lastStartTimeUtc": "2026-11-25T00:00:05Z",
                    "lastExitTimeUtc": "0001-01-01T00:00:00Z",
                    "restartCount": 0,
                    "lastRestartTimeUtc": "0001-01-01T00:00:00Z",
                },
            },
            "modules": {"sensor": {
                "type": "docker",
                "status": "running",
                "restartPolicy": "always",
                "imagePullPolicy": "on-create",
                "startupOrder": 1,
                "version": "1.0",
                "env": {"A": {"value": "b"}},
                "settings": {
                    "image": "sensor:latest", "createOptions": "{\"Tty\":true}", "imageHash": "sha256:1",
                },
                "runtimeStatus": "running",
                "statusDescription": "Up 5 seconds",
                "exitCode": 0,
                "lastStartTimeUtc": "2026-11-25T00:00:05Z",
                "lastExitTimeUtc": "0001-01-01T00:00:00Z",
                "restartCount": 0,
                "lastRestartTimeUtc": "0001-01-01T00:00:00Z",
            }},
        })
    );
    assert!(!report.to_string().contains("geheim"));
}

#[test]
fn what_is_not_there_says_why() {
    let mut device = Device::new();
    device.observation.modules.clear();
    device.fails("sensor", "pull image: no such image");
    device.standings.insert(id("$edgeHub"), Standing::Queued);
    let report = device.report(false);
    let sensor = &report["modules"]["sensor"];
    assert_eq!(sensor["runtimeStatus"], "failed");
    assert_eq!(sensor["statusDescription"], "pull image: no such image");
    let hub = &report["systemModules"]["edgeHub"];
    assert_eq!(hub["runtimeStatus"], "unknown");
    assert_eq!(hub["statusDescription"], "waits for modules with a lower startupOrder");
}

#[test]
fn an_image_on_its_way_is_told() {
    let mut device = Device::new();
    let progress = "1.5 of 2.0 MB, 1 of 3 layers";
    device.pulling = [(id("sensor"), None), (id("$edgeHub"), Some(progress.into()))].into();
    device.observation.modules.remove(&id("sensor"));
    device.standings.insert(id("sensor"), Standing::Working);
    let report = device.report(false);
    assert_eq!(report["modules"]["sensor"]["statusDescription"], "its image is being pulled");
    let hub = &report["systemModules"]["edgeHub"];
    assert_eq!(hub["runtimeStatus"], "running");
    assert_eq!(
        hub["statusDescription"],
        format!("Up 5 seconds; its next image is being pulled: {progress}")
    );
}

#[test]
fn back_off_is_told_and_so_is_the_end() {
    let mut device = Device::new();
    device.standings.insert(id("sensor"), Standing::BackOff);
    let sensor = device.observation.modules.get_mut(&id("sensor")).unwrap();
    (sensor.status, sensor.exit_code) = (Status::Failed, Some(139));
    device.records.entry(id("sensor")).or_default().kept.restart_count = 3;
    let report = device.report(false);
    let sensor = &report["modules"]["sensor"];
    assert_eq!((&sensor["runtimeStatus"], &sensor["exitCode"]), (&json!("backoff"), &json!(139)));
    assert_eq!(sensor["restartCount"], 3);

    device.last_desired = device.last_desired.ending();
    let report = device.report(true);
    assert_eq!(report["lastDesiredStatus"]["code"], 406);
    assert_eq!(report["modules"]["sensor"]["runtimeStatus"], "unknown");
    assert_eq!(report["systemModules"]["edgeAgent"]["runtimeStatus"], "unknown");
}

#[test]
fn the_status_is_200_only_when_everything_ran() {
    let verdict = Verdict::Deployment(deployment());
    let before = LastDesired { version: Some(6), code: 200, description: String::new() };
    let mut device = Device::new();
    let next = |device: &Device, identities: Option<&str>| {
        let next = before.next(&verdict, &device.standings, &device.records, identities);
        (next.version.unwrap(), next.code, next.description)
    };
    assert_eq!(next(&device, None), (7, 200, String::new()));
    // Restarts are the module's matter, not the deployment's.
    device.standings.insert(id("sensor"), Standing::BackOff);
    assert_eq!(next(&device, None), (7, 200, String::new()));
    // Nothing is claimed while work is under way.
    for standing in [Standing::Working, Standing::Queued] {
        device.standings.insert(id("sensor"), standing);
        assert_eq!(next(&device, None), (6, 200, String::new()));
    }
    device.fails("sensor", "pull image: no such image");
    device.standings.insert(id("$edgeHub"), Standing::NoIdentity);
    assert_eq!(
        next(&device, Some("the hub is away")),
        (7, 500, "$edgeHub: the hub is away; sensor: pull image: no such image".into())
    );
}

#[test]
fn a_refused_manifest_is_told_while_the_old_one_runs() {
    let before = LastDesired { version: Some(7), code: 200, description: String::new() };
    let verdict =
        Verdict::Refused { version: 8, code: 400, description: "modules.x is bad".into() };
    let device = Device::new();
    let next = before.next(&verdict, &device.standings, &device.records, None);
    assert_eq!(
        next,
        LastDesired { version: Some(8), code: 400, description: "modules.x is bad".into() }
    );
}

#[test]
fn a_report_too_large_for_a_twin_leaves_out_what_the_manifest_says() {
    let mut desired = desired();
    let long = json!({"Labels": {"x": "y".repeat(31 * 1024)}}).to_string();
    desired.properties["modules"]["sensor"]["settings"]["createOptions"] = long.into();
    let Verdict::Deployment(deployment) = desired.judge(&test_surroundings()) else { panic!() };
    let mut device = Device::new();
    device.deployment = Some(deployment);
    let report = device.report(false);
    assert!(report.to_string().len() < REPORT_BYTES_MAX);
    assert_eq!(
        report["modules"]["sensor"]["settings"],
        json!({"image": "sensor:latest", "imageHash": "sha256:1"})
    );
}

#[test]
fn differences_are_merge_patches() {
    for (from, to, patch) in [
        (json!({}), json!({"a": 1}), json!({"a": 1})),
        (json!({"a": 1, "$version": 3}), json!({"a": 1}), json!({})),
        (json!({"a": 1}), json!({}), json!({"a": null})),
        (
            json!({"m": {"x": {"s": 1, "t": 2}, "y": {}}}),
            json!({"m": {"x": {"s": 1, "t": 3}}}),
            json!({"m": {"y": null, "x": {"t": 3}}}),
        ),
        (json!({"m": {"a": 1, "b": 2}}), json!({"m": {"b": 2, "a": 1}}), json!({})),
        (json!({"a": 1}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
        (json!({"a": {"b": 1}}), json!({"a": 1}), json!({"a": 1})),
        (json!({"a": [1, 2]}), json!({"a": [1]}), json!({"a": [1]})),
    ] {
        let (from, to) = (object(from), object(to));
        let made = diff(&from, &to);
        assert_eq!(made, object(patch));
        let mut result = from.clone();
        result.shift_remove("$version");
        crate::desired::merge(&mut result, &made);
        assert_eq!(result, to, "the patch leads there");
    }
}
