//! Sizes and counts with the source of each. `device-protocol.md` is abbreviated dp.

/// Characters in a device or module id (dp §2.3).
pub const ID_LENGTH_MAX: usize = 128;
/// Modules of one device, system modules included (`service-api.md` §2.2).
pub const MODULES_PER_DEVICE_MAX: usize = 50;
/// A device-to-cloud message: body, system property values, user property names and values (dp §6.5).
pub const TELEMETRY_BYTES_MAX: usize = 256 * 1024;
/// A cloud-to-device message (dp §9).
pub const CLOUD_TO_DEVICE_BYTES_MAX: usize = 64 * 1024;
/// Cloud-to-device messages that may wait for one device (dp §9).
pub const CLOUD_TO_DEVICE_PENDING_MAX: usize = 50;
/// A cloud-to-device message lives this long unless it says otherwise (dp §9).
pub const CLOUD_TO_DEVICE_TTL_DEFAULT_S: u64 = 3600;
/// The longest life a cloud-to-device message can ask for (dp §9).
pub const CLOUD_TO_DEVICE_TTL_MAX_S: u64 = 2 * 24 * 3600;
/// Deliveries of one cloud-to-device message before it is dead (dp §9, default of 1–100).
pub const CLOUD_TO_DEVICE_DELIVERIES_MAX: u32 = 10;
/// How long a delivered, unsettled cloud-to-device message stays locked (dp §9).
pub const CLOUD_TO_DEVICE_LOCK_S: u64 = 60;
/// Unsettled cloud-to-device messages on one MQTT connection (dp §9).
pub const CLOUD_TO_DEVICE_WINDOW: usize = 16;
/// Records of one feedback message (dp §9).
pub const FEEDBACK_RECORDS_MAX: usize = 64;
/// A feedback record waits this long for others (dp §9).
pub const FEEDBACK_GATHERING_S: u64 = 15;
/// A feedback message waits this long for a receiver (`service-api.md` §5.2, default of 1 minute to
/// 2 days).
pub const FEEDBACK_TTL_S: u64 = 3600;
/// How long a feedback message stays locked (`service-api.md` §5.2, default of 5–300).
pub const FEEDBACK_LOCK_S: u64 = 60;
/// How often a feedback message is given out (`service-api.md` §5.2, default of 1–100).
pub const FEEDBACK_DELIVERIES_MAX: u32 = 10;
/// A direct method's request or answer payload (dp §8).
pub const METHOD_PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Characters in a direct method's name (dp §8).
pub const METHOD_NAME_LENGTH_MAX: usize = 100;
/// Shortest and longest response time-out of a direct method, seconds (dp §8).
pub const METHOD_RESPONSE_TIMEOUT_S: std::ops::RangeInclusive<u64> = 5..=300;
/// Response time-out of a direct method when the caller names none, seconds (dp §8).
pub const METHOD_RESPONSE_TIMEOUT_DEFAULT_S: u64 = 30;
/// Longest connect time-out of a direct method, seconds; 0 means the device must be there (dp §8).
pub const METHOD_CONNECT_TIMEOUT_MAX_S: u64 = 300;
/// Direct methods that may wait for one identity's answer (`service-api.md` §5.1, code 403800;
/// the number is ours).
pub const METHODS_IN_FLIGHT_MAX: usize = 64;
/// The tags section of a twin (dp §7.1).
pub const TWIN_TAGS_BYTES_MAX: usize = 8 * 1024;
/// The desired section of a twin (dp §7.1).
pub const TWIN_DESIRED_BYTES_MAX: usize = 32 * 1024;
/// The reported section of a twin (dp §7.1).
pub const TWIN_REPORTED_BYTES_MAX: usize = 32 * 1024;
/// A key in a twin, bytes (dp §7.1).
pub const TWIN_KEY_BYTES_MAX: usize = 1024;
/// A text value in a twin, bytes (dp §7.1).
pub const TWIN_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Levels of nesting under a section of a twin, arrays counted (dp §7.1).
pub const TWIN_DEPTH_MAX: usize = 10;
/// The integers a twin can hold lie in ±2⁵² (dp §7.1).
pub const TWIN_INTEGER_MAX: i64 = 4_503_599_627_370_495;
/// Skew allowed between a token's clock and ours, seconds (dp §2.1).
pub const TOKEN_SKEW_S: u64 = 300;
/// Entries of an identity's status reason, characters (`service-api.md` §2.3).
pub const STATUS_REASON_LENGTH_MAX: usize = 128;
/// Identities in one answer of the registry's list (`service-api.md` §2.1).
pub const LIST_PAGE_MAX: usize = 1000;
/// Consumer groups of a hub beside `$Default` (`service-api.md` §8.1, the documented figure).
pub const CONSUMER_GROUPS_MAX: usize = 20;
/// Receivers without an epoch on one partition and consumer group (`service-api.md` §9.5).
pub const EVENT_RECEIVERS_MAX: usize = 5;
/// Certificate authorities that a hub can register (`service-api.md` §11, the figure of the
/// provisioning service).
pub const AUTHORITIES_MAX: usize = 25;
