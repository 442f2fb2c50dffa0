//! Numbers: what the edge hub's metrics say, and times and sizes as people write and read them.

use std::time::Duration;

/// What the edge hub counts that tells how long it may be offline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct EdgeHubNumbers {
    /// Messages since it began.
    pub(in super::super) received: f64,
    /// Their bytes.
    pub(in super::super) received_bytes: f64,
    /// What the store takes and may take.
    pub(in super::super) store_bytes: Option<f64>,
    pub(in super::super) store_bytes_max: Option<f64>,
    /// Seconds; negative: for ever.
    pub(in super::super) time_to_live: Option<f64>,
}

/// Reads the text of `/metrics` (OpenMetrics); what it does not know is left out.
pub(in super::super) fn read(text: &str) -> EdgeHubNumbers {
    let mut numbers = EdgeHubNumbers::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        match name {
            "edgehub_messages_received_total" => numbers.received += value,
            "edgehub_message_size_bytes_sum" => numbers.received_bytes += value,
            "edgehub_store_bytes" => numbers.store_bytes = Some(value),
            "edgehub_store_bytes_max" => numbers.store_bytes_max = Some(value),
            "edgehub_time_to_live_seconds" => numbers.time_to_live = Some(value),
            _ => {}
        }
    }
    numbers
}

/// `30d`, `12h`, `90min`, `2w`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write for example 30d, 12h or 90min");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds: u64 = match unit {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        "y" => 365 * DAY,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A time in its largest fitting unit.
pub(super) fn time_words(seconds: f64) -> String {
    let units =
        [(365.0 * 86_400.0, "years"), (86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")];
    let fitting = units.into_iter().find(|(length, _)| seconds >= 2.0 * length);
    match fitting {
        Some((length, unit)) => format!("{:.0} {unit}", (seconds / length).floor()),
        None => format!("{seconds:.0} seconds"),
    }
}

/// Bytes in the largest fitting unit.
pub(super) fn size_words(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} bytes"),
    }
}

const DAY: u64 = 86_400;
