//! `farshore monitor`: messages as they arrive at the hub, partition by partition.
//!
//! With a connection string of the event endpoint, or a consumer group, it is an Event Hubs client
//! (`endpoint.rs`); else it reads the hub's own route.
//!
//! Each partition is followed by a task of its own; a broken line is taken up after the last event
//! that came, so nothing is shown twice and nothing is left out.

mod endpoint;

use std::str::FromStr;
use std::time::Duration;

use client::service::{HubClient, Partition, RestError};
use host::clock::Clock;
use iot_proto::payload::event::{EventLine, SOURCE};
use iot_proto::rest::{EventStart, EventsQuery};
use model::{ConsumerGroup, DeviceId};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::failure::failed;
use crate::commands::{FAILED, Failure, NOT_FOUND};
use crate::output::{harmless, print, print_json, print_line};

/// Arguments of `farshore monitor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Only what this device and its modules send
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// Where to begin: start, end, a sequence number or a time
    #[arg(long, value_name = "WHERE", default_value = "end")]
    from: From,
    /// Only this partition
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
    /// Read the Event Hubs compatible endpoint over AMQP, through this consumer group
    ///
    /// With --login "Endpoint=sb://…" that is what is read, by default through $Default.
    #[arg(long, value_name = "NAME")]
    consumer_group: Option<ConsumerGroup>,
    /// End after so many messages
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds; with --count, too few messages by then are a failure
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// How to print messages
    #[arg(short = 'o', long, value_enum, default_value = "lines", value_name = "FORMAT")]
    output: Form,
    /// Show all events, also those of the hub itself, such as changes of twins
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A line for people each
    Lines,
    /// Indented JSON documents
    Json,
    /// A JSON document per line
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct From(EventStart);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "start" => EventStart::Start,
            "end" => EventStart::End,
            number if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
                EventStart::Sequence(number.parse().map_err(|_| "the number is too large")?)
            }
            time => EventStart::Time(iot_proto::time::parse(time).ok_or(
                "write start, end, a sequence number, or a time such as 2026-12-31T18:00:00Z",
            )?),
        }))
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let clock = Clock::system();
    let endpoint = arguments.connection.events(arguments.consumer_group.is_some())?;
    if let Some((login, tls)) = endpoint {
        let host_name = login.dial.host.clone();
        let events = endpoint::follow(&arguments, login, tls, clock.clone()).await?;
        eprintln!("watching {host_name}; Ctrl-C ends it");
        return show(&arguments, events, &clock).await;
    }
    let hub = arguments.connection.hub()?;
    let partitions = hub.client.partitions().await.map_err(failed)?;
    let partitions = chosen(partitions, arguments.partition)?;
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    for partition in partitions {
        let follower = Follower {
            client: hub.client.clone(),
            clock: clock.clone(),
            partition: partition.number(),
            from: match arguments.from.0 {
                // Fixed now, so that nothing is left out when the first line breaks.
                EventStart::End => EventStart::Sequence(partition.about.next_sequence_number),
                from => from,
            },
            sender: sender.clone(),
        };
        tokio::spawn(follower.run());
    }
    drop(sender);
    eprintln!("watching {}; Ctrl-C ends it", hub.host_name);
    show(&arguments, events, &clock).await
}

/// Shows what comes until it is enough.
async fn show(
    arguments: &Arguments,
    events: mpsc::Receiver<Result<EventLine, Failure>>,
    clock: &Clock,
) -> Result<(), Failure> {
    let limit = arguments.timeout.map(Duration::from_secs);
    let mut shown = Shown { arguments, count: 0 };
    let end = match limit {
        Some(limit) => clock.timeout(limit, shown.all(events)).await,
        None => Ok(shown.all(events).await),
    };
    match (end, arguments.count) {
        (Ok(outcome), _) => outcome,
        (Err(_), Some(count)) => Err(Failure::new(
            FAILED,
            format!(
                "{} of {count} messages came within {} s",
                shown.count,
                limit.unwrap_or_default().as_secs()
            ),
        )),
        (Err(_), None) => Ok(()),
    }
}

/// All partitions, or the one that was asked for.
fn chosen(mut partitions: Vec<Partition>, wanted: Option<u32>) -> Result<Vec<Partition>, Failure> {
    let Some(wanted) = wanted else { return Ok(partitions) };
    let count = partitions.len();
    partitions.retain(|partition| partition.number() == wanted);
    if partitions.is_empty() {
        return Err(Failure::new(
            NOT_FOUND,
            format!("there is no partition {wanted}; the hub has {count}, from 0 on"),
        ));
    }
    Ok(partitions)
}

/// Prints what comes, and counts it.
struct Shown<'a> {
    arguments: &'a Arguments,
    count: u64,
}

impl Shown<'_> {
    async fn all(
        &mut self,
        mut events: mpsc::Receiver<Result<EventLine, Failure>>,
    ) -> Result<(), Failure> {
        while let Some(event) = events.recv().await {
            let event = event?;
            if !self.is_wanted(&event) {
                continue;
            }
            match self.arguments.output {
                Form::Lines => print(&line(&event))?,
                Form::Json => print_json(&event)?,
                Form::Ndjson => print_line(&event)?,
            }
            self.count += 1;
            if self.arguments.count == Some(self.count) {
                break;
            }
        }
        Ok(())
    }

    fn is_wanted(&self, event: &EventLine) -> bool {
        let of_device = match &self.arguments.device {
            Some(device) => event.device_id() == Some(device.as_str()),
            None => true,
        };
        of_device && (self.arguments.all || event.system(SOURCE) == Some(TELEMETRY))
    }
}

/// `10:11:12.123 edge-1/SimulatedTemperatureSensor {"machine":…} sequenceNumber=1`, all on one line.
fn line(event: &EventLine) -> String {
    let time = match iot_proto::time::parse(&event.enqueued_time) {
        Some(time) => time.strftime("%H:%M:%S%.3f").to_string(),
        None => event.enqueued_time.clone(),
    };
    let device = event.device_id().unwrap_or("?");
    let mut line = match event.module_id() {
        Some(module) => format!("{time} {device}/{module} "),
        None => format!("{time} {device} "),
    };
    if let Some(source) = event.system(SOURCE).filter(|source| *source != TELEMETRY) {
        line.push_str(&format!("[{source}] "));
    }
    match event.body_bytes() {
        Ok(body) => line.push_str(&body_text(&body)),
        Err(_) => line.push_str("(unreadable body)"),
    }
    for (name, value) in &event.properties {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line.push_str(&format!(" {name}={value}"));
    }
    format!("{}\n", harmless(&line))
}

fn body_text(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        // JSON that was sent on several lines is shown on one.
        Ok(text) => text.lines().map(str::trim).collect::<Vec<_>>().join(" "),
        Err(_) => format!("({} bytes)", body.len()),
    }
}

/// Reads one partition for as long as somebody listens.
struct Follower {
    client: HubClient,
    clock: Clock,
    partition: u32,
    from: EventStart,
    sender: mpsc::Sender<Result<EventLine, Failure>>,
}

impl Follower {
    async fn run(mut self) {
        let mut was_there = false;
        let mut wait = WAIT_FIRST;
        loop {
            match self.read_on(&mut was_there).await {
                // Nobody listens any more.
                Ok(false) => return,
                // The hub ended the stream: it goes on at once, unless it fails again.
                Ok(true) => wait = WAIT_FIRST,
                Err(error) if was_there && error.is_transient() => {
                    eprintln!(
                        "partition {}: the hub does not answer; trying again",
                        self.partition
                    );
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
                Err(error) => {
                    // Fails when nobody listens any more.
                    let _ = self.sender.send(Err(failed(error))).await;
                    return;
                }
            }
        }
    }

    /// Reads until the stream ends; whether somebody still listens.
    async fn read_on(&mut self, was_there: &mut bool) -> Result<bool, RestError> {
        let query = EventsQuery { from: self.from, follow: true };
        let mut stream = self.client.events(self.partition, &query).await?;
        *was_there = true;
        while let Some(event) = stream.next().await? {
            self.from = EventStart::Sequence(event.sequence_number.saturating_add(1));
            if self.sender.send(Ok(event)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(!self.sender.is_closed())
    }
}

/// `iothub-message-source` of what devices and modules send.
const TELEMETRY: &str = "Telemetry";
/// Events that may wait to be printed; then reading waits.
const EVENTS_MAX: usize = 256;
/// Waits before a broken line is taken up again.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use iot_proto::payload::event::PartitionJson;

    const EVENT: &str = r#"{"partition":1,"sequenceNumber":42,"offset":"42",
        "enqueuedTime":"2026-11-25T10:11:12.1234567Z",
        "systemProperties":{"iothub-connection-device-id":"edge-1",
            "iothub-connection-module-id":"Sensor","iothub-message-source":"Telemetry"},
        "properties":{"alert":"high"},"body":{"t": 21.5}}"#;

    fn event(from: &str, to: &str) -> EventLine {
        EventLine::parse(EVENT.replacen(from, to, 1).as_bytes()).unwrap()
    }

    #[test]
    fn a_message_is_one_line_and_moves_no_cursor() {
        assert_eq!(line(&event("", "")), "10:11:12.123 edge-1/Sensor {\"t\": 21.5} alert=high\n");
        // What is no JSON comes as Base64: ESC [2J, a binary byte.
        let text = line(&event(r#""body":{"t": 21.5}"#, r#""bodyBase64":"G1sySg==""#));
        assert_eq!(text, "10:11:12.123 edge-1/Sensor \\u{1b}[2J alert=high\n");
        let binary = line(&event(r#""body":{"t": 21.5}"#, r#""bodyBase64":"/w==""#));
        assert_eq!(binary, "10:11:12.123 edge-1/Sensor (1 bytes) alert=high\n");
        let other = line(&event("\"Telemetry\"", "\"twinChangeEvents\""));
        assert!(other.contains("[twinChangeEvents] "), "{other}");
    }

    #[test]
    fn only_telemetry_of_the_device_is_shown() {
        let parsed = |line: &[&str]| {
            let line = ["farshore", "monitor"].iter().chain(line);
            let parsed = <crate::Arguments as clap::Parser>::try_parse_from(line).unwrap();
            match parsed.command {
                crate::Command::Operator(super::super::Command::Monitor(arguments)) => arguments,
                _ => panic!("another command"),
            }
        };
        let wanted = |line: &[&str], event: &EventLine| {
            Shown { arguments: &parsed(line), count: 0 }.is_wanted(event)
        };
        let (telemetry, change) = (event("", ""), event("\"Telemetry\"", "\"twinChangeEvents\""));
        assert!(wanted(&[], &telemetry) && !wanted(&[], &change) && wanted(&["--all"], &change));
        assert!(wanted(&["--device", "edge-1"], &telemetry));
        assert!(!wanted(&["--device", "edge-2"], &telemetry));
    }

    #[test]
    fn a_partition_that_is_not_there_is_told() {
        let partition = |partition| {
            let (oldest_sequence_number, next_sequence_number, lost_records) = (0, 7, 0);
            let about = PartitionJson {
                partition,
                oldest_sequence_number,
                next_sequence_number,
                lost_records,
            };
            Partition { about }
        };
        let all = || vec![partition(0), partition(1)];
        assert_eq!(chosen(all(), None).unwrap().len(), 2);
        assert_eq!(chosen(all(), Some(1)).unwrap(), [partition(1)]);
        assert_eq!(chosen(all(), Some(2)).unwrap_err().code(), NOT_FOUND);
    }

    #[test]
    fn the_beginning_is_a_word_a_number_or_a_time() {
        for (text, expected) in [
            ("start", EventStart::Start),
            ("end", EventStart::End),
            ("42", EventStart::Sequence(42)),
            ("2026-11-25T00:00:00Z", EventStart::Time("2026-11-25T00:00:00Z".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(From(expected)), "{text}");
        }
        for text in ["", "now", "-1", "99999999999999999999"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
    }
}
