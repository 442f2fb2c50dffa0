//! The original agent's environment variables (er §4.10): those that are honoured, and an answer
//! by name to every other.
//!
//! They come from `[agent.env]` of the device's settings and from the manifest's `edgeAgent`, which
//! wins. Names are read in any case. A value that cannot be used is told, and the default holds.

use std::collections::BTreeMap;
use std::time::Duration;

use manifest::agent::{Env, RegistryCredential};

use crate::settings::Timing;

/// What the variables say.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    cool_off: Option<Duration>,
    intensive_care: Option<Duration>,
    healthy_within: Option<Duration>,
    healthy_after: Option<Duration>,
    /// Whether metrics are served at all.
    pub(crate) metrics_enabled: bool,
    /// When images are pulled.
    pub(crate) update_mode: UpdateMode,
    /// Further credentials; those of the manifest come first (er §4.6).
    pub(crate) credentials: Vec<RegistryCredential>,
    /// What has no effect, and why, in one line each.
    pub(crate) notes: Vec<String>,
}

/// When the images of a deployment are pulled (`ModuleUpdateMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UpdateMode {
    /// Each before its module is replaced.
    #[default]
    NonBlocking,
    /// All of them before any module is touched.
    WaitForAllPulls,
}

impl Default for Variables {
    fn default() -> Self {
        Self {
            cool_off: None,
            intensive_care: None,
            healthy_within: None,
            healthy_after: None,
            metrics_enabled: true,
            update_mode: UpdateMode::default(),
            credentials: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Variables {
    /// Reads them; `manifest` is the environment of its `edgeAgent`.
    pub(crate) fn read(settings: &BTreeMap<String, String>, manifest: Option<&Env>) -> Self {
        let mut all: BTreeMap<String, (&str, &str)> = BTreeMap::new();
        for (name, value) in settings.iter().chain(manifest.into_iter().flatten()) {
            all.insert(name.to_ascii_lowercase(), (name, value));
        }
        let mut variables = Self::default();
        variables.notes.extend(own_notes(settings, manifest));
        let mut registries: BTreeMap<String, RegistryParts> = BTreeMap::new();
        for (key, (name, value)) in &all {
            if let Some(rest) = key.strip_prefix(REGISTRY_PREFIX) {
                if let Some((number, field)) = rest.split_once("__") {
                    let parts = registries.entry(number.to_owned()).or_default();
                    parts.set(field, value);
                }
            } else if let Err(note) = variables.take(key, name, value.trim()) {
                variables.notes.push(note);
            }
        }
        for (number, parts) in registries {
            match parts.whole(&number) {
                Some(credential) => variables.credentials.push(credential),
                None => variables.notes.push(format!(
                    "DockerRegistryAuth__{number} has no effect: serverAddress, username and \
                     password have to be set together"
                )),
            }
        }
        variables
    }

    fn take(&mut self, key: &str, name: &str, value: &str) -> Result<(), String> {
        let wrong = |fix: &str| format!("{name} is {value:?} and has no effect: {fix}");
        let number = |max: u64, fix: &str| match value.parse::<u64>() {
            Ok(number) if number <= max => Ok(number),
            _ => Err(wrong(fix)),
        };
        match key {
            "coolofftimeunitinseconds" => {
                let seconds = number(COOL_OFF_MAX, "set 0 to 300 seconds")?;
                self.cool_off = Some(Duration::from_secs(seconds));
            }
            "intensivecaretimeinminutes" => {
                let minutes = number(MINUTES_MAX, "set a number of minutes")?;
                self.intensive_care = Some(Duration::from_secs(minutes * 60));
            }
            "farshore_deployment_healthy_within_secs" => {
                let seconds = number(MINUTES_MAX * 60, "set a number of seconds, or 0 for never")?;
                self.healthy_within = Some(Duration::from_secs(seconds));
            }
            "farshore_deployment_healthy_after_secs" => {
                let seconds = number(MINUTES_MAX * 60, "set a number of seconds")?;
                self.healthy_after = Some(Duration::from_secs(seconds));
            }
            "metricsenabled" => {
                self.metrics_enabled = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(wrong("set true or false")),
                };
            }
            "moduleupdatemode" => {
                self.update_mode = match value.to_ascii_lowercase().as_str() {
                    "" | "nonblocking" => UpdateMode::NonBlocking,
                    "waitforallpulls" => UpdateMode::WaitForAllPulls,
                    _ => return Err(wrong("set NonBlocking or WaitForAllPulls")),
                };
            }
            _ => {
                let answer = ANSWERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                let experimental = key.starts_with("experimentalfeatures");
                match answer {
                    Some((name, why)) => return Err(format!("{name} has no effect: {why}")),
                    None if experimental => {
                        return Err(format!("{name} has no effect: there are no such features"));
                    }
                    // Read elsewhere, or nobody's.
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// The agent's periods with what the variables change.
    pub(crate) fn timing(&self, timing: &Timing) -> Timing {
        Timing {
            cool_off: self.cool_off.unwrap_or(timing.cool_off),
            intensive_care: self.intensive_care.unwrap_or(timing.intensive_care),
            healthy_within: self.healthy_within.unwrap_or(timing.healthy_within),
            healthy_after: self.healthy_after.unwrap_or(timing.healthy_after),
            ..*timing
        }
    }

    /// Credentials for a registry.
    pub(crate) fn credentials_for(&self, registry: &str) -> Option<&RegistryCredential> {
        self.credentials.iter().find(|entry| entry.address.eq_ignore_ascii_case(registry))
    }
}

/// What the agent needs before there is a manifest, or must not lose with one: of the manifest it
/// is only told when it says something else.
fn own_notes(settings: &BTreeMap<String, String>, manifest: Option<&Env>) -> Vec<String> {
    let value = |env: &BTreeMap<String, String>, wanted: &str| {
        let found = env.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let note = |(name, default): &(&str, &str)| {
        let told = manifest.and_then(|env| value(env, name))?;
        let own = value(settings, name).unwrap_or_else(|| (*default).to_owned());
        let is_word = !default.is_empty();
        let is_same = told == own || is_word && told.eq_ignore_ascii_case(&own);
        (!is_same).then(|| {
            format!("{name} of the manifest has no effect on the agent: set it in [agent.env] of config.toml")
        })
    };
    OWN.iter().filter_map(note).collect()
}

/// Credentials while they are put together. Has no `Debug`, because it holds a password.
#[derive(Default)]
struct RegistryParts {
    address: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl RegistryParts {
    fn set(&mut self, field: &str, value: &str) {
        let slot = match field {
            "serveraddress" => &mut self.address,
            "username" => &mut self.username,
            "password" => &mut self.password,
            _ => return,
        };
        *slot = Some(value.to_owned());
    }

    fn whole(self, number: &str) -> Option<RegistryCredential> {
        Some(RegistryCredential {
            name: format!("DockerRegistryAuth__{number}"),
            address: self.address?,
            username: self.username?,
            password: self.password?,
        })
    }
}

/// In lower case; parts are separated by two underscores.
const REGISTRY_PREFIX: &str = "dockerregistryauth__";
/// Seconds (er §4.5).
const COOL_OFF_MAX: u64 = 300;
/// Ten years; more is a mistake.
const MINUTES_MAX: u64 = 10 * 365 * 24 * 60;

/// Those that count in `[agent.env]` alone, with what holds without them.
const OWN: [(&str, &str); 4] = [
    ("https_proxy", ""),
    ("no_proxy", ""),
    ("RuntimeLogLevel", "info"),
    ("UpstreamProtocol", "Amqp"),
];
/// Variables of the original that change nothing here, with the reason.
const ANSWERS: [(&str, &str); 31] = [
    ("BackupConfigFilePath", "the deployment is kept sealed in the daemon's directory"),
    ("BackupFolder", STORAGE),
    ("CloseCloudConnectionOnIdleTimeout", "the connection is kept"),
    ("CloudConnectionIdleTimeoutSecs", "the connection is kept"),
    ("ConfigRefreshFrequencySecs", "the whole twin is read after every connect and each hour"),
    ("ConfigSource", "deployments come from the hub"),
    ("DisableDeviceAnalyticsMetadata", TELEMETRY),
    ("EDGEAGENTUSER_ID", "the agent is part of the daemon and has its user"),
    ("EnableNonPersistentStorageBackup", STORAGE),
    ("EnableOrphanedIdentityCleanup", "only identities that the agent made are ever deleted"),
    ("EnableSdkDebugLogs", "set RuntimeLogLevel"),
    ("EnableStreams", "device streams are not served"),
    ("LocalConfigPath", "deployments come from the hub"),
    ("ManagementApiTimeoutSecs", "pulls may take as long as they make progress"),
    ("MaxRestartCount", "restarts are never given up; they come at most 300 s apart"),
    ("MetricMaxUploadAge", TELEMETRY),
    ("MetricScrapeInterval", TELEMETRY),
    ("MetricUploadInterval", TELEMETRY),
    ("MetricsHistogramMaxAge", "histograms begin with the process"),
    ("Mode", "there is one way to run"),
    ("ModuleRequestThrottleTimeout", "pulls and other requests do not wait for each other"),
    ("PerformanceMetricsUpdateFrequency", "the machine is looked at when metrics are read"),
    ("RequestTimeoutSecs", "methods are answered at once, logs within 60 s"),
    ("RocksDB_MaxManifestFileSize", STORAGE),
    ("RocksDB_MaxOpenFiles", STORAGE),
    ("RocksDB_MaxTotalWalSize", STORAGE),
    ("SendRuntimeQualityTelemetry", TELEMETRY),
    ("Storage_LogLevel", STORAGE),
    ("UseOfflineCheck", "modules start without waiting for the hub anyway"),
    ("UsePersistentStorage", STORAGE),
    ("UseServerHeartbeat", "the connection has its own"),
];
const STORAGE: &str = "the agent keeps its state in the daemon's directory";
const TELEMETRY: &str = "nothing is sent to the maker of this program, nor to anybody else";

#[cfg(test)]
mod tests {
    use super::*;

    fn env(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn the_manifest_wins_over_the_settings_in_any_case() {
        let settings = env(&[
            ("CoolOffTimeUnitInSeconds", "7"),
            ("IntensiveCareTimeInMinutes", "3"),
            ("ModuleUpdateMode", "NonBlocking"),
            ("FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS", "0"),
            ("FARSHORE_DEPLOYMENT_HEALTHY_AFTER_SECS", "5"),
        ]);
        let manifest =
            env(&[("moduleupdatemode", "WaitForAllPulls"), ("COOLOFFTIMEUNITINSECONDS", "9")]);
        let variables = Variables::read(&settings, Some(&manifest));
        let timing = variables.timing(&Timing::default());
        assert_eq!(timing.cool_off, Duration::from_secs(9));
        assert_eq!(timing.intensive_care, Duration::from_secs(180));
        assert_eq!(timing.healthy_within, Duration::ZERO);
        assert_eq!(timing.healthy_after, Duration::from_secs(5));
        assert_eq!(timing.observe_every, Timing::default().observe_every);
        assert_eq!(variables.update_mode, UpdateMode::WaitForAllPulls);
        assert!(variables.notes.is_empty(), "{:?}", variables.notes);
    }

    #[test]
    fn what_has_no_effect_is_answered_by_name() {
        let settings = env(&[
            ("CoolOffTimeUnitInSeconds", "301"),
            ("maxRestartCount", "3"),
            ("ModuleUpdateMode", "Sometimes"),
            ("experimentalFeatures__enabled", "true"),
            ("RuntimeLogLevel", "debug"),
            ("MyOwn", "x"),
        ]);
        let variables = Variables::read(&settings, None);
        assert_eq!(
            variables.notes,
            [
                "CoolOffTimeUnitInSeconds is \"301\" and has no effect: set 0 to 300 seconds",
                "experimentalFeatures__enabled has no effect: there are no such features",
                "MaxRestartCount has no effect: restarts are never given up; they come at most 300 s apart",
                "ModuleUpdateMode is \"Sometimes\" and has no effect: set NonBlocking or WaitForAllPulls",
            ]
        );
        assert_eq!(variables.timing(&Timing::default()).cool_off, Duration::from_secs(10));
    }

    #[test]
    fn a_proxy_counts_in_the_devices_own_settings_only() {
        let proxy = |name, value| env(&[(name, value)]);
        let here = proxy("https_proxy", "http://me:geheim@p:1");
        assert!(Variables::read(&here, None).notes.is_empty());
        let same = proxy("HTTPS_PROXY", "http://me:geheim@p:1");
        assert!(Variables::read(&here, Some(&same)).notes.is_empty());
        let other = proxy("https_proxy", "http://me:geheim@q:1");
        for settings in [here, env(&[])] {
            assert_eq!(
                Variables::read(&settings, Some(&other)).notes,
                [
                    "https_proxy of the manifest has no effect on the agent: set it in [agent.env] of config.toml"
                ]
            );
        }
    }

    #[test]
    fn the_way_to_the_hub_and_the_log_level_are_the_devices_own() {
        let settings = env(&[("UpstreamProtocol", "MqttWs")]);
        let same = env(&[("upstreamprotocol", "mqttws"), ("RuntimeLogLevel", "Info")]);
        assert_eq!(Variables::read(&settings, Some(&same)).notes, Vec::<String>::new());
        let other = env(&[("UpstreamProtocol", "Amqp"), ("RuntimeLogLevel", "debug")]);
        let notes = Variables::read(&settings, Some(&other)).notes;
        assert!(notes[0].starts_with("RuntimeLogLevel of the manifest"), "{notes:?}");
        assert!(notes[1].starts_with("UpstreamProtocol of the manifest"), "{notes:?}");
        assert_eq!(notes.len(), 2);
    }

    /// Rows of a table begin with the variable's name.
    #[test]
    fn the_documentation_answers_each_too() {
        let text = include_str!("../../../docs/reference/compatibility.md");
        let begin = text.find("## Variables of the edge agent").unwrap();
        let section = &text[begin..][..text[begin + 3..].find("\n## ").unwrap()];
        for (name, why) in ANSWERS {
            assert!(section.contains(&format!("| `{name}` | {why} |")), "{name}: {why}");
        }
    }

    #[test]
    fn registries_are_put_together_and_passwords_never_shown() {
        let settings = env(&[
            ("DockerRegistryAuth__0__serverAddress", "reg.test:5000"),
            ("DockerRegistryAuth__0__username", "me"),
            ("DockerRegistryAuth__0__password", "geheim"),
            ("DockerRegistryAuth__1__password", "auch geheim"),
        ]);
        let variables = Variables::read(&settings, None);
        let found = variables.credentials_for("REG.test:5000").unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "geheim"));
        assert!(variables.credentials_for("other").is_none());
        assert_eq!(variables.notes.len(), 1);
        assert!(variables.notes[0].starts_with("DockerRegistryAuth__1 has no effect"));
        assert!(!format!("{variables:?}").contains("geheim"));
    }
}
