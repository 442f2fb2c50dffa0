//! Every variable of the original's edge hub (er §5.12): honoured, or answered by name.
//!
//! A setting without effect is a trap, so one that is not honoured is told in the log when it is
//! set to something else than what holds here anyway.

use std::collections::BTreeMap;

/// A variable of the original that has no effect here.
pub(super) struct Answer {
    pub(super) name: &'static str,
    /// Values that mean what holds here anyway; none: every value is told.
    holds: &'static [&'static str],
    /// Why, and what to do instead.
    pub(super) answer: &'static str,
}

/// What was set and has no effect: name and answer.
pub(super) fn answers(env: &BTreeMap<String, String>) -> Vec<(&'static str, &'static str)> {
    let told = |answer: &&Answer| {
        env.iter().any(|(name, value)| {
            let value = value.trim();
            let holds = answer.holds.iter().any(|holds| holds.eq_ignore_ascii_case(value));
            name.eq_ignore_ascii_case(answer.name) && !value.is_empty() && !holds
        })
    };
    let mut answers: Vec<_> =
        ANSWERS.iter().filter(told).map(|answer| (answer.name, answer.answer)).collect();
    for (prefix, answer) in ANSWERED_PREFIXES {
        let begins = |name: &String| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if env.keys().any(begins) {
            answers.push((prefix, answer));
        }
    }
    answers
}

const fn answer(
    name: &'static str,
    holds: &'static [&'static str],
    answer: &'static str,
) -> Answer {
    Answer { name, holds, answer }
}

/// Variables that have an effect; [`super::Settings::from_env`] reads them.
#[cfg(test)]
pub(super) const HONOURED: [&str; 21] = [
    "amqpSettings__enabled",
    "amqpSettings__port",
    "ClientCertAuthEnabled",
    "ConfigRefreshFrequencySecs",
    "DeviceScopeCacheRefreshRateSecs",
    "httpSettings__enabled",
    "httpSettings__metrics_port",
    "httpSettings__port",
    "https_proxy",
    "MaxConnectedClients",
    "MessageAckTimeoutSecs",
    "Metrics__Listener__Host",
    "Metrics__Listener__MetricsEnabled",
    "Metrics__Listener__Port",
    "Metrics__Listener__Suffix",
    "mqttSettings__enabled",
    "no_proxy",
    "RuntimeLogLevel",
    "StorageFolder",
    "UpstreamProtocol",
    "FARSHORE_EDGE_STORE_FULL",
];

pub(super) const ANSWERS: [Answer; 48] = [
    answer("AmqpSettings__DelayedBatchingEnabled", &["false"], STREAM),
    answer("MqttSettings__UsePooledBuffers", &[], MEMORY),
    answer("MqttSettings__ThreadCount", &[], MEMORY),
    answer("MqttSettings__MaxInboundMessageSize", &["262144"], "messages have at most 256 KiB"),
    answer("MqttSettings__ListenBacklogSize", &[], MEMORY),
    answer("MqttSettings__EventLoopCount", &[], MEMORY),
    answer("MqttEventsProcessorThreadCount", &[], MEMORY),
    answer("ApiProxyModuleId", &[], "an API proxy in front of the edge hub is not served"),
    answer(
        "AuthenticationMode",
        &["Scope"],
        "clients are judged by the scope that was synced, online and offline",
    ),
    answer("BackupFolder", &[], ALWAYS_STORED),
    answer("EnableNonPersistentStorageBackup", &["false"], ALWAYS_STORED),
    answer("CacheTokens", &["false"], "tokens are judged anew at each connection, offline too"),
    answer("CheckEntireQueueOnCleanup", &[], CLEANED),
    answer("MessageCleanupIntervalSecs", &[], CLEANED),
    answer("CloseCloudConnectionOnDeviceDisconnect", &["true"], LINES),
    answer("CloseCloudConnectionOnIdleTimeout", &["true"], LINES),
    answer("CloudConnectionIdleTimeoutSecs", &[], LINES),
    answer("CloudOperationTimeoutSecs", &[], OFFLINE),
    answer("CloudConnectionHangingTimeoutSecs", &[], OFFLINE),
    answer("ConfigSource", &["twin"], "the configuration is that of the twin of $edgeHub"),
    answer("ConnectivityCheckFrequencySecs", &[], OFFLINE),
    answer(
        "DeviceScopeCacheRefreshDelaySecs",
        &[],
        "an identity that is new or fails is asked for at most every 20 seconds",
    ),
    answer("EDGEHUBUSER_ID", &["13623"], "the user of the image holds; set User in createOptions"),
    answer("EnableRoutingLogging", &["false"], LOGS),
    answer("EnableSdkDebugLogs", &["false"], LOGS),
    answer("EncryptTwinStore", &["true"], "twins are always sealed"),
    answer("experimentalFeatures__enabled", &["false"], "there are no experimental features"),
    answer("experimentalFeatures__disableCloudSubscriptions", &["false"], OFFLINE),
    answer("experimentalFeatures__disableConnectivityCheck", &["false"], OFFLINE),
    answer("IotHubConnectionPoolSize", &[], "each client has a connection of its own upstream"),
    answer("MaxUpstreamBatchSize", &[], STREAM),
    answer("UpstreamFanOutFactor", &[], STREAM),
    answer("Metrics__Listener__MetricsHistogramMaxAge", &[], "histograms never forget"),
    answer("MetricsEnabled", &["true"], "set Metrics__Listener__MetricsEnabled"),
    answer("MinTwinSyncPeriodSecs", &[], SYNCED),
    answer("ReportedPropertiesSyncFrequencySecs", &[], SYNCED),
    answer("NestedEdgeEnabled", &[], "edge devices below this one are not served"),
    answer("TrackDeviceState", &[], "messages of senders that the hub refuses are kept for them"),
    answer("TwinManagerVersion", &["v2"], "there is one kind"),
    answer("OptimizeForPerformance", &[], MEMORY),
    answer("protocolTimeoutInSecs", &[], "deadlines are those of the protocols"),
    answer("ShutdownWaitPeriod", &[], "the end takes a few seconds and loses nothing"),
    answer("ServerCertificateRenewAfterInMs", &[], CERTIFICATE),
    answer("MaxCheckCertExpiryInMs", &[], CERTIFICATE),
    answer("SslProtocols", &["tls1.2,tls1.3"], "TLS 1.2 and 1.3 are spoken"),
    answer("storeAndForwardEnabled", &["true"], ALWAYS_STORED),
    answer("UseServerHeartbeat", &["true"], OFFLINE),
    answer("UsePersistentStorage", &["true"], ALWAYS_STORED),
];

/// Other variables of the original's store and protocol libraries, by how they begin.
pub(super) const ANSWERED_PREFIXES: [(&str, &str); 2] = [
    ("RocksDB_", "the store is another one; FARSHORE_EDGE_STORE_BYTES bounds it"),
    ("Storage_", "the store is another one"),
];

const STREAM: &str =
    "messages are sent one after the other without waiting, 100 of a sender at once";
const MEMORY: &str = "threads and buffers are few and fixed";
const ALWAYS_STORED: &str = "messages are always stored on the disk before they are acknowledged";
const CLEANED: &str = "space of messages that are delivered or expired comes back within seconds";
const LINES: &str = "a connection to the hub ends when its client is gone and nothing waits for it";
const OFFLINE: &str = "the connection itself tells whether the hub is there";
const LOGS: &str = "set RuntimeLogLevel to debug";
const SYNCED: &str = "twins are synced at once when the hub is there";
const CERTIFICATE: &str = "the certificate is renewed in place";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once() {
        let mut names: Vec<String> = ANSWERS
            .iter()
            .map(|answer| answer.name)
            .chain(HONOURED)
            .map(str::to_ascii_lowercase)
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_documentation_answers_each_too() {
        let text = include_str!("../../../../docs/reference/compatibility.md");
        let begin = text.find("## Variables of the edge hub").unwrap();
        let section = &text[begin..][..text[begin + 3..].find("\n## ").unwrap()];
        let all = ANSWERS.iter().map(|answer| answer.name).chain(HONOURED);
        for name in all {
            // Those of one family share a row.
            let last = name.rsplit("__").next().unwrap_or(name);
            let is_there =
                section.contains(&format!("`{name}`")) || section.contains(&format!("`…__{last}`"));
            assert!(is_there, "{name}");
        }
    }

    #[test]
    fn only_what_would_change_something_is_told() {
        let env = |pairs: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            answers(&pairs.iter().map(own).collect())
        };
        assert_eq!(env(&[("AUTHENTICATIONMODE", "scope"), ("encryptTwinStore", "True")]), []);
        let told = env(&[("authenticationmode", "Cloud"), ("OptimizeForPerformance", "true")]);
        let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["AuthenticationMode", "OptimizeForPerformance"]);
    }
}
