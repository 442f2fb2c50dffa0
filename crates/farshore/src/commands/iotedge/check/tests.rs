//! The checks, each with what makes it come out one way or another, and the report word by word.

use std::path::Path;

use edge_daemon::Config;
use iot_proto::management::ModuleList;
use serde_json::{Value, json};

use super::docker::{Container, Engine, Mount};
use super::facts::{ConfigProblem, Daemon, Facts, Hub};
use super::report::Outcome;
use super::{CHECKS, judge, known, list_text};

/// A fresh machine with a container engine, as the guide's walk finds it (`tools.md` §0): no name
/// servers, no policy of logs, no storage on the host.
fn fresh() -> Facts {
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
        daemon: Ok(Daemon { modules: modules.modules, ..Daemon::default() }),
        engine: Some(Ok(Engine {
            version: "28.0".into(),
            log_driver: Some("json-file".into()),
            https_proxy: None,
        })),
        edge_hub: Some(Container::default()),
        engine_settings: Ok(None),
        edge_ca_end: Some(Ok("2027-02-23T00:00:00Z".parse().unwrap())),
        hub: Some(Hub { mqtt: Ok(()), amqp: Ok(()), https: Ok(Some(now)) }),
    }
}

/// The outcome of one check after a change of the fresh machine.
#[track_caller]
fn check(id: &str, change: impl FnOnce(&mut Facts)) -> Outcome {
    let mut facts = fresh();
    change(&mut facts);
    let check = CHECKS.iter().find(|check| check.id == id).expect("a check of this id");
    (check.judge)(&facts)
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Warning(_) => "warning",
        Outcome::Ignored(_) => "ignored",
        Outcome::Skipped(_) => "skipped",
        Outcome::Error(_) => "error",
        Outcome::Fatal(_) => "fatal",
    }
}

fn config(facts: &mut Facts) -> &mut Config {
    facts.config.as_mut().unwrap()
}

fn run_as_processes(facts: &mut Facts) {
    for module in &mut facts.daemon.as_mut().unwrap().modules {
        module.config.settings.shift_remove("imageHash");
    }
    facts.engine = Some(Err(vec!["cannot reach the container engine".into()]));
    facts.edge_hub = None;
}

#[test]
fn a_fresh_machine_has_four_warnings() {
    let report = judge(&fresh(), &[]);
    assert_eq!(
        report.to_text(false),
        "\
Configuration checks
--------------------
√ aziot-edged configuration is well-formed - OK
√ configuration has correct hostname - OK
√ container engine is installed and functional - OK
√ configuration has correct URIs for daemon mgmt endpoint - OK
√ host time is close to reference time - OK
‼ DNS server - Warning
    Container engine is not configured with DNS server setting, which may impact connectivity to IoT Hub.
    Name the servers in \"dns\" of the engine's settings file, and restart the engine.
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
√ host can connect to and perform TLS handshake with iothub AMQP port - OK
√ host can connect to and perform TLS handshake with iothub HTTPS / WebSockets port - OK
√ host can connect to and perform TLS handshake with iothub MQTT port - OK

11 check(s) succeeded.
4 check(s) raised warnings. Re-run with --verbose for more details.
"
    );
    assert!(!report.has_failed(false));
    assert!(report.has_failed(true));
}

#[test]
fn without_a_configuration_the_rest_is_skipped() {
    let mut facts = fresh();
    let wrong = vec!["config.toml:3: colour is unknown".to_owned(), "a cause".to_owned()];
    facts.config = Err(ConfigProblem::Wrong(wrong));
    (facts.engine, facts.edge_hub, facts.edge_ca_end, facts.hub) = (None, None, None, None);
    let report = judge(&facts, &["container-engine-dns".into()]);
    let text = report.to_text(false);
    assert!(text.starts_with(
        "Configuration checks\n--------------------\n× aziot-edged configuration is well-formed - Error\n    config.toml:3: colour is unknown\n"
    ));
    assert!(
        text.contains("1 check(s) raised errors. Re-run with --verbose for more details.\n"),
        "{text}"
    );
    assert!(text.contains("check(s) were skipped due to errors from other checks."), "{text}");
    assert!(report.has_failed(false));
    let text = report.to_text(true);
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
        .filter(|check| check["result"]["result"] == "skipped");
    assert_eq!(skipped.count(), CHECKS.len() - 1, "nothing goes on after a fatal one");
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
        assert_eq!(kind(&check("container-engine-dns", with(settings.clone()))), dns, "{settings}");
        assert_eq!(
            kind(&check("container-engine-logrotate", with(settings.clone()))),
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
        assert_eq!(kind(&broken), "error");
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
        move |facts: &mut Facts| facts.edge_hub = Some(container)
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
        assert_eq!(kind(&outcome), expected, "{folder:?} {destination} {mount}");
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
    assert_eq!(kind(&none), "ignored");
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
    assert!(!report.has_failed(true), "{}", report.to_text(true));
    let text = report.to_text(true);
    assert!(text.contains("modules run as processes: their storage is on the host"), "{text}");
    assert!(text.ends_with("15 check(s) succeeded.\n"), "{text}");
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
        assert_eq!(kind(&outcome), expected, "{name:?} on {machine}: {outcome:?}");
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
        assert_eq!(kind(&check("host-local-time", told(time))), expected, "{time:?}");
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
        assert_eq!(kind(&outcome), expected, "{end}");
    }
    assert_eq!(kind(&check("edge-ca-expiry", |facts| facts.edge_ca_end = None)), "ignored");
    let damaged =
        check("edge-ca-expiry", |facts| facts.edge_ca_end = Some(Err(vec!["no PEM".into()])));
    assert_eq!(kind(&damaged), "error");
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
        assert_eq!(kind(&check("host-connect-iothub-amqp", set)), amqp, "{protocol:?}");
        assert_eq!(kind(&check("host-connect-iothub-mqtt", set)), mqtt, "{protocol:?}");
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
    assert_eq!(kind(&other), "warning");
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
    assert_eq!(kind(&check("host-local-time", closed)), "ignored");
}

#[test]
fn ids_are_unique_and_known_ones_can_be_left_out() {
    let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(known(&["hostname".into()]).is_ok());
    assert!(known(&["hostnam".into()]).unwrap_err().message().unwrap().contains("check-list"));
    assert!(list_text().starts_with("Configuration checks:\n    aziot-edged-config-well-formed"));
}
