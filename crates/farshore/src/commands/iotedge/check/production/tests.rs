//! Every row of the checklist with a device that fails it and one that passes.

use std::path::Path;
use std::time::Duration;

use edge_daemon::Config;
use edge_daemon::config::DeviceCredential;
use serde_json::json;

use super::numbers::{self, EdgeHubNumbers, duration, size_words, time_words};
use super::{Finding, ROWS, Verdict, judge, to_json, to_text};
use crate::commands::iotedge::check::docker::{Container, Engine, Image, Mount};
use crate::commands::iotedge::check::facts::production::{Care, Production, Space};
use crate::commands::iotedge::check::facts::{ConfigProblem, Facts, Hub, Life};
use crate::commands::iotedge::check::report::Paint;
use crate::commands::iotedge::check::tests::{fresh, life, pair};

/// A device that passes every row.
fn ready() -> Facts {
    let mut facts = fresh();
    let config = "hostname = 'box'\nallow_elevated_docker_permissions = false\n\
                  [provisioning]\nsource = 'manual'\niothub_hostname = 'hub.example'\ndevice_id = 'edge1'\n\
                  [provisioning.authentication]\nmethod = 'x509'\nidentity_cert = 'file:///a.pem'\nidentity_pk = 'file:///a.key'\n\
                  [agent.env]\nModuleUpdateMode = 'WaitForAllPulls'\n\
                  [edge_ca]\ncert = 'file:///ca.pem'\npk = 'file:///ca.key'\n";
    facts.config = Ok(Config::parse(config, Path::new("config.toml")).unwrap());
    facts.identity = Some(pair());
    facts.edge_ca = Some(pair());
    facts.edge_ca_end = Some(Ok("2030-01-01T00:00:00Z".parse().unwrap()));
    facts.engine_settings = Ok(Some(json!({"dns": ["1.1.1.1"], "log-driver": "local"})));
    let daemon = facts.daemon.as_mut().unwrap();
    daemon.info.additional.insert("deployment_pipeline".into(), "ci.example".into());
    for module in &mut daemon.modules {
        module.status.start_time = Some("2026-11-24T00:00:00Z".into());
        if module.name == "edgeAgent" {
            let options = json!({"HostConfig": {"Binds": ["/srv/agent:/tmp"]}});
            module.config.settings.insert("createOptions".into(), options);
        }
    }
    let hub = container(&mut facts);
    hub.host.memory = 1 << 28;
    hub.mounts.push(mount("/srv/hub", "/tmp"));
    let space =
        |path: &str| Some(Ok(Space { path: path.into(), free: 50 << 30, total: 100 << 30 }));
    let image = Image { architecture: "amd64".into(), size: 30 << 20 };
    facts.production = Some(Production {
        images: [("edgeHub".to_owned(), Ok(Some(image)))].into(),
        volumes_unused: Some(Ok(Vec::new())),
        edge_hub_memory: Some(20 << 20),
        memory_total: Some(1 << 30),
        image_space: space("/var/lib/docker"),
        store_space: space("/srv/hub"),
        numbers: Some(Ok(numbers())),
        care: Care {
            restart_is_due: false,
            updates_itself: Some(true),
            journal_persists: Some(true),
        },
        ..Production::default()
    });
    facts
}

/// A message of 800 bytes per second for a day; room for 1,000,000,000 bytes, life without end.
fn numbers() -> EdgeHubNumbers {
    EdgeHubNumbers {
        received: 86_400.0,
        received_bytes: 86_400.0 * 800.0,
        store_bytes: Some(0.0),
        store_bytes_max: Some(1e9),
        time_to_live: Some(-1.0),
    }
}

fn mount(source: &str, destination: &str) -> Mount {
    Mount { r#type: "bind".into(), source: source.into(), destination: destination.into() }
}

fn container(facts: &mut Facts) -> &mut Container {
    facts.containers.get_mut("edgeHub").unwrap()
}

fn production(facts: &mut Facts) -> &mut Production {
    facts.production.as_mut().unwrap()
}

fn config(facts: &mut Facts) -> &mut Config {
    facts.config.as_mut().unwrap()
}

fn engine(facts: &mut Facts) -> &mut Engine {
    facts.engine.as_mut().unwrap().as_mut().unwrap()
}

fn hub(facts: &mut Facts) -> &mut Hub {
    facts.hub.as_mut().unwrap()
}

fn image(facts: &mut Facts, image: &str) {
    let modules = &mut facts.daemon.as_mut().unwrap().modules;
    let hub = modules.iter_mut().find(|module| module.name == "edgeHub").unwrap();
    hub.config.settings.insert("image".into(), image.into());
}

#[track_caller]
fn finding(id: &str, change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = ready();
    change(&mut facts);
    let row = ROWS.iter().find(|row| row.id == id).expect("a row of this id");
    (row.judge)(&facts, facts.production.as_ref().unwrap())
}

fn closed() -> Vec<String> {
    vec!["closed".into()]
}

type Case = (&'static str, Verdict, fn(&mut Facts));

/// For every row, what makes it not pass.
const BAD: &[Case] = {
    use Verdict::{CannotTell, Fail, Warn};
    &[
        ("prod-edge-ca-not-quickstart", Warn, |facts| {
            let own = "[provisioning]\nsource = 'manual'\nconnection_string = 'HostName=h;DeviceId=d;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=='\n";
            facts.config = Ok(Config::parse(own, Path::new("c")).unwrap());
        }),
        ("prod-edge-ca-not-quickstart", Fail, |facts| {
            facts.edge_ca_end = Some(Ok("2026-01-01T00:00:00Z".parse().unwrap()));
        }),
        ("prod-edge-ca-not-quickstart", Fail, |facts| {
            facts.edge_ca.as_mut().unwrap().fit = Some(Err(closed()));
        }),
        ("prod-update-channel", Warn, |facts| production(facts).care.restart_is_due = true),
        ("prod-update-channel", Warn, |facts| production(facts).care.updates_itself = Some(false)),
        ("prod-update-channel", CannotTell, |facts| production(facts).care.updates_itself = None),
        ("prod-engine", Fail, |facts| facts.engine = Some(Err(closed()))),
        ("prod-engine", Warn, |facts| engine(facts).storage_driver = Some("vfs".into())),
        ("prod-engine", Warn, |facts| engine(facts).cgroup_version = Some("1".into())),
        ("prod-upstream-consistent", Fail, |facts| {
            container(facts).env.insert("upstreamProtocol".into(), "Mqtt".into());
        }),
        ("prod-upstream-deployment", Fail, |facts| hub(facts).amqp = Err(closed())),
        ("prod-upstream-deployment", Fail, |facts| {
            container(facts).env.insert("UpstreamProtocol".into(), "MqttWs".into());
            hub(facts).https = Err(closed());
        }),
        ("prod-storage", Warn, |facts| container(facts).mounts.clear()),
        ("prod-storage", Warn, |facts| {
            if let Some(Ok(space)) = &mut production(facts).store_space {
                space.free = 1 << 20;
            }
        }),
        ("prod-memory", Warn, |facts| production(facts).edge_hub_memory = Some(250 << 20)),
        ("prod-memory", Warn, |facts| {
            container(facts).host.memory = 0;
            production(facts).edge_hub_memory = Some(300 << 20);
        }),
        ("prod-memory", CannotTell, |facts| production(facts).edge_hub_memory = None),
        ("prod-images", Fail, |facts| {
            let image = Image { architecture: "arm64".into(), size: 1 };
            production(facts).images.insert("edgeHub".into(), Ok(Some(image)));
        }),
        ("prod-images", Warn, |facts| image(facts, "reg.example/filter:1.0-debug")),
        ("prod-twin-size", Warn, |facts| {
            let daemon = facts.daemon.as_mut().unwrap();
            let options = json!({"Labels": {"x": "y".repeat(24 * 1024)}});
            daemon.modules[0].config.settings.insert("createOptions".into(), options);
        }),
        ("prod-twin-size", Fail, |facts| {
            let daemon = facts.daemon.as_mut().unwrap();
            daemon.modules = vec![daemon.modules[0].clone(); 53];
        }),
        ("prod-module-updates", Warn, |facts| config(facts).agent.env.clear()),
        ("prod-image-tags", Fail, |facts| image(facts, "reg.example/filter:latest")),
        ("prod-image-tags", Fail, |facts| image(facts, "reg.example/filter")),
        ("prod-volumes-orphaned", Warn, |facts| {
            production(facts).volumes_unused = Some(Ok(vec!["old".into()]));
        }),
        ("prod-volumes-orphaned", CannotTell, |facts| production(facts).volumes_unused = None),
        ("prod-own-registry", Warn, |facts| image(facts, "ghcr.io/somebody/filter:1")),
        ("prod-own-registry", Warn, |facts| image(facts, "redis:7")),
        ("prod-image-gc", Warn, |facts| config(facts).image_garbage_collection.enabled = false),
        ("prod-firewall", Fail, |facts| hub(facts).amqp = Err(closed())),
        ("prod-connections", Fail, |facts| hub(facts).https = Err(closed())),
        ("prod-connections", Fail, |facts| {
            production(facts).registries.insert("reg.example".into(), Err(closed()));
        }),
        ("prod-proxy-works", Fail, |facts| production(facts).proxy = Some(Err(closed()))),
        ("prod-proxy-works", Warn, |facts| {
            engine(facts).https_proxy = Some("http://proxy:3128".into());
        }),
        ("prod-logs", Warn, |facts| production(facts).care.journal_persists = Some(false)),
        ("prod-logs", Warn, |facts| {
            hub(facts).https = Ok(Some("2026-11-25T00:05:00Z".parse().unwrap()));
        }),
        ("prod-logs", CannotTell, |facts| production(facts).care.journal_persists = None),
        ("container-engine-logrotate", Warn, |facts| facts.engine_settings = Ok(None)),
        ("container-engine-dns", Warn, |facts| facts.engine_settings = Ok(None)),
        ("prod-ci", Fail, |facts| {
            facts.daemon.as_mut().unwrap().modules[0].status.runtime_status.status =
                "failed".into();
        }),
        ("prod-ci", CannotTell, |facts| facts.daemon.as_mut().unwrap().info.additional.clear()),
        ("prod-registry-access", Fail, |facts| {
            production(facts).registry_user = Some(("fleet.azurecr.io".into(), "fleet".into()));
        }),
        ("prod-registry-access", CannotTell, |facts| {
            production(facts).registries.insert("reg.example".into(), Ok(()));
        }),
        ("prod-elevated", Fail, |facts| container(facts).host.privileged = true),
        ("prod-elevated", Fail, |facts| container(facts).host.network_mode = "host".into()),
        ("prod-elevated", Fail, |facts| {
            container(facts).mounts.push(mount("/var/run/docker.sock", "/docker.sock"));
        }),
        ("prod-elevated", Warn, |facts| container(facts).host.memory = 0),
        ("prod-elevated", Warn, |facts| config(facts).allow_elevated_docker_permissions = true),
        ("prod-identity", Warn, |facts| {
            let key = DeviceCredential::KeyFile("/key".into());
            config(facts).provisioning.credential = key;
        }),
        ("prod-identity", Warn, |facts| {
            let own = Life { is_self_issued: true, ..life("2030-01-01T00:00:00Z") };
            facts.identity.as_mut().unwrap().life = Ok(own);
        }),
        ("offline-capacity", Warn, |facts| {
            production(facts).offline_for = Some(Duration::from_secs(30 * 86_400));
        }),
        ("offline-capacity", CannotTell, |facts| production(facts).numbers = Some(Err(closed()))),
        ("prod-registry-reachable", Fail, |facts| {
            production(facts).registries.insert("reg.example".into(), Err(closed()));
        }),
        ("prod-disk-space", Fail, |facts| {
            if let Some(Ok(space)) = &mut production(facts).image_space {
                space.free = 10 << 20;
            }
        }),
        ("prod-disk-space", Warn, |facts| {
            if let Some(Ok(space)) = &mut production(facts).image_space {
                space.free = 10 << 30;
            }
        }),
        ("prod-certificates-offline", Warn, |facts| {
            production(facts).offline_for = Some(Duration::from_secs(5 * 365 * 86_400));
        }),
        ("prod-certificates-offline", Warn, |facts| {
            facts.identity.as_mut().unwrap().life = Ok(life("2026-12-24T00:00:00Z"));
        }),
    ]
};

#[test]
fn every_row_has_a_device_that_passes() {
    let facts = ready();
    for (row, finding) in judge(&facts, &[]) {
        assert_eq!(finding.verdict, Verdict::Pass, "{}: {finding:?}", row.id);
    }
}

#[test]
fn every_row_has_a_device_that_does_not() {
    for (id, expected, change) in BAD {
        let found = finding(id, change);
        assert_eq!(found.verdict, *expected, "{id}: {found:?}");
        let needs_fix = matches!(found.verdict, Verdict::Warn | Verdict::Fail);
        assert!(
            !needs_fix || found.fix.as_ref().is_some_and(|fix| !fix.is_empty()),
            "{id}: {found:?}"
        );
    }
    for row in ROWS {
        let is_bad = |case: &&Case| case.0 == row.id && case.1 != Verdict::CannotTell;
        assert!(BAD.iter().any(|case| is_bad(&case)), "no device fails {}", row.id);
    }
}

#[test]
fn rows_are_the_guides_in_its_order() {
    let titles: Vec<&str> = ROWS.iter().filter(|row| !row.is_ours).map(|row| row.title).collect();
    assert_eq!(
        titles,
        [
            "Production certificates",
            "Device management plan",
            "Moby as engine",
            "Upstream protocol choice & consistency",
            "Consistent protocol",
            "Host storage for system modules",
            "Reduce memory of edgeHub",
            "Correct images",
            "Twin size limits",
            "How updates to modules are applied",
            "Tags to manage versions",
            "Volumes",
            "Runtime images in own registry",
            "Image garbage collection",
            "Outbound/inbound configuration",
            "Allow connections from Edge devices",
            "Communication through a proxy",
            "Logs and diagnostics",
            "Default logging driver",
            "DNS",
            "Tests and CI/CD",
            "Registry access",
            "Limit container access to host resources",
        ]
    );
}

#[test]
fn each_row_is_documented() {
    let page = include_str!("../../../../../../../docs/operating/production-checklist.md");
    for row in ROWS {
        assert!(page.contains(&format!("`{}`", row.id)), "{} is not in the page", row.id);
        assert!(page.contains(row.title), "{} is not in the page", row.title);
    }
}

#[test]
fn how_long_it_can_be_offline_is_computed() {
    // 1 message/s of 800 bytes and 200 more on the disk: 10^9 bytes last for 10^6 s, 11.5 days.
    let found = finding("offline-capacity", |_| {});
    assert!(found.why.contains("offline for 11 days, then the store has no room"), "{}", found.why);
    let limited = |change: fn(&mut EdgeHubNumbers)| {
        move |facts: &mut Facts| {
            let mut changed = numbers();
            change(&mut changed);
            production(facts).numbers = Some(Ok(changed));
        }
    };
    let short = finding("offline-capacity", limited(|numbers| numbers.time_to_live = Some(7200.0)));
    assert!(short.why.contains("offline for 2 hours, then messages expire"), "{}", short.why);
    let silent = finding("offline-capacity", limited(|numbers| numbers.received = 0.0));
    assert!(silent.why.contains("for as long as nothing is sent yet"), "{}", silent.why);
    // A small disk counts before the bound.
    let small = finding("offline-capacity", |facts| {
        if let Some(Ok(space)) = &mut production(facts).store_space {
            space.free = 86_400_000 * 3;
        }
    });
    assert!(small.why.contains("offline for 3 days"), "{}", small.why);
    // With a plan that fits, and without one that does not.
    for (days, expected) in [(11, Verdict::Pass), (12, Verdict::Warn), (30, Verdict::Warn)] {
        let found = finding("offline-capacity", |facts| {
            production(facts).offline_for = Some(Duration::from_secs(days * 86_400));
        });
        assert_eq!(found.verdict, expected, "{days} days: {}", found.why);
    }
    let just_begun = finding("offline-capacity", |facts| {
        for module in &mut facts.daemon.as_mut().unwrap().modules {
            module.status.start_time = Some("2026-11-24T23:59:50Z".into());
        }
    });
    assert_eq!(just_begun.verdict, Verdict::CannotTell);
}

#[test]
fn the_report_reads_well_and_has_a_document() {
    let mut facts = ready();
    production(&mut facts).proxy = Some(Err(closed()));
    let found = judge(&facts, &["prod-ci".into()]);
    let text = to_text(&found, Paint::Plain);
    assert!(text.starts_with("Production checklist (--production)\n---"), "{text}");
    assert!(text.contains("√ Production certificates [important] - OK\n"), "{text}");
    assert!(
        text.contains(
            "× Communication through a proxy [helpful] - Error\n    closed\n    fix: set"
        ),
        "{text}"
    );
    assert!(text.contains("\nBesides the checklist\n"), "{text}");
    assert!(text.ends_with("26 row(s) passed.\n1 row(s) failed.\n"), "{text}");
    let json = to_json(&found, &json!({}));
    assert_eq!(
        json["checks"]["prod-proxy-works"]["result"],
        json!({"result": "error", "details": ["closed"]})
    );
    assert_eq!(json["checks"]["prod-proxy-works"]["level"], "helpful");
    assert!(json["checks"].get("prod-ci").is_none());

    facts.config = Err(ConfigProblem::Wrong(vec!["line 3".into()]));
    facts.production = None;
    let found = judge(&facts, &[]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.verdict, Verdict::Fail);
}

#[test]
fn the_edge_hubs_metrics_are_read() {
    let text = "# HELP edgehub_messages_received x\n\
                edgehub_messages_received_total{iothub=\"h\",id=\"a b\"} 3\n\
                edgehub_messages_received_total{id=\"c\"} 4\n\
                edgehub_message_size_bytes_sum{id=\"c\"} 70.5\n\
                edgehub_store_bytes{} 10\nedgehub_store_bytes_max 100\n\
                edgehub_time_to_live_seconds{iothub=\"h\"} -1\nother 5\nedgehub_store_bytes nonsense\n# EOF\n";
    assert_eq!(
        numbers::read(text),
        EdgeHubNumbers {
            received: 7.0,
            received_bytes: 70.5,
            store_bytes: Some(10.0),
            store_bytes_max: Some(100.0),
            time_to_live: Some(-1.0),
        }
    );
}

#[test]
fn times_and_sizes_are_read_and_written() {
    for (text, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("90min", 5400), ("2w", 1_209_600)]
    {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "30", "d", "3 days", "-1d", "99999999999999999999d", "99999999999999999y"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert_eq!(time_words(59.0), "59 seconds");
    assert_eq!(time_words(7200.0), "2 hours");
    assert_eq!(time_words(2_592_000.0), "30 days");
    assert_eq!(size_words(1536), "1.5 KiB");
    assert_eq!(size_words(3 << 30), "3.0 GiB");
}
