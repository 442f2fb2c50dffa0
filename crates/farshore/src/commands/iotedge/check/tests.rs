//! The checks, each with what makes it come out one way or another, and the report word by word.

use std::collections::BTreeMap;
use std::path::Path;

use edge_daemon::Config;
use iot_proto::management::{ModuleList, SystemInfo};
use serde_json::{Value, json};

use super::docker::{Container, Engine, Mount};
use super::facts::{Applied, ConfigProblem, Daemon, Expected, Facts, Hub, Life, Pair, Strength};
use super::probe::FromContainers;
use super::report::{Outcome, Paint};
use super::table::{CHECKS, Check, Judge, RETIRED};
use super::{judge, known, list_text};

/// A fresh machine with a container engine, as the guide's walk finds it (`tools.md` §0): no name
/// servers, no policy of logs, no storage on the host.
pub(super) fn fresh() -> Facts {
    let config = "hostname = 'box'\n[provisioning]\nsource = 'manual'\nconnection_string = \
                  'HostName=hub.example;DeviceId=edge1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=='\n";
    let mut module = json!({
        "id": "id", "name": "edgeHub", "type": "docker",
        "config": {"settings": {"image": "mcr.microsoft.com/azureiotedge-hub:1.5", "imageHash": "sha256:1"}},
        "status": {"runtimeStatus": {"status": "running"}},
    });
    let hub = module.clone();
    module["name"] = "edgeAgent".into();
    module["config"] = json!({"settings": {"image": "mcr.microsoft.com/azureiotedge-agent:1.5", "createOptions": {}}});
    let modules: ModuleList = serde_json::from_value(json!({"modules": [module, hub]})).unwrap();
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    Facts {
        now,
        machine: "box".into(),
        config: Ok(Config::parse(config, Path::new("config.toml")).unwrap()),
        daemon: Ok(Daemon {
            modules: modules.modules,
            info: SystemInfo { version: env!("CARGO_PKG_VERSION").into(), ..SystemInfo::default() },
        }),
        engine: Some(Ok(Engine {
            version: "28.0".into(),
            log_driver: Some("json-file".into()),
            storage_driver: Some("overlay2".into()),
            cgroup_version: Some("2".into()),
            architecture: Some("amd64".into()),
            root: Some("/var/lib/docker".into()),
            https_proxy: None,
        })),
        containers: BTreeMap::from([("edgeHub".to_owned(), Container::default())]),
        engine_settings: Ok(None),
        edge_ca_end: Some(Ok("2027-02-23T00:00:00Z".parse().unwrap())),
        hub: Some(reached()),
        from_containers: Some(FromContainers { default: Ok(reached()), modules: Ok(reached()) }),
        identity: None,
        edge_ca: None,
        trust_bundle: None,
        applied: Some(Applied { changed: now, began: now }),
        expected: Expected::default(),
        production: None,
    }
}

/// A hub that is reached at each of its ports.
fn reached() -> Hub {
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    Hub { mqtt: Ok(()), amqp: Ok(()), https: Ok(Some(now)) }
}

/// A good certificate of an authority, with its key.
pub(super) fn pair() -> Pair {
    Pair {
        certificate: "/etc/aziot/device.pem".into(),
        key: "/etc/aziot/device.key".into(),
        life: Ok(life("2030-01-01T00:00:00Z")),
        key_is_read: Ok(()),
        fit: Some(Ok(())),
        strength: Strength::P256,
    }
}

pub(super) fn life(end: &str) -> Life {
    let from = "2026-01-01T00:00:00Z".parse().unwrap();
    Life { from, end: end.parse().unwrap(), is_self_issued: false }
}

fn hub_container(facts: &mut Facts) -> &mut Container {
    facts.containers.get_mut("edgeHub").unwrap()
}

/// The outcome of one check after a change of the fresh machine.
#[track_caller]
fn check(id: &str, change: impl FnOnce(&mut Facts)) -> Outcome {
    let mut facts = fresh();
    change(&mut facts);
    let check = CHECKS.iter().find(|check| check.id == id).expect("a check of this id");
    check.outcome(&facts)
}

fn config(facts: &mut Facts) -> &mut Config {
    facts.config.as_mut().unwrap()
}

fn run_as_processes(facts: &mut Facts) {
    for module in &mut facts.daemon.as_mut().unwrap().modules {
        module.config.settings.shift_remove("imageHash");
    }
    facts.engine = Some(Err(vec!["cannot reach the container engine".into()]));
    facts.containers.clear();
}

#[test]
fn a_fresh_machine_has_four_warnings() {
    let report = judge(&fresh(), &[]);
    assert_eq!(
        report.to_text(false, Paint::Plain),
        "\
Configuration checks (aziot-identity-service)
---------------------------------------------
√ keyd configuration is well-formed - OK
√ certd configuration is well-formed - OK
√ tpmd configuration is well-formed - OK
√ identityd configuration is well-formed - OK
√ daemon configurations up-to-date with config.toml - OK
√ configuration has correct hostname - OK
√ aziot-identity-service package is up-to-date - OK
√ host time is close to reference time - OK
√ production readiness: identity certificates expiry - OK
√ production readiness: EST identity and bootstrap certificates expiry - OK
√ production readiness: local CA certificate expiry - OK
√ preloaded certificates are valid - OK
√ keyd is running - OK
√ certd is running - OK
√ tpmd is running - OK
√ identityd is running - OK
√ read all preloaded certificates from the Certificates Service - OK
√ read all preloaded key pairs from the Keys Service - OK
√ check all EST server URLs utilize HTTPS - OK
√ ensure all preloaded certificates match preloaded private keys with the same ID - OK

Connectivity checks (aziot-identity-service)
--------------------------------------------
√ host can connect to and perform TLS handshake with DPS endpoint - OK
√ host can connect to and perform TLS handshake with iothub AMQP port - OK
√ host can connect to and perform TLS handshake with iothub HTTPS / WebSockets port - OK
√ host can connect to and perform TLS handshake with iothub MQTT port - OK

Configuration checks
--------------------
√ aziot-edged configuration is well-formed - OK
√ configuration up-to-date with config.toml - OK
√ container engine is installed and functional - OK
√ configuration has correct parent_hostname - OK
√ parent hostname resolvable from inside container - OK
√ configuration has correct URIs for daemon mgmt endpoint - OK
√ aziot-edge package is up-to-date - OK
√ container time is close to host time - OK
‼ DNS server - Warning
    Container engine is not configured with DNS server setting, which may impact connectivity to IoT Hub.
    Name the servers in \"dns\" of the engine's settings file, and restart the engine.
√ IPv6 network configuration - OK
√ production readiness: certificates - OK
‼ production readiness: logs policy - Warning
    Container engine is not configured to rotate module logs which may cause it run out of disk space.
    Set \"log-driver\": \"local\" in the engine's settings file, or max-size and max-file in its log-opts; then restart the engine.
‼ production readiness: Edge Agent's storage directory is persisted on the host filesystem - Warning
    The edgeAgent module is not configured to persist its /tmp directory on the host filesystem.
    Its state is in the daemon's own directory instead. Choose a folder for it: see https://aka.ms/iotedge-prod-checklist-storage-host for best practices.
‼ production readiness: Edge Hub's storage directory is persisted on the host filesystem - Warning
    The edgeHub module is not configured to persist its /tmp directory on the host filesystem.
    Data might be lost if the module is deleted or updated.
    Please see https://aka.ms/iotedge-prod-checklist-storage-host for best practices.
√ Agent image is valid and can be pulled from upstream - OK
√ proxy settings are consistent in aziot-edged, moby daemon and config.toml - OK

Connectivity checks
-------------------
√ container on the default network can connect to upstream AMQP port - OK
√ container on the default network can connect to upstream HTTPS / WebSockets port - OK
√ container on the default network can connect to upstream MQTT port - OK
√ container on the IoT Edge module network can connect to upstream AMQP port - OK
√ container on the IoT Edge module network can connect to upstream HTTPS / WebSockets port - OK
√ container on the IoT Edge module network can connect to upstream MQTT port - OK

42 check(s) succeeded.
4 check(s) raised warnings. Re-run with --verbose for more details.
"
    );
    assert!(!report.has_failed(false));
    assert!(report.has_failed(true));
    let colored = report.to_text(false, Paint::Colored);
    assert!(colored.contains("\u{1b}[33m‼ DNS server - Warning\u{1b}[0m\n"), "{colored}");
}

#[test]
fn without_a_configuration_the_rest_is_skipped() {
    let mut facts = fresh();
    let wrong = vec!["config.toml:3: colour is unknown".to_owned(), "a cause".to_owned()];
    facts.config = Err(ConfigProblem::Wrong(wrong));
    (facts.engine, facts.edge_ca_end, facts.hub) = (None, None, None);
    facts.containers.clear();
    let report = judge(&facts, &["container-engine-dns".into()]);
    // keyd, certd and identityd run, whatever the file says.
    const SERVICES: usize = 3;
    let text = report.to_text(false, Paint::Plain);
    assert!(text.contains(
        "\nConfiguration checks\n--------------------\n× aziot-edged configuration is well-formed - Error\n    config.toml:3: colour is unknown\n"
    ), "{text}");
    assert!(
        text.contains("1 check(s) raised errors. Re-run with --verbose for more details.\n"),
        "{text}"
    );
    assert!(text.contains("check(s) were skipped due to errors from other checks."), "{text}");
    assert!(report.has_failed(false));
    let text = report.to_text(true, Paint::Plain);
    assert!(
        text.contains("    config.toml:3: colour is unknown\n    caused by: a cause\n"),
        "{text}"
    );
    assert!(text.contains("‼ configuration has correct hostname - Skipped\n    because aziot-edged-config-well-formed failed\n"), "{text}");

    facts.config = Err(ConfigProblem::Denied(vec!["cannot read".into()]));
    let json = judge(&facts, &[]).to_json(&json!({}));
    assert_eq!(json["checks"]["aziot-edged-config-well-formed"]["result"]["result"], "fatal");
    let skipped = json["checks"]
        .as_object()
        .unwrap()
        .values()
        .filter(|check| check["result"]["result"] == "ok");
    assert_eq!(skipped.count(), SERVICES, "only the daemon answers without a configuration");
}

#[test]
fn json_has_the_originals_shape() {
    let facts = fresh();
    let json = judge(&facts, &["hostname".into()]).to_json(&facts.additional_info());
    assert_eq!(json["additional_info"]["docker_version"], "28.0");
    assert_eq!(
        json["checks"]["container-engine-uri"],
        json!({"result": {"result": "ok"}, "additional_info": {}})
    );
    assert_eq!(json["checks"]["hostname"]["result"], json!({"result": "ignored"}));
    let dns = &json["checks"]["container-engine-dns"]["result"];
    assert_eq!(dns["result"], "warning");
    assert!(matches!(&dns["details"], Value::Array(texts) if texts.len() == 1));
    assert_eq!(json["checks"].as_object().unwrap().len(), CHECKS.len());
}

#[test]
fn the_engines_settings_are_read() {
    let with =
        |settings: Value| move |facts: &mut Facts| facts.engine_settings = Ok(Some(settings));
    for (settings, dns, logs) in [
        (json!({}), "warning", "warning"),
        (json!({"dns": []}), "warning", "warning"),
        (json!({"dns": "1.1.1.1"}), "warning", "warning"),
        (json!({"dns": ["1.1.1.1"], "log-driver": "local"}), "ok", "ok"),
        (json!({"log-driver": "journald"}), "warning", "ok"),
        (json!({"log-driver": "json-file"}), "warning", "warning"),
        (json!({"log-opts": {"max-size": "10m"}}), "warning", "warning"),
        (json!({"log-opts": {"max-size": "10m", "max-file": "3"}}), "warning", "ok"),
    ] {
        assert_eq!(check("container-engine-dns", with(settings.clone())).name(), dns, "{settings}");
        assert_eq!(
            check("container-engine-logrotate", with(settings.clone())).name(),
            logs,
            "{settings}"
        );
    }
    // Given on the engine's command line.
    let by_flag = check("container-engine-logrotate", |facts| {
        facts.engine = Some(Ok(Engine { log_driver: Some("local".into()), ..Engine::default() }));
    });
    assert_eq!(by_flag, Outcome::Ok);
    for id in ["container-engine-dns", "container-engine-logrotate"] {
        let broken =
            check(id, |facts| facts.engine_settings = Err(vec!["daemon.json is not JSON".into()]));
        assert_eq!(broken.name(), "error");
        let away = check(id, |facts| facts.engine = Some(Err(vec!["away".into()])));
        assert_eq!(away, Outcome::Skipped("container-engine-uri"));
    }
}

#[test]
fn storage_is_on_the_host_when_a_mount_covers_it() {
    let mounted = |folder: Option<&str>, destination: &str, kind: &str| {
        let mut container = Container::default();
        if let Some(folder) = folder {
            container.env.insert("StorageFolder".into(), folder.into());
        }
        let mount =
            Mount { r#type: kind.into(), source: "/srv".into(), destination: destination.into() };
        container.mounts.push(mount);
        move |facts: &mut Facts| *hub_container(facts) = container
    };
    for (folder, destination, mount, expected) in [
        (Some("/tmp/storage"), "/tmp/storage", "bind", "ok"),
        (Some("/tmp/storage"), "/tmp", "bind", "ok"),
        (Some("/tmp/storage"), "/tmp/storage/edgeHub", "bind", "ok"),
        (Some("/tmp/storage"), "/tmp/stor", "bind", "warning"),
        (Some("/tmp/storage"), "/var/run/iotedge", "bind", "warning"),
        (None, "/tmp", "volume", "ok"),
        (None, "/tmp", "tmpfs", "warning"),
    ] {
        let outcome =
            check("edge-hub-storage-mounted-from-host", mounted(folder, destination, mount));
        assert_eq!(outcome.name(), expected, "{folder:?} {destination} {mount}");
    }
    let chosen = check("edge-agent-storage-mounted-from-host", |facts| {
        let modules = &mut facts.daemon.as_mut().unwrap().modules;
        let agent = modules.iter_mut().find(|module| module.name == "edgeAgent").unwrap();
        let options = json!({"HostConfig": {"Binds": ["/srv/edgeAgent:/tmp/storage"]}});
        agent.config.settings.insert("createOptions".into(), options);
        let variable = json!({"key": "storageFolder", "value": "/tmp/storage"});
        agent.config.env = vec![serde_json::from_value(variable).unwrap()];
    });
    assert_eq!(chosen, Outcome::Ok);
    let none = check("edge-hub-storage-mounted-from-host", |facts| {
        facts.daemon.as_mut().unwrap().modules.retain(|module| module.name != "edgeHub");
    });
    assert_eq!(none.name(), "ignored");
    let down = check("edge-hub-storage-mounted-from-host", |facts| {
        facts.daemon = Err(vec!["down".into()]);
    });
    assert_eq!(down, Outcome::Skipped("connect-management-uri"));
}

#[test]
fn without_an_engine_processes_need_none() {
    let mut facts = fresh();
    run_as_processes(&mut facts);
    let report = judge(&facts, &[]);
    assert!(!report.has_failed(true), "{}", report.to_text(true, Paint::Plain));
    let text = report.to_text(true, Paint::Plain);
    assert!(text.contains("modules run as processes: their storage is on the host"), "{text}");
    assert!(text.ends_with("46 check(s) succeeded.\n"), "{text}");
}

#[test]
fn an_engine_that_does_not_answer_is_an_error_for_containers() {
    let outcome =
        check("container-engine-uri", |facts| facts.engine = Some(Err(vec!["away".into()])));
    assert_eq!(outcome, Outcome::Error(vec!["away".into()]));
}

#[test]
fn the_hostname_is_the_machines_or_begins_with_it() {
    for (name, machine, expected) in [
        (None, "box", "ok"),
        (None, "bad_name!", "error"),
        (Some("box"), "BOX", "ok"),
        (Some("box.example.org"), "box", "ok"),
        (Some("box.example.org"), "box.example.org", "ok"),
        (Some("10.0.0.1"), "box", "ok"),
        (Some("boxer.example.org"), "box", "error"),
        (Some("other"), "box", "error"),
        (
            Some("box.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.org"),
            "box",
            "warning",
        ),
    ] {
        let outcome = check("hostname", |facts| {
            config(facts).hostname = name.map(str::to_owned);
            facts.machine = machine.into();
        });
        assert_eq!(outcome.name(), expected, "{name:?} on {machine}: {outcome:?}");
    }
}

#[test]
fn the_clock_is_compared_with_the_hubs() {
    let told = |time: Option<&str>| {
        let time = time.map(|time| time.parse().unwrap());
        move |facts: &mut Facts| {
            facts.hub = Some(Hub { mqtt: Ok(()), amqp: Ok(()), https: Ok(time) });
        }
    };
    for (time, expected) in [
        (Some("2026-11-25T00:00:09Z"), "ok"),
        (Some("2026-11-24T23:59:51Z"), "ok"),
        (Some("2026-11-25T00:00:10Z"), "warning"),
        (Some("2026-11-24T23:59:50Z"), "warning"),
        (None, "ignored"),
    ] {
        assert_eq!(check("host-local-time", told(time)).name(), expected, "{time:?}");
    }
}

#[test]
fn the_edge_ca_warns_a_week_before_its_end() {
    for (end, expected) in [
        ("2026-12-02T00:00:00Z", "ok"),
        ("2026-12-01T23:59:59Z", "warning"),
        ("2026-11-25T00:00:00Z", "error"),
    ] {
        let outcome =
            check("edge-ca-expiry", |facts| facts.edge_ca_end = Some(Ok(end.parse().unwrap())));
        assert_eq!(outcome.name(), expected, "{end}");
    }
    assert_eq!(check("edge-ca-expiry", |facts| facts.edge_ca_end = None).name(), "ignored");
    let damaged =
        check("edge-ca-expiry", |facts| facts.edge_ca_end = Some(Err(vec!["no PEM".into()])));
    assert_eq!(damaged.name(), "error");
}

#[test]
fn settings_that_have_no_effect_or_contradict_each_other_are_told() {
    let with_env = |name: &'static str, value: &'static str| {
        move |facts: &mut Facts| drop(config(facts).agent.env.insert(name.into(), value.into()))
    };
    // The line is AMQP unless something else is said; WebSockets need the port of HTTPS alone.
    for (protocol, amqp, mqtt) in [
        (None, "ok", "ignored"),
        (Some("Mqtt"), "ignored", "ok"),
        (Some("AmqpWs"), "ignored", "ignored"),
    ] {
        let set = |facts: &mut Facts| {
            if let Some(protocol) = protocol {
                with_env("upstreamprotocol", protocol)(facts);
            }
        };
        assert_eq!(check("host-connect-iothub-amqp", set).name(), amqp, "{protocol:?}");
        assert_eq!(check("host-connect-iothub-mqtt", set).name(), mqtt, "{protocol:?}");
    }
    let proxy = check("proxy-settings", with_env("https_proxy", "http://me:secret@proxy:3128"));
    let Outcome::Warning(texts) = &proxy else { panic!("{proxy:?}") };
    assert!(texts[0].contains("http://…@proxy:3128") && !texts[0].contains("secret"), "{texts:?}");
    let same = check("proxy-settings", |facts| {
        with_env("HTTPS_PROXY", "http://proxy:3128")(facts);
        facts.engine =
            Some(Ok(Engine { https_proxy: Some("http://proxy:3128".into()), ..Engine::default() }));
    });
    assert_eq!(same, Outcome::Ok);
    let other =
        check("check-agent-image", |facts| config(facts).agent.image = "registry/agent:1".into());
    assert_eq!(other.name(), "warning");
}

#[test]
fn a_way_that_is_closed_is_an_error() {
    let closed = |facts: &mut Facts| {
        facts.hub = Some(Hub {
            mqtt: Err(vec!["closed".into()]),
            amqp: Err(vec!["closed".into()]),
            https: Err(vec!["closed".into()]),
        });
    };
    for id in ["host-connect-iothub-amqp", "host-connect-iothub-https"] {
        assert_eq!(check(id, closed), Outcome::Error(vec!["closed".into()]));
    }
    assert_eq!(check("host-local-time", closed).name(), "ignored");
}

#[test]
fn every_check_of_the_original_is_there() {
    // `edge-runtime.md` §6.3, in its order.
    let original = "
        keyd-config-well-formed certd-config-well-formed tpmd-config-well-formed
        identityd-config-well-formed configs-up-to-date hostname aziot-version host-local-time
        identity-certificate-expiry est-identity-and-bootstrap-certificate-expiry
        local-ca-certificate-expiry certs-preloaded keyd-running certd-running tpmd-running
        identityd-running certs-read key-pairs-read est-server-https certs-match-private-keys
        host-connect-dps-endpoint host-connect-iothub-amqp host-connect-iothub-https
        host-connect-iothub-mqtt
        aziot-edged-config-well-formed config-up-to-date container-engine-uri parent_hostname
        container-resolve-parent-hostname connect-management-uri aziot-edge-version
        container-local-time container-engine-dns container-engine-ipv6 container-engine-logrotate
        edge-agent-storage-mounted-from-host edge-hub-storage-mounted-from-host check-agent-image
        proxy-settings container-default-connect-upstream-amqp
        container-default-connect-upstream-https container-default-connect-upstream-mqtt
        container-connect-upstream-amqp container-connect-upstream-https
        container-connect-upstream-mqtt";
    let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    for id in original.split_whitespace() {
        assert!(ids.contains(&id), "{id}");
        assert!(known(&[id.into()]).is_ok(), "{id}");
    }
    // Ours is the Edge CA alone.
    assert_eq!(ids.len(), original.split_whitespace().count() + 1);
}

#[test]
fn what_has_no_meaning_here_is_said_to_have_none() {
    for Check { id, judge, .. } in CHECKS {
        let notes = known(&[(*id).into()]).unwrap();
        let is_told = notes.iter().any(|note| note.contains("no meaning here"));
        assert_eq!(is_told, matches!(judge, Judge::NoMeaning(_)), "{id}");
    }
    for id in RETIRED {
        assert!(known(&[id.into()]).unwrap()[0].contains("older version"), "{id}");
    }
}

#[test]
fn a_changed_configuration_is_told_until_it_is_in_effect() {
    for (changed, expected) in [
        ("2026-11-25T00:00:00Z", "ok"),
        ("2026-11-25T00:00:02Z", "ok"),
        ("2026-11-25T00:00:03Z", "warning"),
    ] {
        for id in ["config-up-to-date", "configs-up-to-date"] {
            let outcome = check(id, |facts| {
                facts.applied.as_mut().unwrap().changed = changed.parse().unwrap();
            });
            assert_eq!(outcome.name(), expected, "{changed}");
        }
    }
    let down = check("config-up-to-date", |facts| facts.applied = None);
    assert_eq!(down, Outcome::Skipped("connect-management-uri"));
}

#[test]
fn versions_are_compared_with_what_is_expected() {
    let own = env!("CARGO_PKG_VERSION");
    for (running, expected, outcome) in [
        (own, None, "ignored"),
        ("0.0.1", None, "warning"),
        (own, Some(own), "ok"),
        (own, Some("99.0.0"), "warning"),
        ("0.0.1", Some("0.0.1"), "ok"),
    ] {
        for id in ["aziot-edge-version", "aziot-version"] {
            let found = check(id, |facts| {
                facts.daemon.as_mut().unwrap().info.version = running.into();
                let expected = expected.map(str::to_owned);
                facts.expected = Expected { daemon: expected.clone(), services: expected };
            });
            assert_eq!(found.name(), outcome, "{id}: {running}, {expected:?}");
        }
    }
}

#[test]
fn certificates_and_keys_are_looked_at() {
    let with = |change: fn(&mut Pair)| {
        move |facts: &mut Facts| {
            let mut pair = pair();
            change(&mut pair);
            facts.identity = Some(pair);
        }
    };
    type Case = (&'static str, fn(&mut Pair), &'static str);
    let cases: [Case; 13] = [
        ("identity-certificate-expiry", |_| {}, "ok"),
        (
            "identity-certificate-expiry",
            |pair| pair.life = Ok(life("2026-11-30T00:00:00Z")),
            "warning",
        ),
        (
            "identity-certificate-expiry",
            |pair| pair.life = Ok(life("2026-11-25T00:00:00Z")),
            "error",
        ),
        (
            "identity-certificate-expiry",
            |pair| {
                let from = "2026-12-01T00:00:00Z".parse().unwrap();
                pair.life = Ok(Life { from, ..life("2030-01-01T00:00:00Z") });
            },
            "error",
        ),
        ("certs-read", |_| {}, "ok"),
        ("certs-read", |pair| pair.life = Err(vec!["no PEM".into()]), "error"),
        ("key-pairs-read", |_| {}, "ok"),
        ("key-pairs-read", |pair| pair.key_is_read = Err(vec!["denied".into()]), "error"),
        ("key-pairs-read", |pair| pair.strength = Strength::ShortRsa, "warning"),
        ("key-pairs-read", |pair| pair.strength = Strength::OtherCurve, "warning"),
        ("certs-match-private-keys", |_| {}, "ok"),
        ("certs-match-private-keys", |pair| pair.fit = Some(Err(vec!["other".into()])), "error"),
        ("certs-match-private-keys", |pair| pair.fit = None, "skipped"),
    ];
    for (id, change, expected) in cases {
        assert_eq!(check(id, with(change)).name(), expected, "{id}");
    }
    for id in ["certs-read", "key-pairs-read", "certs-match-private-keys", "certs-preloaded"] {
        assert_eq!(check(id, |_| {}).name(), "ignored", "{id} without certificates");
    }
    let bundle =
        |end: &'static str| move |facts: &mut Facts| facts.trust_bundle = Some(Ok(life(end)));
    assert_eq!(check("certs-preloaded", bundle("2030-01-01T00:00:00Z")).name(), "ok");
    assert_eq!(check("certs-preloaded", bundle("2026-11-01T00:00:00Z")).name(), "error");
}

#[test]
fn ipv6_needs_an_engine_with_it() {
    let outcome = |settings: Value| {
        check("container-engine-ipv6", |facts| {
            config(facts).engine.network.ipv6 = true;
            facts.engine_settings = Ok(Some(settings));
        })
    };
    assert_eq!(outcome(json!({})).name(), "error");
    assert_eq!(outcome(json!({"ipv6": true})).name(), "ok");
    assert_eq!(check("container-engine-ipv6", |_| {}).name(), "ignored");
}

#[test]
fn what_every_module_carries_itself_needs_no_setting_of_the_engine() {
    let carried = |facts: &mut Facts| {
        let host = &mut hub_container(facts).host;
        host.dns = Some(vec!["1.1.1.1".into()]);
        host.log_config.r#type = "local".into();
    };
    let but_one = |facts: &mut Facts| {
        carried(facts);
        facts.containers.insert("other".into(), Container::default());
    };
    for id in ["container-engine-dns", "container-engine-logrotate"] {
        assert_eq!(check(id, carried), Outcome::Ok);
        assert_eq!(check(id, but_one).name(), "warning");
    }
}

#[test]
fn ids_are_unique_and_known_ones_can_be_left_out() {
    let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(known(&["hostname".into()]).is_ok());
    assert!(known(&["hostnam".into()]).unwrap_err().message().unwrap().contains("check-list"));
    let list = list_text();
    assert!(list.contains("\nConfiguration checks:\n    aziot-edged-config-well-formed"), "{list}");
    assert!(list.contains("tpmd is running (no meaning here)\n"), "{list}");
    assert!(list.contains("    offline-capacity "), "{list}");
}

#[test]
fn what_containers_find_is_told_by_network_and_port() {
    let outcome = |facts: &Facts, id: &str| {
        CHECKS.iter().find(|check| check.id == id).unwrap().outcome(facts)
    };
    let mut facts = fresh();
    let refused = vec!["cannot reach hub.example:5671".to_owned(), "refused".to_owned()];
    facts.from_containers = Some(FromContainers {
        default: Ok(Hub { amqp: Err(refused.clone()), ..reached() }),
        modules: Err(vec!["container engine answered 404: no such network".to_owned()]),
    });
    let default = "container-default-connect-upstream";
    assert_eq!(outcome(&facts, &format!("{default}-amqp")), Outcome::Error(refused));
    assert_eq!(outcome(&facts, &format!("{default}-https")), Outcome::Ok);
    assert!(matches!(outcome(&facts, &format!("{default}-mqtt")), Outcome::Ignored(Some(_))));
    let modules = outcome(&facts, "container-connect-upstream-https");
    assert_eq!(modules, Outcome::error("container engine answered 404: no such network"));

    facts.from_containers = None;
    assert!(matches!(outcome(&facts, &format!("{default}-amqp")), Outcome::NotMade(_)));
    facts.engine = Some(Err(vec!["away".to_owned()]));
    assert_eq!(
        outcome(&facts, &format!("{default}-amqp")),
        Outcome::Skipped("container-engine-uri")
    );
}
