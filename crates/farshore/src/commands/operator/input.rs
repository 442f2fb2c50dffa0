//! Reading what an operator gives: ids, JSON texts, files, times, pairs.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use model::twin::Object;
use model::{DeviceId, IdentityId, ModuleId};

use crate::commands::{Failure, USAGE};

/// A device, or a module of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// Device id
    #[arg(value_name = "DEVICE")]
    device: DeviceId,
    /// Module of the device, such as $edgeAgent
    #[arg(long, value_name = "MODULE")]
    module: Option<ModuleId>,
}

impl Target {
    /// Whose it is.
    pub(crate) fn identity(&self) -> IdentityId {
        IdentityId { device: self.device.clone(), module: self.module.clone() }
    }
}

/// A JSON object given as text; `what` names the option.
pub(crate) fn object(text: &[u8], what: &str) -> Result<Object, Failure> {
    model::twin::parse_object(text)
        .map_err(|error| Failure::new(USAGE, format!("{what}: {}", own_words(&error))))
}

/// The bytes of a file, or of standard input for `-`.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let mut stdin = std::io::Read::take(std::io::stdin().lock(), FILE_BYTES_MAX);
        std::io::Read::read_to_end(&mut stdin, &mut bytes)?;
        return Ok(bytes);
    }
    host::fs::read(path).map_err(|error| {
        let failure = Failure::from(error);
        Failure::new(USAGE, failure.message().unwrap_or_default())
    })
}

/// `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value".to_owned()),
    }
}

/// A time: ISO 8601, or a duration from now such as `30s`, `10m`, `2h`, `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At this time.
    At(Timestamp),
    /// So long from now.
    In(Duration),
}

impl When {
    /// The time, counted from `now`.
    pub(crate) fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::In(duration) => now.checked_add(duration).ok(),
        }
    }
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = |unit: char| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            'd' => Some(86_400),
            _ => None,
        };
        let seconds = text.chars().last().and_then(unit).and_then(|factor: u64| {
            text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(factor)
        });
        if let Some(seconds) = seconds {
            return Ok(Self::In(Duration::from_secs(seconds)));
        }
        iot_proto::time::parse(text).map(Self::At).ok_or_else(|| {
            "write a time such as 2026-12-31T18:00:00Z, or a duration such as 30s, 10m, 2h, 1d"
                .to_owned()
        })
    }
}

fn own_words(error: &dyn std::error::Error) -> String {
    crate::output::harmless(&error.to_string()).into_owned()
}

/// More than any manifest or twin may have.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_from_now() {
        let now: Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("90s", "2026-11-25T00:01:30Z"),
            ("10m", "2026-11-25T00:10:00Z"),
            ("2h", "2026-11-25T02:00:00Z"),
            ("1d", "2026-11-26T00:00:00Z"),
            ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00Z"),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!(when.from(now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "s", "-1h", "soon", "1w", "ä", "18446744073709551615d"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
        assert_eq!(When::In(Duration::MAX).from(now), None);
    }

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn an_object_that_is_none_is_refused_with_the_option() {
        let failure = object(b"[1]", "--desired").unwrap_err();
        assert!(failure.message().unwrap().starts_with("--desired: "), "{failure:?}");
    }
}
