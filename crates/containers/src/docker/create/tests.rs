use serde_json::{Value, json};

use super::*;
use crate::ModuleName;

fn spec(options: Value) -> ModuleSpec {
    let name: ModuleName = "tempSensor".parse().unwrap();
    ModuleSpec {
        create_options: options,
        env: [("A".to_owned(), "ours".to_owned()), ("B".to_owned(), "ours".to_owned())].into(),
        labels: [("ours".to_owned(), "1".to_owned())].into(),
        network_aliases: vec!["gateway".to_owned()],
        binds: vec![Bind::new("/data/mnt/tempSensor.sock", "/var/run/iotedge/workload.sock")],
        ..ModuleSpec::new(name, "reg.io/temp:1".parse().unwrap())
    }
}

fn merged(options: Value, allow_elevated: bool) -> Result<(Value, Vec<Notice>), RuntimeError> {
    let protected = ["/run/engine.sock".into(), "/data".into()];
    let settings = Settings {
        image: "farshore:1",
        default_args: &["sensor".to_owned()],
        network: "azure-iot-edge",
        allow_elevated,
        protected: &protected,
    };
    request(&spec(options), &settings)
}

#[test]
fn empty_options_give_the_runtimes_own() {
    for options in [json!(null), json!({}), json!({ "Env": null, "HostConfig": null })] {
        let (body, notices) = merged(options, true).unwrap();
        let expected = json!({
            "Env": ["A=ours", "B=ours"],
            "Image": "farshore:1",
            "Cmd": ["sensor"],
            "Labels": {
                "ours": "1",
                "net.azure-devices.edge.original-image": "reg.io/temp:1",
                "net.azure-devices.edge.owner": "Microsoft.Azure.Devices.Edge.Agent",
            },
            "HostConfig": {
                "Binds": ["/data/mnt/tempSensor.sock:/var/run/iotedge/workload.sock"],
                "NetworkMode": "azure-iot-edge",
            },
            "NetworkingConfig": { "EndpointsConfig": { "azure-iot-edge": { "Aliases": ["gateway"] } } },
        });
        assert_eq!(body, expected);
        assert_eq!(notices, []);
    }
}

#[test]
fn users_options_win_and_unknown_keys_stay() {
    let (body, _) = merged(
        json!({
            "FutureKey": { "a": [1, 2.50, "x"] },
            "Env": ["A=theirs", "B", "C=1=2"],
            "Cmd": ["own"],
            "Labels": { "theirs": "1", "ours": "0", "net.azure-devices.edge.owner": "me" },
            "HostConfig": { "FutureKey": true, "Binds": ["vol:/x"], "PortBindings": { "1/tcp": [] } },
        }),
        true,
    )
    .unwrap();
    assert_eq!(body["FutureKey"].to_string(), r#"{"a":[1,2.5,"x"]}"#);
    assert_eq!(body["Env"], json!(["A=theirs", "B", "C=1=2"]));
    assert_eq!(body["Cmd"], json!(["own"]));
    assert_eq!(body["Labels"]["theirs"], "1");
    assert_eq!(body["Labels"]["ours"], "1");
    assert_eq!(body["Labels"][LABEL_OWNER], OWNER);
    assert_eq!(body["HostConfig"]["FutureKey"], true);
    assert_eq!(body["HostConfig"]["Binds"][0], "vol:/x");
    assert_eq!(body["HostConfig"]["PortBindings"], json!({ "1/tcp": [] }));
}

#[test]
fn a_users_choice_of_network_is_kept() {
    for options in [
        json!({ "NetworkingConfig": { "EndpointsConfig": { "host": {} } } }),
        json!({ "NetworkingConfig": { "EndpointsConfig": {} } }),
        json!({ "HostConfig": { "NetworkMode": "host" } }),
        json!({ "hostconfig": { "networkmode": "none" } }),
    ] {
        let (body, _) = merged(options.clone(), true).unwrap();
        assert_eq!(body.get("NetworkingConfig"), options.get("NetworkingConfig"), "{options}");
    }
    for options in
        [json!({ "HostConfig": { "NetworkMode": "default" } }), json!({ "NetworkingConfig": {} })]
    {
        let (body, _) = merged(options, true).unwrap();
        assert_eq!(body["HostConfig"]["NetworkMode"], "azure-iot-edge");
        assert!(body["NetworkingConfig"]["EndpointsConfig"]["azure-iot-edge"].is_object());
    }
}

#[test]
fn elevated_permissions_are_kept_or_taken_and_told() {
    let options = json!({ "HostConfig": { "Privileged": true, "CapAdd": ["SYS_ADMIN"], "CapDrop": ["KILL"] } });
    let (body, notices) = merged(options.clone(), true).unwrap();
    assert_eq!(body["HostConfig"]["Privileged"], true);
    assert_eq!(notices, []);

    // Go's decoder would take these spellings too.
    let odd = json!({ "hostConfig": { "privileged": true, "CAPADD": ["SYS_ADMIN"], "capdrop": ["KILL"] } });
    for (options, named) in [(options, "Privileged"), (odd, "Privileged")] {
        let (body, notices) = merged(options, false).unwrap();
        let host = body["HostConfig"].as_object().unwrap();
        assert!(host.keys().all(|key| !key.eq_ignore_ascii_case("privileged")));
        assert!(host.keys().all(|key| !key.eq_ignore_ascii_case("capadd")));
        assert_eq!(host["CapDrop"], json!(["KILL", "CHOWN", "SETUID"]));
        let keys = vec![format!("HostConfig.{named}"), "HostConfig.CapAdd".to_owned()];
        assert_eq!(notices, [Notice::ElevatedRemoved { keys }]);
    }
    let (body, notices) =
        merged(json!({ "HostConfig": { "Privileged": false, "CapAdd": [] } }), false).unwrap();
    assert_eq!(body["HostConfig"]["CapDrop"], json!(["CHOWN", "SETUID"]));
    assert_eq!(notices, []);
}

#[test]
fn other_ways_to_power_are_refused_without_elevated_permissions() {
    for (host, keys) in [
        (json!({ "Binds": ["/:/host"] }), "HostConfig.Binds"),
        (json!({ "Binds": ["/var/run/docker.sock:/s"] }), "HostConfig.Binds"),
        (json!({ "Binds": ["/run/../run/engine.sock:/s:ro"] }), "HostConfig.Binds"),
        (json!({ "Binds": ["//etc:/e"] }), "HostConfig.Binds"),
        (json!({ "Binds": ["/var:/v"] }), "HostConfig.Binds"),
        (json!({ "Binds": ["/data/keys:/k"] }), "HostConfig.Binds"),
        (json!({ "binds": ["/dev/mem:/m"] }), "HostConfig.Binds"),
        (
            json!({ "Mounts": [{ "Type": "bind", "Source": "/proc", "Target": "/p" }] }),
            "HostConfig.Mounts",
        ),
        (
            json!({ "Mounts": [{ "type": "bind", "SOURCE": "/", "Target": "/p" }] }),
            "HostConfig.Mounts",
        ),
        (
            json!({ "Mounts": [{ "Type": "volume", "Target": "/p", "VolumeOptions": { "DriverConfig": {} } }] }),
            "HostConfig.Mounts",
        ),
        (
            json!({ "PidMode": "host", "IpcMode": "container:edgeHub" }),
            "HostConfig.PidMode, HostConfig.IpcMode",
        ),
        (json!({ "Devices": [{ "PathOnHost": "/dev/sda" }] }), "HostConfig.Devices"),
        (json!({ "SecurityOpt": ["seccomp=unconfined"] }), "HostConfig.SecurityOpt"),
        (json!({ "MaskedPaths": [] }), "HostConfig.MaskedPaths"),
        (json!({ "VolumesFrom": ["edgeHub"] }), "HostConfig.VolumesFrom"),
    ] {
        let options = json!({ "HostConfig": host });
        assert!(merged(options.clone(), true).is_ok(), "{options}");
        match merged(options.clone(), false) {
            Err(RuntimeError::Elevated { keys: refused, .. }) => {
                assert_eq!(refused, keys, "{options}");
            }
            other => panic!("{options}: {other:?}"),
        }
    }
    let harmless = json!({ "HostConfig": {
        "Binds": ["/srv/storage:/iotedge/storage", "vol:/v", "/etc/localtime:/etc/localtime:ro"],
        "Mounts": [{ "Type": "volume", "Source": "v", "Target": "/p" }],
        "SecurityOpt": ["no-new-privileges"], "PidMode": "", "Devices": [], "IpcMode": "private",
    } });
    assert!(merged(harmless, false).is_ok());
}

#[test]
fn malformed_options_are_refused_with_their_key() {
    for (options, what) in [
        (json!([]), "not a JSON object"),
        (json!({ "Env": "A=1" }), "Env is not an array of strings"),
        (json!({ "Env": [1] }), "Env is not an array of strings"),
        (json!({ "Labels": [] }), "Labels is not an object"),
        (json!({ "HostConfig": [] }), "HostConfig is not an object"),
        (json!({ "HostConfig": { "Binds": {} } }), "HostConfig.Binds is not an array of strings"),
        (
            json!({ "HostConfig": {}, "hostconfig": {} }),
            "keys \"HostConfig\" and \"hostconfig\" are the same to the engine: keep one",
        ),
        (json!({ "HostConfig": { "Privileged": false, "privileged": true } }), "keep one"),
        // Go folds U+017F to "s".
        (json!({ "Ho\u{17f}tConfig": {} }), "is not ASCII"),
        (json!({ "HostConfig": { "Privileged\u{212a}": 1 } }), "is not ASCII"),
        (json!({ "X": "y".repeat(300_000) }), "larger than 262144 bytes"),
    ] {
        for allow_elevated in [true, false] {
            let error = merged(options.clone(), allow_elevated).unwrap_err().to_string();
            assert!(error.starts_with("createOptions of module tempSensor: "), "{error}");
            assert!(error.contains(what), "{error}");
        }
    }
}
