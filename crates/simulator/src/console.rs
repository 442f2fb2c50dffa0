//! The lines that the sensor prints, in the form of all edge runtime parts.
//!
//! `<prio> yyyy-MM-dd HH:mm:ss.fff zzz [LVL] - text`: log retrieval filters on the priority
//! (`tools.md` §3.4). Times are UTC. Lines go to a [`Console`], which the entrance connects with
//! standard output.

use std::fmt;

use host::clock::Clock;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Takes one line at a time, without its line end.
pub trait Console: Send {
    /// Shows a line.
    fn line(&mut self, line: &str);
}

/// A console that keeps what it is given; for tests and embedding.
impl Console for Vec<String> {
    fn line(&mut self, line: &str) {
        self.push(line.to_owned());
    }
}

/// How important a line is; the more important one is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The process ends.
    Fatal,
    /// Something failed.
    Error,
    /// Something is odd.
    Warning,
    /// A normal step.
    Info,
    /// For who looks for a fault.
    Debug,
    /// Everything.
    Verbose,
}

impl Level {
    /// The level with this name, as `RuntimeLogLevel` takes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "fatal" => Self::Fatal,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "info" | "information" => Self::Info,
            "debug" => Self::Debug,
            "verbose" => Self::Verbose,
            _ => return None,
        })
    }

    /// The syslog priority.
    fn priority(self) -> u8 {
        match self {
            Self::Fatal => 0,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug | Self::Verbose => 7,
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Fatal => "FTL",
            Self::Error => "ERR",
            Self::Warning => "WRN",
            Self::Info => "INF",
            Self::Debug => "DBG",
            Self::Verbose => "VRB",
        }
    }
}

/// The log of the module.
pub(crate) struct Log<'a> {
    console: &'a mut dyn Console,
    clock: Clock,
    least: Level,
}

impl<'a> Log<'a> {
    /// A log that shows what is normal, until [`Self::set_least`] says otherwise.
    pub(crate) fn new(console: &'a mut dyn Console, clock: Clock) -> Self {
        Self { console, clock, least: Level::Info }
    }

    /// Shows lines of this level and more important ones.
    pub(crate) fn set_least(&mut self, least: Level) {
        self.least = least;
    }

    pub(crate) fn write(&mut self, level: Level, text: impl fmt::Display) {
        if level <= self.least {
            self.console.line(&log_line(level, self.clock.wall(), text));
        }
    }
}

/// A log line; a text of several lines stays one entry.
fn log_line(level: Level, at: Timestamp, text: impl fmt::Display) -> String {
    let time = Time { at, milliseconds: true };
    format!("<{}> {time} [{}] - {text}", level.priority(), level.mark())
}

/// The first line, which in the original the container's command prints.
pub(crate) fn starting_line(at: Timestamp) -> String {
    format!("[{}]: Starting Module", Time { at, milliseconds: false })
}

/// The line of the program's begin and end.
pub(crate) fn main_line(at: Timestamp, what: &str) -> String {
    format!("{} SimulatedTemperatureSensor Main() {what}.", Time { at, milliseconds: true })
}

struct Time {
    at: Timestamp,
    milliseconds: bool,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = TimeZone::UTC.to_datetime(self.at);
        write!(f, "{:04}-{:02}-{:02} ", t.year(), t.month(), t.day())?;
        write!(f, "{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        if self.milliseconds {
            write!(f, ".{:03}", t.millisecond())?;
        }
        f.write_str(" +00:00")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_of_the_runtime() {
        let at: Timestamp = "2026-11-23T09:08:03.1239Z".parse().unwrap();
        assert_eq!(starting_line(at), "[2026-11-23 09:08:03 +00:00]: Starting Module");
        assert_eq!(
            main_line(at, "started"),
            "2026-11-23 09:08:03.123 +00:00 SimulatedTemperatureSensor Main() started."
        );
        for (level, line) in [
            (Level::Fatal, "<0> 2026-11-23 09:08:03.123 +00:00 [FTL] - x"),
            (Level::Error, "<3> 2026-11-23 09:08:03.123 +00:00 [ERR] - x"),
            (Level::Warning, "<4> 2026-11-23 09:08:03.123 +00:00 [WRN] - x"),
            (Level::Info, "<6> 2026-11-23 09:08:03.123 +00:00 [INF] - x"),
            (Level::Debug, "<7> 2026-11-23 09:08:03.123 +00:00 [DBG] - x"),
            (Level::Verbose, "<7> 2026-11-23 09:08:03.123 +00:00 [VRB] - x"),
        ] {
            assert_eq!(log_line(level, at, "x"), line);
        }
    }
}
