//! The first edge device of the hub that `up` runs: registered, deployed to, watched until its
//! modules run, and then its telemetry.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use gateway::backend::configurations::ConfigurationBackend;
use gateway::backend::events::{Event, EventReader, EventsBackend};
use gateway::backend::registry::RegistryBackend;
use gateway::backend::twins::TwinBackend;
use host::clock::Clock;
use hub::EventsReader;
use iot_proto::payload::device::DeviceWrite;
use iot_proto::rest::EventStart;
use model::id::Precondition;
use model::{DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use serde_json::{Value, json};

use super::HUB_HOST_NAME;
use super::show::Show;
use crate::commands::{FAILED, Failure};
use crate::compose::edge::EdgeHubListen;
use crate::compose::hub::RunningHub;

/// The device's id.
const DEVICE_ID: &str = "edge1";
/// The sensor's module id, as the marketplace names it.
pub(super) const SENSOR: &str = "SimulatedTemperatureSensor";
/// How often the device's own report is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After this long the user is told what is missing; the device goes on trying.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events read at once.
const BATCH: usize = 64;

/// The device.
pub(super) struct FirstDevice {
    pub(super) id: DeviceId,
    pub(super) is_new: bool,
    key: String,
    mqtt_port: u16,
}

impl FirstDevice {
    /// Finds the device in the registry, or registers it.
    pub(super) async fn ensure(hub: &RunningHub) -> Result<Self, Failure> {
        let id: DeviceId = DEVICE_ID.parse()?;
        let (device, is_new) = match hub.hub.device(&id).await {
            Ok(device) => (device, false),
            Err(fault) if fault.kind == FaultKind::DeviceNotFound => {
                let write = DeviceWrite { edge: Some(true), ..DeviceWrite::default() };
                (hub.hub.put_device(&id, write, Precondition::Absent).await?, true)
            }
            Err(fault) => return Err(fault.into()),
        };
        let keys = device.identity.authentication.keys().ok_or_else(|| {
            Failure::new(
                FAILED,
                format!("device {id} does not use keys; run with --reset to begin anew"),
            )
        })?;
        Ok(Self { key: keys.primary.clone(), id, is_new, mqtt_port: hub.mqtt_port })
    }

    /// What the device connects with.
    pub(super) fn connection_string(&self) -> String {
        let host_name = match self.mqtt_port {
            super::ports::MQTT => HUB_HOST_NAME.to_owned(),
            port => format!("{HUB_HOST_NAME}:{port}"),
        };
        format!("HostName={host_name};DeviceId={};SharedAccessKey={}", self.id, self.key)
    }

    /// Applies the manifest, when the device has another one.
    pub(super) async fn deploy(
        &self,
        hub: &RunningHub,
        content: &Value,
        show: &mut Show,
    ) -> Result<(), Failure> {
        let agent = IdentityId::module(self.id.clone(), ModuleId::edge_agent());
        let twin = hub.hub.twin(&agent).await?.twin;
        let wanted = &content["modulesContent"]["$edgeAgent"]["properties.desired"];
        if Value::Object(twin.desired.properties) == *wanted {
            show.step("deployment", "is the one of the earlier run");
            return Ok(());
        }
        hub.hub.apply_content(&self.id, content.clone()).await?;
        show.step("deployment", &format!("edgeHub and {SENSOR} published to the device"));
        Ok(())
    }

    /// Waits until the device itself reports that its modules run.
    pub(super) async fn until_running(
        &self,
        hub: &RunningHub,
        show: &mut Show,
        clock: &Clock,
    ) -> Result<(), Failure> {
        let agent = IdentityId::module(self.id.clone(), ModuleId::edge_agent());
        let mut last = String::new();
        let complain_at = clock.now() + PATIENCE;
        let mut complained = false;
        loop {
            let twin = hub.hub.twin(&agent).await?.twin;
            let report =
                Report::read(&Value::Object(twin.reported.properties), twin.desired.version);
            if report.text != last {
                show.waiting("modules", &report.text);
                last.clone_from(&report.text);
            }
            if report.all_run {
                show.step("modules", &report.text);
                return Ok(());
            }
            if !complained && clock.now() >= complain_at {
                complained = true;
                show.trouble(&format!(
                    "the modules do not all run yet: {}. See `farshore iotedge list` and `farshore iotedge logs edgeHub`.",
                    report.text
                ));
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// The agent's report, in a line.
struct Report {
    text: String,
    all_run: bool,
}

impl Report {
    fn read(reported: &Value, desired_version: u64) -> Self {
        let status =
            |module: &Value| module["runtimeStatus"].as_str().unwrap_or("not started").to_owned();
        let is_current = reported["lastDesiredVersion"].as_u64() == Some(desired_version);
        let code = reported["lastDesiredStatus"]["code"].as_u64();
        let states = [
            ("edgeAgent", status(&reported["systemModules"]["edgeAgent"])),
            ("edgeHub", status(&reported["systemModules"]["edgeHub"])),
            (SENSOR, status(&reported["modules"][SENSOR])),
        ];
        let mut text = states
            .iter()
            .map(|(name, status)| format!("{name} {status}"))
            .collect::<Vec<_>>()
            .join(", ");
        if is_current && code.is_some_and(|code| code != 200) {
            let why = reported["lastDesiredStatus"]["description"].as_str().unwrap_or_default();
            text.push_str(&format!(" ({why})"));
        }
        let all_run = is_current && states.iter().all(|(_, status)| status == "running");
        Self { text, all_run }
    }
}

/// The deployment of `up`: the edge hub and the sensor, by their well-known names.
pub(super) fn manifest(containers: bool, listen: EdgeHubListen, storage: &Path) -> Value {
    let published = |address: SocketAddr| json!([{"HostIp": address.ip().to_string(), "HostPort": address.port().to_string()}]);
    let hub_options = if containers {
        json!({"HostConfig": {
            "Binds": [format!("{}:/iotedge/storage", storage.display())],
            "PortBindings": {
                "8883/tcp": published(listen.mqtt),
                "5671/tcp": published(listen.amqp),
                "443/tcp": published(listen.https),
            },
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        }})
    } else {
        json!({})
    };
    let sensor_options = if containers {
        json!({"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}}})
    } else {
        json!({})
    };
    let hub_env = if containers {
        json!({"storageFolder": {"value": "/iotedge/storage"}})
    } else {
        json!({})
    };
    json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
            "systemModules": {
                "edgeAgent": {
                    "type": "docker",
                    "settings": {"image": "mcr.microsoft.com/azureiotedge-agent:1.5", "createOptions": "{}"},
                },
                "edgeHub": {
                    "type": "docker",
                    "status": "running",
                    "restartPolicy": "always",
                    "startupOrder": 0,
                    "env": hub_env,
                    "settings": {
                        "image": "mcr.microsoft.com/azureiotedge-hub:1.5",
                        "createOptions": hub_options.to_string(),
                    },
                },
            },
            "modules": {
                SENSOR: {
                    "type": "docker",
                    "status": "running",
                    "restartPolicy": "always",
                    "startupOrder": 1,
                    "version": "1.0",
                    "env": {"MessageCount": {"value": "-1"}},
                    "settings": {
                        "image": "mcr.microsoft.com/azureiotedge-simulated-temperature-sensor:1.5",
                        "createOptions": sensor_options.to_string(),
                    },
                },
            },
        }},
        "$edgeHub": {"properties.desired": {
            "schemaVersion": "1.1",
            "routes": {"sensorToUpstream": format!("FROM /messages/modules/{SENSOR}/* INTO $upstream")},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }},
        SENSOR: {"properties.desired": {"SendData": true, "SendInterval": 2}},
    }})
}

/// A reader of each partition, from now on.
pub(super) fn readers(hub: &RunningHub) -> Result<Vec<EventsReader>, Fault> {
    let partitions = EventsBackend::partitions(&hub.hub)?;
    partitions.into_iter().map(|info| hub.hub.read(info.partition, EventStart::End)).collect()
}

/// Shows telemetry, as it stands in the event log, for ever.
pub(super) async fn follow(
    readers: Vec<EventsReader>,
    device: &FirstDevice,
    show: &mut Show,
) -> Result<(), Failure> {
    let mut waiting: FuturesUnordered<_> = readers.into_iter().map(next).collect();
    while let Some((reader, events)) = waiting.next().await {
        for event in events? {
            if event.source == "Telemetry" && event.sender.device == device.id {
                show.telemetry(&event);
            }
        }
        waiting.push(next(reader));
    }
    Ok(())
}

async fn next(mut reader: EventsReader) -> (EventsReader, Result<Vec<Event>, Fault>) {
    let events = reader.next(BATCH, true).await;
    (reader, events)
}

impl std::fmt::Debug for FirstDevice {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstDevice").field("id", &self.id).finish_non_exhaustive()
    }
}
