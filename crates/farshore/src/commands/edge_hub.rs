//! `farshore edge-hub`: the built-in edge hub, told by its module environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use edge_hub::{EdgeHub, Settings, Sockets};
use host::clock::Clock;
use host::signals::Shutdown;

use super::{Failure, USAGE};
use crate::compose::edge::{
    EDGE_HUB_LISTEN, EDGE_HUB_LISTEN_AMQP, EDGE_HUB_LISTEN_HTTPS, EDGE_HUB_LISTEN_METRICS,
    EdgeHubListen,
};
use crate::compose::rest;

/// `farshore edge-hub` has none.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments) -> Result<(), Failure> {
    let env: BTreeMap<String, String> = host::env::vars().into_iter().collect();
    let mut settings = Settings::from_env(&env)?;
    if let Some(mqtt) = addresses(&env, EDGE_HUB_LISTEN)? {
        let first = mqtt[0];
        let usual = EdgeHubListen::beside(first);
        let amqp = addresses(&env, EDGE_HUB_LISTEN_AMQP)?.unwrap_or(vec![usual.amqp]);
        let https = addresses(&env, EDGE_HUB_LISTEN_HTTPS)?.unwrap_or(vec![usual.https]);
        settings.listen.mqtt = Sockets::At(mqtt);
        settings.listen.amqp = Sockets::At(amqp);
        settings.listen.https = Sockets::At(https);
        if let Some(metrics) = addresses(&env, EDGE_HUB_LISTEN_METRICS)? {
            settings.listen.metrics = Sockets::At(metrics);
        } else if let Sockets::At(metrics) = &mut settings.listen.metrics {
            // At the same address as the rest: others on this machine have metrics, too.
            metrics.truncate(1);
            metrics.iter_mut().for_each(|address| address.set_ip(first.ip()));
        }
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

/// Addresses that the daemon or the agent has set, with commas between them; never none.
fn addresses(
    env: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<Vec<SocketAddr>>, Failure> {
    let Some(text) = env.get(name) else { return Ok(None) };
    let addresses: Result<Vec<SocketAddr>, _> = text.split(',').map(str::parse).collect();
    addresses
        .map(Some)
        .map_err(|_| Failure::new(USAGE, format!("{name} is {text:?}; expected ADDRESS:PORT")))
}
