//! Counts (sa §2.1) and the answer of a purge (sa §5.5).

use serde::{Deserialize, Serialize};

/// The answer of `GET /statistics/devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatistics {
    /// Devices in all.
    pub total_device_count: u64,
    /// Devices that may connect.
    pub enabled_device_count: u64,
    /// Devices that may not.
    pub disabled_device_count: u64,
}

/// The answer of `GET /statistics/service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatistics {
    /// Devices that are connected now.
    pub connected_device_count: u64,
}

/// The answer of `DELETE /devices/{d}/commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// Messages removed.
    pub total_messages_purged: u64,
    /// From which device.
    pub device_id: String,
    /// Null for a device.
    pub module_id: Option<String>,
}
