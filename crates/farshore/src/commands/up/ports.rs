//! Ports: the usual ones when they can be had, else free ones, which are shown.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use host::net;

use crate::commands::Failure;
use crate::compose::edge::EdgeHubListen;

/// MQTT over TLS.
pub(super) const MQTT: u16 = 8883;
/// AMQP over TLS.
pub(super) const AMQP: u16 = 5671;
/// HTTPS.
pub(super) const HTTPS: u16 = 443;

/// Where the edge hub is reached from this machine: hub and edge hub both want the usual port.
const EDGE_HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The usual port, or 0 (one that is free) when somebody else has it or it is not allowed.
pub(super) fn usual_or_free(port: u16) -> u16 {
    match net::listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)) {
        Ok(_) => port,
        Err(_) => 0,
    }
}

/// Addresses that are free for the edge hub.
pub(super) fn edge_hub_listen() -> Result<EdgeHubListen, Failure> {
    let free = |port| {
        let usual = SocketAddr::new(EDGE_HUB, port);
        match net::listen(usual) {
            Ok(_) => Ok(usual),
            Err(_) => Ok::<_, Failure>(net::listen(SocketAddr::new(EDGE_HUB, 0))?.local_addr()?),
        }
    };
    Ok(EdgeHubListen { mqtt: free(MQTT)?, amqp: free(AMQP)?, https: free(HTTPS)? })
}
