//! What a hub is told when it starts.

use std::time::Duration;

use model::limits;

/// What a hub is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names under which clients know this hub; the first one is its own.
    pub host_names: Vec<String>,
    /// Cloud-to-device messages.
    pub cloud_to_device: CloudToDevice,
}

/// How cloud-to-device messages live and die (`service-api.md` §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloudToDevice {
    /// How long a message lives that does not say it.
    pub ttl_default: Duration,
    /// How often a message is delivered before it is dead.
    pub deliveries_max: u32,
    /// Feedback on them.
    pub feedback: Feedback,
}

/// How feedback lives and dies (`service-api.md` §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// How long a feedback message waits for a receiver.
    pub ttl: Duration,
    /// How long a receiver may keep it without settling it.
    pub lock: Duration,
    /// How often it is given out before it is dropped.
    pub deliveries_max: u32,
}

impl Settings {
    /// A hub of these names, everything else as the service has it.
    pub fn new(host_names: Vec<String>) -> Self {
        Self { host_names, cloud_to_device: CloudToDevice::default() }
    }
}

impl Default for CloudToDevice {
    fn default() -> Self {
        Self {
            ttl_default: Duration::from_secs(limits::CLOUD_TO_DEVICE_TTL_DEFAULT_S),
            deliveries_max: limits::CLOUD_TO_DEVICE_DELIVERIES_MAX,
            feedback: Feedback::default(),
        }
    }
}

impl Default for Feedback {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(limits::FEEDBACK_TTL_S),
            lock: Duration::from_secs(limits::FEEDBACK_LOCK_S),
            deliveries_max: limits::FEEDBACK_DELIVERIES_MAX,
        }
    }
}
