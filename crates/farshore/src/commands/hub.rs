//! `farshore hub`: a hub alone.

use std::path::PathBuf;

use host::clock::Clock;
use host::signals::{self, Shutdown};

use super::{Failure, USAGE};
use crate::compose::hub::RunningHub;
use crate::settings;
use crate::settings::hub::{HubSettings, TEMPLATE};

/// Arguments of `farshore hub`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Settings file; without one the defaults hold
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Data directory, instead of the settings' data_dir
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print a settings file with every key, its meaning and default, and stop
    #[arg(long)]
    print_settings: bool,
    /// Check the settings file and stop
    #[arg(long)]
    check: bool,
    /// Print the service connection string (policy iothubowner) of this hub and stop; it is a secret
    #[arg(long)]
    print_login: bool,
    /// Print the connection string for Event Hubs clients (policy service) of this hub and stop; it is a secret
    #[arg(long, conflicts_with = "print_login")]
    print_events_login: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.print_settings {
        print!("{TEMPLATE}");
        return Ok(());
    }
    let settings = read_settings(&arguments)
        .map_err(|error| Failure::new(USAGE, Failure::from(error).message().unwrap_or_default()))?;
    if arguments.check {
        println!("the settings are good");
        return Ok(());
    }
    if arguments.print_events_login {
        let login = crate::compose::hub::events_login(&settings)?;
        println!("{login}");
        return Ok(());
    }
    if arguments.print_login {
        let login = crate::compose::hub::login(&settings)?;
        println!("{login}");
        return Ok(());
    }
    let logs = host::logs::init(settings.log.format()?, &settings.log.level)?;
    let shutdown = Shutdown::on_signals()?;
    let clock = Clock::system();
    let running = RunningHub::start(settings, clock.clone(), shutdown.clone()).await?;
    announce(&running);
    let mut hangups = signals::hangups()?;
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            () = hangups.next() => reload(&arguments, &running, &logs, &clock),
        }
    }
    tracing::info!("shutting down");
    running.finished().await;
    Ok(())
}

fn read_settings(arguments: &Arguments) -> Result<HubSettings, settings::SettingsError> {
    let mut read = match &arguments.settings {
        Some(path) => settings::read(path)?,
        None => HubSettings::default(),
    };
    if let Some(data) = &arguments.data {
        read.data_dir = data.clone();
    }
    read.checked()
}

fn announce(running: &RunningHub) {
    let settings = running.settings();
    tracing::info!(
        host_name = %settings.host_names[0],
        mqtt_port = running.mqtt_port,
        amqp_port = running.amqp_port,
        https_port = running.https_port,
        data_dir = %settings.data_dir.display(),
        "hub is listening"
    );
    if running.ca_pem.is_some() {
        let ca = settings.data_dir.join("ca.pem");
        tracing::info!(ca = %ca.display(), "clients have to trust this hub's own CA");
    }
}

/// SIGHUP: the log level and the certificate are read again; what else changed needs a restart.
fn reload(arguments: &Arguments, running: &RunningHub, logs: &host::logs::Logs, clock: &Clock) {
    match read_settings(arguments) {
        Ok(settings) => {
            if let Err(error) = logs.set_level(&settings.log.level) {
                tracing::warn!(%error, "log level is unchanged");
            }
        }
        Err(error) => tracing::warn!(error = %host::logs::chain(&error), "settings are unchanged"),
    }
    match running.reload(clock) {
        Ok(()) => tracing::info!("certificate and log level were read again"),
        Err(error) => {
            tracing::warn!(error = %host::logs::chain(&error), "certificate is unchanged");
        }
    }
}
