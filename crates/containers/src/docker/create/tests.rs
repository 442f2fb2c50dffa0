use serde_json::{Value, json};

use super::*;
use crate::{HostPolicy, ModuleName};

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
    merged_by(options, allow_elevated, &HostPolicy::default())
}

fn merged_by(
    options: Value,
    allow_elevated: bool,
    policy: &HostPolicy,
) -> Result<(Value, Vec<Notice>), RuntimeError> {
    let protected = ["/run/engine.sock".into(), "/data".into()];
    // A module made this link in a directory that it may write.
    let resolve = |path: &Path| match path.strip_prefix("/srv/link") {
        Ok(below) => Path::new("/etc").join(below),
        Err(_) => path.to_owned(),
    };
    let settings = Settings {
        image: "farshore:1",
        default_args: &["sensor".to_owned()],
        network: "azure-iot-edge",
        allow_elevated,
        judge: policy::Judge { policy, protected: &protected, resolve: &resolve },
    };
    request(&spec(options), &settings)
}

/// What is refused of these options, without elevated permissions.
#[track_caller]
fn refused_by(policy: &HostPolicy, options: &Value) -> String {
    match merged_by(options.clone(), false, policy) {
        Err(RuntimeError::Elevated { keys, .. }) => keys,
        other => panic!("{options}: {other:?}"),
    }
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
    let only = "only allow_elevated_docker_permissions = true";
    let bind = |path: &str| format!("HostConfig.Binds {path:?} (allow_bind = [{path:?}])");
    let mount = |path: &str| format!("HostConfig.Mounts {path:?} (allow_bind = [{path:?}])");
    let option = |key: &str| format!("HostConfig.{key} (allow_options = [{key:?}])");
    let mode = |key: &str, value: &str, by: &str| format!("HostConfig.{key} {value:?} ({by})");
    let network = |value: &str| mode("NetworkMode", value, "allow_host_network = true");
    let mounted = |extra: Value| {
        let mut mount = json!({ "Type": "volume", "Source": "v", "Target": "/p" });
        mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "Mounts": [mount] })
    };
    for (host, keys) in [
        // The machine's files.
        (json!({ "Binds": ["/:/host"] }), format!("HostConfig.Binds \"/\" ({only})")),
        (json!({ "Binds": ["/etc:/e", "vol:/v"] }), bind("/etc")),
        (json!({ "Binds": ["//etc/../etc/shadow:/e"] }), bind("//etc/../etc/shadow")),
        (json!({ "Binds": ["/srv/link/shadow:/e:ro"] }), bind("/srv/link/shadow")),
        (json!({ "Binds": ["/var/run/docker.sock:/s"] }), bind("/var/run/docker.sock")),
        (json!({ "Binds": ["/run/podman/podman.sock:/s"] }), bind("/run/podman/podman.sock")),
        (json!({ "Binds": ["/run/../run/engine.sock:/s:ro"] }), bind("/run/../run/engine.sock")),
        (json!({ "Binds": ["/var/run:/r"] }), format!("HostConfig.Binds \"/var/run\" ({only})")),
        (json!({ "Binds": ["/var/lib/docker/volumes:/v"] }), bind("/var/lib/docker/volumes")),
        (json!({ "Binds": ["/var:/v"] }), bind("/var")),
        (json!({ "Binds": ["/data/keys:/k"] }), bind("/data/keys")),
        (json!({ "Binds": ["/home/pi:/k"] }), bind("/home/pi")),
        (json!({ "Binds": ["/home/pi/.ssh:/k"] }), bind("/home/pi/.ssh")),
        (json!({ "binds": ["/dev/mem:/m"] }), bind("/dev/mem")),
        (json!({ "Binds": ["../../etc:/e"] }), format!("HostConfig.Binds \"../../etc\" ({only})")),
        (
            json!({ "Binds": ["/srv/x:/x:rw,rshared"] }),
            format!("HostConfig.Binds \"/srv/x, with shared propagation\" ({only})"),
        ),
        (mounted(json!({ "Type": "bind", "Source": "/proc" })), mount("/proc")),
        (mounted(json!({ "Type": "bind", "Source": "/sys/fs/cgroup" })), mount("/sys/fs/cgroup")),
        (
            json!({ "Mounts": [{ "type": "bind", "SOURCE": "/root", "Target": "/p" }] }),
            mount("/root"),
        ),
        (
            mounted(
                json!({ "Type": "bind", "Source": "/srv", "BindOptions": { "Propagation": "shared" } }),
            ),
            format!("HostConfig.Mounts \"/srv, with shared propagation\" ({only})"),
        ),
        (
            mounted(
                json!({ "VolumeOptions": { "DriverConfig": { "Name": "local", "Options": { "type": "none", "o": "bind", "device": "/" } } } }),
            ),
            format!("HostConfig.Mounts \"volume with VolumeOptions.DriverConfig\" ({only})"),
        ),
        (mounted(json!({ "Source": "/etc" })), format!("HostConfig.Mounts \"/etc\" ({only})")),
        (mounted(json!({ "Type": "npipe" })), format!("HostConfig.Mounts \"npipe v\" ({only})")),
        (
            mounted(json!({ "Type": "bind", "Source": "etc" })),
            format!("HostConfig.Mounts \"bind etc\" ({only})"),
        ),
        (json!({ "VolumesFrom": ["edgeHub"] }), option("VolumesFrom")),
        (json!({ "VolumeDriver": "local-persist" }), option("VolumeDriver")),
        (json!({ "ContainerIDFile": "/etc/cron.d/x" }), option("ContainerIDFile")),
        (
            json!({ "LogConfig": { "Type": "k8s-file", "Config": { "PATH": "/etc/cron.d/x" } } }),
            option("LogConfig"),
        ),
        // The machine's namespaces, and other containers'.
        (
            json!({ "PidMode": "host", "IpcMode": "container:edgeHub" }),
            format!(
                "{}, {}",
                mode("PidMode", "host", "allow_host_pid = true"),
                mode("IpcMode", "container:edgeHub", "allow_host_ipc = true")
            ),
        ),
        (
            json!({ "PidMode": "ns:/proc/1/ns/pid" }),
            mode("PidMode", "ns:/proc/1/ns/pid", "allow_host_pid = true"),
        ),
        (json!({ "UTSMode": "host" }), mode("UTSMode", "host", "allow_options = [\"UTSMode\"]")),
        (
            json!({ "UsernsMode": "host" }),
            mode("UsernsMode", "host", "allow_options = [\"UsernsMode\"]"),
        ),
        (
            json!({ "CgroupnsMode": "host" }),
            mode("CgroupnsMode", "host", "allow_options = [\"CgroupnsMode\"]"),
        ),
        (json!({ "NetworkMode": "host" }), network("host")),
        (json!({ "NetworkMode": "container:edgeHub" }), network("container:edgeHub")),
        (
            json!({ "NetworkMode": "slirp4netns:allow_host_loopback=true" }),
            network("slirp4netns:allow_host_loopback=true"),
        ),
        // The kernel and its devices.
        (
            json!({ "Devices": [{ "PathOnHost": "/dev/sda", "PathInContainer": "/x" }] }),
            mode("Devices", "/dev/sda", "allow_devices = [\"/dev/sda\"]"),
        ),
        (json!({ "DeviceCgroupRules": ["c *:* rwm"] }), option("DeviceCgroupRules")),
        (json!({ "DeviceRequests": [{ "Count": -1 }] }), option("DeviceRequests")),
        (json!({ "CgroupParent": "/" }), option("CgroupParent")),
        (json!({ "Sysctls": { "net.ipv4.ip_forward": "1" } }), option("Sysctls")),
        (json!({ "Runtime": "own" }), option("Runtime")),
        (json!({ "Annotations": { "run.oci.handler": "x" } }), option("Annotations")),
        (json!({ "OomScoreAdj": -500 }), option("OomScoreAdj")),
        (json!({ "OomKillDisable": true }), option("OomKillDisable")),
        (json!({ "CpuRealtimeRuntime": 950_000 }), option("CpuRealtimeRuntime")),
        (json!({ "Ulimits": [{ "Name": "rtprio", "Soft": 99, "Hard": 99 }] }), option("Ulimits")),
        (json!({ "KeyOfTheFuture": { "x": 1 } }), format!("HostConfig.KeyOfTheFuture ({only})")),
    ] {
        let options = json!({ "HostConfig": host });
        assert!(merged(options.clone(), true).is_ok(), "{options}");
        assert_eq!(refused_by(&HostPolicy::default(), &options), keys, "{options}");
    }
    for unconfined in [
        json!({ "SecurityOpt": ["seccomp=unconfined"] }),
        json!({ "SecurityOpt": ["no-new-privileges", "apparmor:unconfined"] }),
        json!({ "SecurityOpt": ["systempaths=unconfined"] }),
        json!({ "SecurityOpt": ["label=disable"] }),
        json!({ "SecurityOpt": ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"] }),
        json!({ "MaskedPaths": [] }),
        json!({ "ReadonlyPaths": [] }),
    ] {
        let refused = refused_by(&HostPolicy::default(), &json!({ "HostConfig": unconfined }));
        assert!(refused.ends_with(" (allow_unconfined = true)"), "{unconfined}: {refused}");
    }
    let endpoints = json!({ "NetworkingConfig": { "EndpointsConfig": { "host": {} } } });
    assert_eq!(refused_by(&HostPolicy::default(), &endpoints), network("host"));

    let harmless = json!({ "HostConfig": {
        "Binds": [
            "/srv/storage:/iotedge/storage", "vol:/v", "/etc/localtime:/etc/localtime:ro",
            "/home/pi/data:/d:rslave",
        ],
        "Mounts": [
            { "Type": "volume", "Source": "v", "Target": "/p", "VolumeOptions": { "NoCopy": true } },
            { "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 1000 } },
            { "Type": "bind", "Source": "/srv/in", "Target": "/i", "BindOptions": { "Propagation": "rprivate" } },
        ],
        "SecurityOpt": ["no-new-privileges"], "PidMode": "", "Devices": [], "IpcMode": "private",
        "LogConfig": { "Type": "json-file", "Config": { "max-size": "10m" } },
        "Ulimits": [{ "Name": "nofile", "Soft": 4096, "Hard": 4096 }], "OomScoreAdj": 500,
        "PortBindings": { "443/tcp": [{ "HostPort": "443" }] }, "RestartPolicy": { "Name": "always" },
        "CpuRealtimeRuntime": 0, "KeyOfTheFuture": null, "Memory": 1, "Init": true,
        "NetworkMode": "my-net",
    } });
    merged(harmless, false).unwrap();
}

#[test]
fn the_devices_owner_lets_through_what_the_policy_names() {
    let policy = HostPolicy {
        bind: vec!["/etc/app".into(), "/var/run/engine.sock".into(), "/var".into()],
        devices: vec!["/dev/ttyUSB0".into(), "/dev/snd".into()],
        capabilities: ["NET_ADMIN".to_owned(), "CHOWN".to_owned()].into(),
        host_network: true,
        host_pid: true,
        host_ipc: true,
        unconfined: true,
        options: ["Sysctls".to_owned(), "UsernsMode".to_owned()].into(),
        ..HostPolicy::default()
    };
    let options = json!({
        "HostConfig": {
            "Binds": ["/etc/app/x:/x", "/run/engine.sock:/s", "/var/lib/dpkg:/d"],
            "Devices": [{ "PathOnHost": "/dev/ttyUSB0" }, { "pathonhost": "/dev/snd/timer" }],
            "NetworkMode": "host", "PidMode": "host", "IpcMode": "host", "UsernsMode": "host",
            "SecurityOpt": ["seccomp=unconfined"], "MaskedPaths": [],
            "Sysctls": { "net.core.somaxconn": "1" },
            "CapAdd": ["cap_net_admin", "SYS_ADMIN"], "Privileged": true,
        },
    });
    let (body, notices) = merged_by(options, false, &policy).unwrap();
    let host = &body["HostConfig"];
    assert_eq!(host["CapAdd"], json!(["cap_net_admin"]));
    assert_eq!(host["CapDrop"], json!(["SETUID"]));
    assert_eq!(host.get("Privileged"), None);
    let keys = vec!["HostConfig.Privileged".to_owned(), "HostConfig.CapAdd".to_owned()];
    assert_eq!(notices, [Notice::ElevatedRemoved { keys }]);

    // One name opens neither its neighbours nor what is the daemon's own.
    for (host, refused) in [
        (json!({ "Binds": ["/etc/app2:/x"] }), "Binds \"/etc/app2\" (allow_bind"),
        (json!({ "Binds": ["/etc/app/../shadow:/x"] }), "Binds"),
        (json!({ "Binds": ["/data:/x"] }), "Binds \"/data\" (allow_bind"),
        (json!({ "Devices": [{ "PathOnHost": "/dev/ttyUSB01" }] }), "Devices"),
        (json!({ "Devices": [{ "PathOnHost": "/dev/snd/../sda" }] }), "Devices"),
        (json!({ "Devices": "all" }), "Devices ("),
        (json!({ "Runtime": "own" }), "Runtime"),
    ] {
        let keys = refused_by(&policy, &json!({ "HostConfig": host }));
        assert!(keys.starts_with(&format!("HostConfig.{refused}")), "{keys}");
    }
    let privileged = HostPolicy { privileged: true, ..HostPolicy::default() };
    let options = json!({ "HostConfig": { "Privileged": true } });
    let (body, notices) = merged_by(options, false, &privileged).unwrap();
    assert_eq!((&body["HostConfig"]["Privileged"], &*notices), (&json!(true), &[][..]));
    assert_eq!(body["HostConfig"].get("CapDrop"), None);
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
