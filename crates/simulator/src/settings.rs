//! The sensor's settings, read from the environment that its manifest gives it.
//!
//! Names and defaults are `tools.md` §3.1; names are compared without case, as the original's
//! configuration reader does. The file knows nothing of the module's own `IOTEDGE_*` variables:
//! those are `client::environment`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::console::Level;
use crate::timespan;

/// Everything that can be set from outside before the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Time between two messages until the twin says otherwise (`MessageDelay`).
    pub message_delay: Duration,
    /// How many messages to send (`MessageCount`).
    pub message_count: MessageCount,
    /// The machine's ranges.
    pub ranges: Ranges,
    /// Which protocol to speak (`ClientTransportType`).
    pub transport: Transport,
    /// The least important lines to print (`RuntimeLogLevel`).
    pub log_level: Level,
    /// Seed of the walk; none draws one at each start (`Seed`, ours).
    pub seed: Option<u64>,
}

/// The ranges that the simulated machine moves in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranges {
    /// `machineTempMin`, °C.
    pub temperature_min: f64,
    /// `machineTempMax`, °C.
    pub temperature_max: f64,
    /// `machinePressureMin`, bar.
    pub pressure_min: f64,
    /// `machinePressureMax`, bar.
    pub pressure_max: f64,
    /// `ambientTemp`, °C.
    pub ambient_temperature: f64,
    /// `ambientHumidity`, percent; readings differ from it by at most one. The original reads it
    /// and forgets it.
    pub ambient_humidity: i64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            temperature_min: 21.0,
            temperature_max: 100.0,
            pressure_min: 1.0,
            pressure_max: 10.0,
            ambient_temperature: 21.0,
            ambient_humidity: 25,
        }
    }
}

/// How many messages to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageCount {
    /// No end: any negative number.
    Unlimited,
    /// This many; 0 sends none and the module stays up.
    Limited(u64),
}

impl MessageCount {
    /// Whether a message may follow after `sent` of them.
    pub fn allows_more_than(self, sent: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Limited(count) => sent < count,
        }
    }
}

impl fmt::Display for MessageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Limited(count) => write!(f, "{count}"),
        }
    }
}

/// A way to reach the edge hub. AMQP is missing: whoever asks for it is told so, and an unset
/// `ClientTransportType`, which means AMQP in the original, means MQTT here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `Mqtt`.
    Mqtt,
    /// `Mqtt_Tcp_Only`; the same connection under its longer name.
    MqttTcpOnly,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt => "Mqtt",
            Self::MqttTcpOnly => "Mqtt_Tcp_Only",
        })
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The text is not of the setting's kind.
    #[error("environment variable {name} is {value:?}; expected {expected}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A range is empty.
    #[error("environment variable {low} must be below {high}")]
    Range {
        /// The lower end's variable.
        low: &'static str,
        /// The upper end's variable.
        high: &'static str,
    },
    /// A protocol that this sensor does not speak.
    #[error(
        "ClientTransportType is {0}, which this sensor does not speak; set it to Mqtt or remove it"
    )]
    Transport(String),
}

impl Settings {
    /// Reads the settings; what is absent has its default.
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let env = Env(env);
        let defaults = Ranges::default();
        let ranges = Ranges {
            temperature_min: env.number("machineTempMin", defaults.temperature_min)?,
            temperature_max: env.number("machineTempMax", defaults.temperature_max)?,
            pressure_min: env.number("machinePressureMin", defaults.pressure_min)?,
            pressure_max: env.number("machinePressureMax", defaults.pressure_max)?,
            ambient_temperature: env.number("ambientTemp", defaults.ambient_temperature)?,
            ambient_humidity: env.humidity(defaults.ambient_humidity)?,
        };
        // An empty range has no slope; the original would send NaN, which is no JSON.
        if ranges.temperature_min >= ranges.temperature_max {
            return Err(SettingsError::Range { low: "machineTempMin", high: "machineTempMax" });
        }
        Ok(Self {
            message_delay: env.message_delay()?,
            message_count: env.message_count()?,
            ranges,
            transport: env.transport()?,
            log_level: env.log_level()?,
            seed: env.seed()?,
        })
    }
}

struct Env<'a>(&'a BTreeMap<String, String>);

impl Env<'_> {
    /// The variable's value; an empty one counts as absent.
    fn get(&self, name: &str) -> Option<&str> {
        let exact = self.0.get(name);
        let value = exact.or_else(|| {
            self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        value.map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn read<T>(
        &self,
        name: &'static str,
        default: T,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        parse(value).ok_or_else(|| SettingsError::Value { name, value: value.to_owned(), expected })
    }

    fn number(&self, name: &'static str, default: f64) -> Result<f64, SettingsError> {
        self.read(name, default, "a number such as 21.5", |text| {
            text.parse::<f64>().ok().filter(|number| number.is_finite())
        })
    }

    fn humidity(&self, default: i64) -> Result<i64, SettingsError> {
        self.read("ambientHumidity", default, "a whole percentage from 0 to 100", |text| {
            text.parse().ok().filter(|percent| (0..=100).contains(percent))
        })
    }

    fn message_delay(&self) -> Result<Duration, SettingsError> {
        let expected = "a span of time such as 00:00:05";
        self.read("MessageDelay", MESSAGE_DELAY_DEFAULT, expected, timespan::parse)
    }

    fn message_count(&self) -> Result<MessageCount, SettingsError> {
        let expected = "a whole number; a negative one sends without end, 0 sends nothing";
        self.read("MessageCount", MessageCount::Limited(MESSAGE_COUNT_DEFAULT), expected, |text| {
            let count: i64 = text.parse().ok()?;
            Some(u64::try_from(count).map_or(MessageCount::Unlimited, MessageCount::Limited))
        })
    }

    fn transport(&self) -> Result<Transport, SettingsError> {
        const NAME: &str = "ClientTransportType";
        let Some(text) = self.get(NAME) else { return Ok(Transport::Mqtt) };
        match text.to_ascii_lowercase().as_str() {
            "mqtt" => Ok(Transport::Mqtt),
            "mqtt_tcp_only" => Ok(Transport::MqttTcpOnly),
            "mqtt_websocket_only" | "amqp" | "amqp_tcp_only" | "amqp_websocket_only" | "http1" => {
                Err(SettingsError::Transport(text.to_owned()))
            }
            _ => Err(SettingsError::Value {
                name: NAME,
                value: text.to_owned(),
                expected: "Mqtt or Mqtt_Tcp_Only",
            }),
        }
    }

    fn log_level(&self) -> Result<Level, SettingsError> {
        let expected = "one of fatal, error, warning, info, debug, verbose";
        self.read("RuntimeLogLevel", Level::Info, expected, Level::from_name)
    }

    fn seed(&self) -> Result<Option<u64>, SettingsError> {
        self.read("Seed", None, "a whole number from 0 on", |text| text.parse().ok().map(Some))
    }
}

/// `MessageDelay` when nothing is set.
const MESSAGE_DELAY_DEFAULT: Duration = Duration::from_secs(5);
/// `MessageCount` when nothing is set.
const MESSAGE_COUNT_DEFAULT: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::from_env(&env)
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let expected = Settings {
            message_delay: Duration::from_secs(5),
            message_count: MessageCount::Limited(500),
            ranges: Ranges::default(),
            transport: Transport::Mqtt,
            log_level: Level::Info,
            seed: None,
        };
        assert_eq!(read(&[]).unwrap(), expected);
        assert_eq!(
            read(&[("MessageDelay", ""), ("EdgeHubConnectionString", "x")]).unwrap(),
            expected
        );
    }

    #[test]
    fn everything_can_be_set_in_any_case() {
        let settings = read(&[
            ("messagedelay", "00:00:00.25"),
            ("MESSAGECOUNT", "-1"),
            ("machineTempMin", "10"),
            ("machineTempMax", "20.5"),
            ("machinePressureMin", "2"),
            ("machinePressureMax", "3"),
            ("ambientTemp", "-4"),
            ("ambientHumidity", "60"),
            ("ClientTransportType", "mqtt_tcp_only"),
            ("RuntimeLogLevel", "Debug"),
            ("Seed", "42"),
        ])
        .unwrap();
        assert_eq!(settings.message_delay, Duration::from_millis(250));
        assert_eq!(settings.message_count, MessageCount::Unlimited);
        assert_eq!(settings.ranges.temperature_max, 20.5);
        assert_eq!(settings.ranges.ambient_humidity, 60);
        assert_eq!(settings.transport.to_string(), "Mqtt_Tcp_Only");
        assert_eq!(settings.log_level, Level::Debug);
        assert_eq!(settings.seed, Some(42));
        assert_eq!(read(&[("MessageCount", "0")]).unwrap().message_count, MessageCount::Limited(0));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_the_fix() {
        for (name, value, message) in [
            (
                "MessageDelay",
                "5 seconds",
                "environment variable MessageDelay is \"5 seconds\"; expected a span of time such as 00:00:05",
            ),
            (
                "MessageCount",
                "many",
                "environment variable MessageCount is \"many\"; expected a whole number; a negative one sends without end, 0 sends nothing",
            ),
            (
                "machineTempMin",
                "NaN",
                "environment variable machineTempMin is \"NaN\"; expected a number such as 21.5",
            ),
            (
                "machineTempMin",
                "100",
                "environment variable machineTempMin must be below machineTempMax",
            ),
            (
                "ambientHumidity",
                "25.5",
                "environment variable ambientHumidity is \"25.5\"; expected a whole percentage from 0 to 100",
            ),
            (
                "RuntimeLogLevel",
                "loud",
                "environment variable RuntimeLogLevel is \"loud\"; expected one of fatal, error, warning, info, debug, verbose",
            ),
            (
                "Seed",
                "-1",
                "environment variable Seed is \"-1\"; expected a whole number from 0 on",
            ),
            (
                "ClientTransportType",
                "Amqp_Tcp_Only",
                "ClientTransportType is Amqp_Tcp_Only, which this sensor does not speak; set it to Mqtt or remove it",
            ),
            (
                "ClientTransportType",
                "pigeon",
                "environment variable ClientTransportType is \"pigeon\"; expected Mqtt or Mqtt_Tcp_Only",
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn counts_end_where_they_should() {
        assert!(MessageCount::Unlimited.allows_more_than(u64::MAX));
        assert!(!MessageCount::Limited(0).allows_more_than(0));
        assert!(MessageCount::Limited(2).allows_more_than(1));
        assert!(!MessageCount::Limited(2).allows_more_than(2));
    }
}
