//! Start and end of the sensor: settings, the lines about them, the first connection.

use std::collections::BTreeMap;

use client::device::{ClientEvent, DeviceClient, Events, Subscription};
use client::dial::chain;
use client::environment::ModuleEnvironment;
use host::clock::Clock;
use host::signals::Shutdown;

use crate::console::{Console, Level, Log, main_line, starting_line};
use crate::error::SensorError;
use crate::sensor::Sensor;
use crate::settings::{MessageCount, Settings};

/// Why the sensor ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It was told to. After its last message it goes on listening until then.
    Shutdown,
}

/// Runs the sensor of the module that `env` describes until `shutdown` is triggered.
pub async fn run(
    env: &BTreeMap<String, String>,
    console: &mut dyn Console,
    clock: Clock,
    shutdown: Shutdown,
) -> Result<ExitReason, SensorError> {
    console.line(&starting_line(clock.wall()));
    console.line(&main_line(clock.wall(), "started"));
    let mut log = Log::new(console, clock.clone());
    let outcome = work(env, &mut log, &clock, &shutdown).await;
    if let Err(error) = &outcome {
        log.write(Level::Fatal, chain(error));
    }
    console.line(&main_line(clock.wall(), "finished"));
    outcome
}

async fn work(
    env: &BTreeMap<String, String>,
    log: &mut Log<'_>,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<ExitReason, SensorError> {
    let settings = Settings::from_env(env).map_err(SensorError::Settings)?;
    log.set_least(settings.log_level);
    announce(&settings, log);
    let connection = tokio::select! {
        biased;
        () = shutdown.wait() => return Ok(ExitReason::Shutdown),
        connection = connect(env, &settings, log, clock) => connection?,
    };
    let (client, events) = connection;
    let mut sensor = Sensor::new(settings, client.clone(), clock.clone());
    sensor.serve(events, log, shutdown).await;
    client.close().await;
    Ok(ExitReason::Shutdown)
}

/// The lines about what is going to be sent.
fn announce(settings: &Settings, log: &mut Log<'_>) {
    let seconds = settings.message_delay.as_secs_f64();
    let count = settings.message_count;
    log.write(
        Level::Info,
        format_args!(
            "Initializing simulated temperature sensor to send {count} messages, at an interval of {seconds} seconds.\n\
             To change this, set the environment variable MessageCount to the number of messages that should be sent (set it to -1 to send unlimited messages)."
        ),
    );
    if count == MessageCount::Limited(0) {
        log.write(
            Level::Warning,
            "MessageCount is 0: nothing will be sent, the module only answers methods and control messages.",
        );
    }
}

/// Makes the first connection. Networks may be slow; a refusal ends the module, so that whoever
/// started it sees that.
async fn connect(
    env: &BTreeMap<String, String>,
    settings: &Settings,
    log: &mut Log<'_>,
    clock: &Clock,
) -> Result<(DeviceClient, Events), SensorError> {
    let transport = settings.transport;
    let environment = ModuleEnvironment::from_env(env).map_err(SensorError::Environment)?;
    log.write(
        Level::Info,
        format_args!("Trying to initialize module client using transport type [{transport}]."),
    );
    let mut options = environment.options().await.map_err(SensorError::Environment)?;
    options.subscriptions =
        vec![Subscription::Methods, Subscription::DesiredPatches, Subscription::ModuleInputs];
    let (client, mut events) = DeviceClient::start(options, clock.clone());
    loop {
        match events.next().await {
            Some(ClientEvent::Connected { .. }) => break,
            Some(ClientEvent::Disconnected { reason, permanent: true }) => {
                return Err(SensorError::Refused(reason));
            }
            Some(ClientEvent::Disconnected { reason, permanent: false }) => {
                log.write(
                    Level::Warning,
                    format_args!("Not connected yet, trying again: {reason}"),
                );
            }
            Some(_) => {}
            None => return Err(SensorError::Refused("the connection was closed".into())),
        }
    }
    log.write(
        Level::Info,
        format_args!("Successfully initialized module client of transport type [{transport}]."),
    );
    Ok((client, events))
}
