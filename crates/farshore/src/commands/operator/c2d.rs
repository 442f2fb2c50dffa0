//! `farshore c2d`: messages to a device, which the hub keeps until the device takes them.

use std::path::PathBuf;

use host::clock::Clock;
use iot_proto::time::round_trip;
use jiff::Timestamp;
use model::DeviceId;
use model::limits::CLOUD_TO_DEVICE_BYTES_MAX;
use model::message::{Message, SystemProperty};

use super::confirm::Yes;
use super::connection::Connection;
use super::failure::failed;
use super::input::{self, When};
use crate::commands::{Failure, USAGE};
use crate::output::{Output, Table};

/// Arguments of `farshore c2d`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Send a message to a device
    Send(Send),
    /// Remove all messages that wait for a device
    Purge {
        /// Device id
        device: DeviceId,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct Send {
    /// Device id
    device: DeviceId,
    /// The message's body
    #[arg(long, value_name = "TEXT", required_unless_present = "body_file")]
    body: Option<String>,
    /// A file with the body; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    body_file: Option<PathBuf>,
    /// Application property; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    property: Vec<(String, String)>,
    /// Which outcomes the hub tells back ends of
    #[arg(long, value_enum, default_value = "none")]
    ack: Ack,
    /// When the message is of no use any more: a time, or a duration such as 10m
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// Message id; one is made when not given
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Content type, such as application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Content encoding, such as utf-8
    #[arg(long, value_name = "ENCODING")]
    content_encoding: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ack {
    /// None
    None,
    /// When the device has taken it
    Positive,
    /// When it expired or was refused
    Negative,
    /// Both
    Full,
}

impl Ack {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }
}

impl Send {
    fn message(&self, now: Timestamp) -> Result<Message, Failure> {
        let body = match (&self.body, &self.body_file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(path)) => input::file(path)?,
            (None, None) => Vec::new(),
        };
        let mut message = Message::from_body(body);
        let id = self.message_id.clone().unwrap_or_else(|| host::entropy::uuid_v4().to_string());
        message.set_system(SystemProperty::MessageId, id);
        for (property, value) in [
            (SystemProperty::CorrelationId, &self.correlation_id),
            (SystemProperty::ContentType, &self.content_type),
            (SystemProperty::ContentEncoding, &self.content_encoding),
        ] {
            if let Some(value) = value {
                message.set_system(property, value.as_str());
            }
        }
        if self.ack != Ack::None {
            message.set_system(SystemProperty::Ack, self.ack.word());
        }
        if let Some(when) = self.expires {
            let time = when.from(now).filter(|time| *time > now);
            let time = time.ok_or_else(|| Failure::new(USAGE, "--expires is not in the future"))?;
            message.set_system(SystemProperty::ExpiryTime, round_trip(time));
        }
        for (name, value) in &self.property {
            message.set_property(name.as_str(), value.as_str());
        }
        let size = message.size_bytes();
        if size > CLOUD_TO_DEVICE_BYTES_MAX {
            let text = format!(
                "the message has {size} bytes; at most {CLOUD_TO_DEVICE_BYTES_MAX} can be sent to a device"
            );
            return Err(Failure::new(USAGE, text));
        }
        Ok(message)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::Send(send) => {
            let message = send.message(Clock::system().wall())?;
            let hub = arguments.connection.hub()?;
            hub.client.send_to_device(&send.device, &message).await.map_err(failed)?;
            let id = message.system(SystemProperty::MessageId).unwrap_or_default();
            eprintln!("message {id} is queued for device {}", send.device);
            Ok(())
        }
        Verb::Purge { device, yes } => {
            yes.confirm(&format!("remove all messages that wait for device {device}"))?;
            let hub = arguments.connection.hub()?;
            let purged = hub.client.purge(device).await.map_err(failed)?;
            arguments.output.one(&purged, || {
                let mut table = Table::fields();
                table.row(["Device", &purged.device_id]);
                table.row(["Messages removed", &purged.total_messages_purged.to_string()]);
                table
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(arguments: &[&str]) -> Result<Message, Failure> {
        let line = ["farshore", "c2d", "send", "d"].iter().chain(arguments);
        let parsed = <crate::Arguments as clap::Parser>::try_parse_from(line).unwrap();
        let crate::Command::Operator(super::super::Command::C2d(arguments)) = parsed.command else {
            panic!("another command");
        };
        let Verb::Send(send) = arguments.verb else { panic!("another verb") };
        send.message("2026-11-25T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn options_become_properties() {
        let message = send(&[
            "--body",
            "hi",
            "--property",
            "a=1",
            "--property",
            "b=x=y",
            "--ack",
            "full",
            "--expires",
            "10m",
            "--message-id",
            "m1",
        ]);
        let message = message.unwrap();
        assert_eq!(message.body, "hi");
        assert_eq!(message.property("b"), Some("x=y"));
        assert_eq!(message.system(SystemProperty::MessageId), Some("m1"));
        assert_eq!(message.system(SystemProperty::Ack), Some("full"));
        let expiry = message.system(SystemProperty::ExpiryTime);
        assert_eq!(expiry, Some("2026-11-25T00:10:00.0000000Z"));
        assert_eq!(send(&["--body", ""]).unwrap().system(SystemProperty::Ack), None);
    }

    #[test]
    fn what_the_hub_would_refuse_is_refused_here() {
        let long = "x".repeat(CLOUD_TO_DEVICE_BYTES_MAX + 1);
        for (arguments, says) in [
            (vec!["--body", "x", "--expires", "2020-01-01T00:00:00Z"], "--expires"),
            (vec!["--body", &long], "at most"),
        ] {
            let failure = send(&arguments).unwrap_err();
            assert!(failure.message().unwrap().contains(says), "{failure:?}");
        }
    }
}
