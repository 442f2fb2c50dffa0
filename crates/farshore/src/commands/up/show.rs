//! What `farshore up` says: a line per step, then a line per message. On a terminal a step that
//! waits is rewritten in place; piped, every change is a line.

use std::io::{IsTerminal as _, Write as _};

use gateway::backend::events::Event;
use iot_proto::time;

use super::device::FirstDevice;
use super::paths::Paths;
use crate::compose::hub::RunningHub;

/// The user's screen.
pub(crate) struct Show {
    is_terminal: bool,
    /// The line that will be rewritten is on the screen.
    waits: bool,
    data: String,
    shown: u64,
}

impl Show {
    pub(crate) fn new(paths: &Paths) -> Self {
        let data = paths.root().display().to_string();
        let show =
            Self { is_terminal: std::io::stdout().is_terminal(), waits: false, data, shown: 0 };
        println!("farshore {} (data in {})", env!("CARGO_PKG_VERSION"), show.data);
        show
    }

    /// A step is done.
    pub(crate) fn step(&mut self, what: &str, text: &str) {
        self.clear();
        println!("  {} {what:<11} {text}", self.mark("ok", "√"));
        self.flush();
    }

    /// A step waits for something.
    pub(crate) fn waiting(&mut self, what: &str, text: &str) {
        self.clear();
        let line = format!("  {} {what:<11} {text}", self.mark("..", "…"));
        if self.is_terminal {
            print!("{line}");
            self.waits = true;
        } else {
            println!("{line}");
        }
        self.flush();
    }

    /// Something the user should look at.
    pub(crate) fn trouble(&mut self, text: &str) {
        self.clear();
        println!("  {} {text}", self.mark("!!", "‼"));
        self.flush();
    }

    /// How to go on, in another terminal.
    pub(super) fn hints(&mut self, device: &FirstDevice, hub: &RunningHub, login: &str) {
        self.clear();
        let data = self.data.replace(' ', "\\ ");
        println!();
        println!("To go on, in another terminal (FARSHORE_DATA={data}):");
        println!("  farshore iotedge list                       the modules of this device");
        println!("  farshore monitor                            what arrives at the hub");
        println!("  farshore device create my-device            another device");
        println!("  farshore device connection-string my-device what it connects with");
        println!();
        println!("Connection strings (secrets: they let their holder in):");
        println!("  back ends   {login}");
        println!("  this device {}", device.connection_string());
        println!("The CA to trust is {}/hub/ca.pem.", self.data);
        let ports = [hub.mqtt_port, hub.amqp_port, hub.https_port];
        if ports != [super::ports::MQTT, super::ports::AMQP, super::ports::HTTPS] {
            println!(
                "The usual ports are taken or not allowed: SDKs with fixed ports cannot connect to MQTT port {}, AMQP port {}, HTTPS port {}.",
                hub.mqtt_port, hub.amqp_port, hub.https_port
            );
        }
        println!();
        println!(
            "Telemetry of {} as it arrives at the hub (Ctrl-C ends everything in order):",
            device.id
        );
        self.flush();
    }

    /// A message in the event log.
    pub(super) fn telemetry(&mut self, event: &Event) {
        self.shown += 1;
        let module = event.sender.module.as_ref().map_or("", |module| module.as_str());
        let body: String = String::from_utf8_lossy(&event.message.body)
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        let enqueued = time::round_trip(event.enqueued);
        let enqueued = enqueued.get(11..23).unwrap_or(&enqueued);
        println!("  {enqueued}Z p{} #{:<5} {module} {body}", event.partition, event.sequence);
        self.flush();
    }

    /// The end begins.
    pub(crate) fn ending(&mut self) {
        self.clear();
        println!("stopping modules, runtime and hub");
        self.flush();
    }

    /// The end.
    pub(crate) fn ended(&self) {
        println!(
            "stopped; {} messages were shown. `farshore up` goes on with the same hub and device.",
            self.shown
        );
        self.flush();
    }

    fn mark(&self, plain: &'static str, glyph: &'static str) -> &'static str {
        if self.is_terminal { glyph } else { plain }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.waits) {
            // Back to the line's start, and empty it.
            print!("\r\x1b[2K");
        }
    }

    fn flush(&self) {
        // A pipe that is closed is noticed by the next write, and is no trouble of ours.
        let _ = std::io::stdout().flush();
    }
}
