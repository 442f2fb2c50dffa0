//! The brokers from Debian that the hub is measured beside, each started here with its own
//! configuration in a directory of its own.
//!
//! mosquitto keeps nothing and has nobody to give the messages to: the most that a broker without
//! a disk does. RabbitMQ has a durable queue that takes every message, and acknowledges when it is
//! written.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::BytesMut;
use mqtt::packet::{Connect, Subscribe};
use mqtt::{Filter, Packet, PacketId, QoS, codec};

use super::Problem;
use super::hub::Protocol;
use super::server::{Place, Server, free_address, plain_clients, start, wait_for};
use crate::run::is_there;

/// mosquitto, without persistence.
pub(super) fn mosquitto(dir: &Path, place: Place, clients: usize) -> Result<Server, Problem> {
    let address = free_address()?;
    let config = dir.join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n",
        address.port()
    );
    std::fs::write(&config, text)?;
    let mut command = place.command(Path::new("mosquitto"));
    let mut child = start(command.arg("-c").arg(&config), &dir.join("mosquitto.log"))?;
    wait_for(address, &mut child)?;
    Ok(Server { address, clients: plain_clients(clients, None), child })
}

/// mosquitto with TLS and the certificate of a hub of ours.
pub(super) fn mosquitto_with_tls(
    dir: &Path,
    place: Place,
    hub: &Path,
    clients: usize,
) -> Result<Server, Problem> {
    let address = free_address()?;
    let config = dir.join("mosquitto.conf");
    let (chain, key) = (hub.join("server.pem"), hub.join("server.key"));
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n\
         log_type error\ncertfile {}\nkeyfile {}\n",
        address.port(),
        chain.display(),
        key.display()
    );
    std::fs::write(&config, text)?;
    let mut command = place.command(Path::new("mosquitto"));
    let mut child = start(command.arg("-c").arg(&config), &dir.join("mosquitto.log"))?;
    wait_for(address, &mut child)?;
    Ok(Server { address, clients: plain_clients(clients, None), child })
}

/// Brokers that keep messages for a subscriber that is away, as far as they are here.
pub(super) fn queueing() -> impl Iterator<Item = &'static str> {
    let mosquitto = is_there("mosquitto") || Path::new("/usr/sbin/mosquitto").exists();
    let there = [("nats", is_there("nats-server")), ("mosquitto", mosquitto)];
    there.into_iter().filter_map(|(name, there)| there.then_some(name))
}

/// mosquitto that keeps whatever comes, in memory: 20 messages in flight are its default, and here
/// are as many as it can.
pub(super) fn mosquitto_that_queues(
    dir: &Path,
    place: Place,
    clients: usize,
) -> Result<Server, Problem> {
    let address = free_address()?;
    let config = dir.join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n\
         log_type error\nmax_queued_messages 0\nmax_inflight_messages 0\n",
        address.port()
    );
    std::fs::write(&config, text)?;
    let mut command = place.command(Path::new("mosquitto"));
    let mut child = start(command.arg("-c").arg(&config), &dir.join("mosquitto.log"))?;
    wait_for(address, &mut child)?;
    Ok(Server { address, clients: plain_clients(clients, None), child })
}

/// NATS with JetStream on disk, as it is by default: what it acknowledges it has written, and syncs
/// every two minutes. 1,024 messages may be in flight to a subscriber, its default.
pub(super) fn nats(dir: &Path, place: Place, clients: usize) -> Result<Server, Problem> {
    let (address, own) = (free_address()?, free_address()?);
    let config = dir.join("nats.conf");
    let text = format!(
        "server_name: bench\nlisten: \"{own}\"\njetstream {{ store_dir: {:?} }}\n\
         mqtt {{ listen: \"{address}\" }}\n",
        dir.join("jetstream")
    );
    std::fs::write(&config, text)?;
    let mut command = place.command(Path::new("nats-server"));
    let mut child = start(command.arg("-c").arg(&config), &dir.join("nats.log"))?;
    wait_for(address, &mut child)?;
    Ok(Server { address, clients: plain_clients(clients, None), child })
}

/// RabbitMQ with its MQTT plugin and a durable queue.
pub(super) fn rabbitmq(
    dir: &Path,
    place: Place,
    clients: usize,
    protocol: Protocol,
) -> Result<Server, Problem> {
    let (mqtt, amqp, epmd) = (free_address()?, free_address()?, free_address()?);
    let config = dir.join("rabbitmq.conf");
    let text = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nmqtt.listeners.tcp.1 = 127.0.0.1:{}\n\
         mqtt.allow_anonymous = false\nlog.console = true\nlog.console.level = error\n",
        amqp.port(),
        mqtt.port()
    );
    std::fs::write(&config, text)?;
    std::fs::write(dir.join("enabled_plugins"), "[rabbitmq_mqtt, rabbitmq_amqp1_0].\n")?;
    let mut command = place.command(Path::new(RABBITMQ_SERVER));
    command
        .env("HOME", dir)
        .env("RABBITMQ_NODENAME", format!("bench{}@localhost", amqp.port()))
        .env("RABBITMQ_CONFIG_FILE", &config)
        .env("RABBITMQ_CONF_ENV_FILE", dir.join("none.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_DIST_PORT", free_address()?.port().to_string())
        .env("ERL_EPMD_PORT", epmd.port().to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    let mut child = start(&mut command, &dir.join("rabbitmq.log"))?;
    wait_for(mqtt, &mut child)?;
    let mut server = Server { address: mqtt, clients: plain_clients(clients, Some(GUEST)), child };
    bind_durable_queue(mqtt)?;
    if protocol == Protocol::Amqp {
        server.address = amqp;
        for client in &mut server.clients {
            client["topic"] = BENCH_QUEUE.into();
        }
    }
    Ok(server)
}

/// Ends the port mapper that Erlang leaves behind in our process group's stead.
pub(super) fn forget_rabbitmq(dir: &Path) {
    for pid in processes_in(dir) {
        let _ = Command::new("kill").arg(pid).status();
    }
}

/// Processes whose home is this directory.
fn processes_in(dir: &Path) -> Vec<String> {
    let home = format!("HOME={}", dir.display());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ours = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == home.as_bytes())
    };
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(ours).collect()
}

/// A subscriber with a stored session that goes away: its queue is durable and takes everything.
fn bind_durable_queue(address: SocketAddr) -> Result<(), Problem> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connect = Connect {
        user_name: Some(GUEST.0.into()),
        password: Some(GUEST.1.as_bytes().into()),
        ..Connect::new("bench-sink")
    };
    let id = PacketId::new(1).ok_or("packet id 0")?;
    let filters = vec![(Filter::with_levels_max("devices/#", 8)?, QoS::AtLeastOnce)];
    let mut output = BytesMut::new();
    codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
    codec::encode(&Packet::Subscribe(Subscribe { packet_id: id, filters }), &mut output)?;
    stream.write_all(&output)?;
    // CONNACK, then SUBACK with one code.
    let mut answers = [0; 9];
    stream.read_exact(&mut answers)?;
    if answers[3] != 0 || answers[4] != 0x90 || answers[8] != 1 {
        return Err(format!("RabbitMQ refuses the subscription: {answers:02x?}").into());
    }
    output.clear();
    codec::encode(&Packet::Disconnect, &mut output)?;
    Ok(stream.write_all(&output)?)
}

/// The queue of the subscriber that went away, as AMQP 1.0 addresses it.
const BENCH_QUEUE: &str = "/amq/queue/mqtt-subscription-bench-sinkqos1";
/// RabbitMQ's own user for loopback.
const GUEST: (&str, &str) = ("guest", "guest");
/// Debian's wrapper on the path changes the user; this is the program itself.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
