//! `farshore edge-hub`: the built-in edge hub, told by its module environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use edge_hub::{AMQP_PORT, EdgeHub, HTTPS_PORT, Settings, Sockets};
use host::clock::Clock;
use host::signals::Shutdown;

use super::{Failure, USAGE};
use crate::compose::edge::EDGE_HUB_LISTEN;
use crate::compose::rest;

/// `farshore edge-hub` has none.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments) -> Result<(), Failure> {
    let env: BTreeMap<String, String> = host::env::vars().into_iter().collect();
    let mut settings = Settings::from_env(&env)?;
    if let Some(text) = env.get(EDGE_HUB_LISTEN) {
        let address: SocketAddr = text.parse().map_err(|_| {
            Failure::new(USAGE, format!("{EDGE_HUB_LISTEN} is {text:?}; expected ADDRESS:PORT"))
        })?;
        settings.listen.mqtt = Sockets::At(vec![address]);
        let at = |port| Sockets::At(vec![SocketAddr::new(address.ip(), port)]);
        settings.listen.amqp = at(AMQP_PORT);
        settings.listen.https = at(HTTPS_PORT);
        if !env.keys().any(|name| name.eq_ignore_ascii_case("StorageFolder")) {
            // A process has no file system of its own; it is started in its data directory.
            settings.storage_folder = host::env::current_dir()?;
        }
    }
    host::logs::init(host::logs::Format::EdgePrio, &settings.log_level)?;
    let shutdown = Shutdown::on_signals()?;
    let clock = Clock::system();
    let hub = EdgeHub::start(settings, clock.clone(), shutdown).await?;
    tokio::spawn(rest::after_start(clock));
    hub.finished().await;
    Ok(())
}
