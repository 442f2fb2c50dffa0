//! `mqtt-load`: MQTT clients that publish with QoS 1 as fast as they are acknowledged, or at a
//! rate. Used by `cargo xtask bench`, against our hub and its peers alike.
//!
//! One thread and one epoll, so that the generator on its core is not what is measured. Packets are
//! made once per connection; a packet id is a place in its window. Every PUBACK is counted and
//! checked: it must name what is in flight, in the order of sending. With `--rate` the wait for a
//! late answer counts as latency of everything that was due meanwhile.

#![allow(clippy::disallowed_methods, reason = "a measuring tool outside of the product")]
#![allow(clippy::disallowed_types, reason = "a measuring tool outside of the product")]
#![allow(clippy::print_stdout, reason = "prints its result")]
#![allow(clippy::print_stderr, reason = "prints its errors")]

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use clap::Parser;
use mqtt::packet::{ConnackCode, Connect, Publish};
use mqtt::{Packet, PacketId, QoS, Topic, codec};
use rustix::event::epoll;

type Problem = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    /// Where the server listens, without TLS
    #[arg(long)]
    address: SocketAddr,
    /// JSON: a list of {"client_id", "user_name", "password", "topic"}, one connection each
    #[arg(long)]
    clients: PathBuf,
    /// Messages without an answer, per connection
    #[arg(long, default_value_t = 4)]
    in_flight: u16,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before them that do not
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Messages per second of all connections together, instead of as many as possible
    #[arg(long)]
    rate: Option<f64>,
}

/// Who connects, and where it publishes.
struct Client {
    client_id: String,
    user_name: Option<String>,
    password: Option<String>,
    topic: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Problem> {
    let clients = read_clients(arguments)?;
    let mut load = Load::connect(arguments, &clients)?;
    load.go(Duration::from_secs_f64(arguments.warm_up))?;
    load.tally = Tally::default();
    let cpu_before = cpu_seconds()?;
    let took = load.go(Duration::from_secs_f64(arguments.seconds))?.as_secs_f64();
    let cpu = (cpu_seconds()? - cpu_before) / took;
    let tally = &load.tally;
    let percentile = |share| tally.latencies.percentile_us(share);
    let result = serde_json::json!({
        "acknowledged": tally.acknowledged,
        "out_of_order": tally.out_of_order,
        "seconds": took,
        "per_second": tally.acknowledged as f64 / took,
        "ack_us": {
            "p50": percentile(0.5), "p90": percentile(0.9),
            "p99": percentile(0.99), "p999": percentile(0.999), "max": percentile(1.0),
        },
        "load_cpu_share": cpu,
    });
    println!("{result}");
    Ok(())
}

fn read_clients(arguments: &Arguments) -> Result<Vec<Client>, Problem> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&arguments.clients)?)?;
    let text = |value: &serde_json::Value, name: &str| value[name].as_str().map(str::to_owned);
    let client = |value: &serde_json::Value| {
        let (client_id, topic) = (text(value, "client_id")?, text(value, "topic")?);
        let (user_name, password) = (text(value, "user_name"), text(value, "password"));
        Some(Client { client_id, user_name, password, topic })
    };
    let clients: Option<Vec<_>> = list.iter().map(client).collect();
    match clients {
        Some(clients) if !clients.is_empty() => Ok(clients),
        _ => Err(format!("{}: not a list of clients", arguments.clients.display()).into()),
    }
}

/// All connections.
struct Load {
    connections: Vec<Connection>,
    epoll: std::os::fd::OwnedFd,
    tally: Tally,
    /// With a rate: the time between two messages of one connection.
    interval: Option<Duration>,
}

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    out_of_order: u64,
    latencies: Latencies,
}

impl Load {
    fn connect(arguments: &Arguments, clients: &[Client]) -> Result<Self, Problem> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(clients.len());
        for (index, client) in clients.iter().enumerate() {
            let connection = Connection::open(arguments, client)
                .map_err(|error| format!("{}: {error}", client.client_id))?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.stream, data, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        let each = |rate| Duration::from_secs_f64(clients.len() as f64 / rate);
        let interval = arguments.rate.map(each);
        let now = Instant::now();
        for (index, connection) in connections.iter_mut().enumerate() {
            // Spread over the interval, so that they do not all send at once.
            let offset = interval.unwrap_or_default() * index as u32 / clients.len() as u32;
            connection.due = now + offset;
        }
        Ok(Self { connections, epoll, tally: Tally::default(), interval })
    }

    /// Publishes for so long; what is in flight stays so.
    fn go(&mut self, length: Duration) -> Result<Duration, Problem> {
        let begin = Instant::now();
        let end = begin + length;
        let mut events = Vec::with_capacity(EVENTS);
        let mut input = vec![0; READ_BYTES];
        for connection in &mut self.connections {
            connection.publish(begin, self.interval)?;
        }
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(now - begin);
            }
            let next = self.next_due().map_or(end, |due| due.min(end));
            let left = next.saturating_duration_since(now);
            let patience = rustix::event::Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
            for event in &events {
                let connection = &mut self.connections[event.data.u64() as usize];
                connection.read(&mut input, &mut self.tally)?;
                connection.publish(Instant::now(), self.interval)?;
            }
            if self.interval.is_some() {
                let now = Instant::now();
                for connection in self.connections.iter_mut().filter(|one| one.due <= now) {
                    connection.publish(now, self.interval)?;
                }
            }
        }
    }

    /// When the next message is due of a connection that may send.
    fn next_due(&self) -> Option<Instant> {
        self.interval?;
        self.connections.iter().filter(|one| !one.free.is_empty()).map(|one| one.due).min()
    }
}

/// One client.
struct Connection {
    stream: TcpStream,
    /// The PUBLISH of every place in the window; its packet id is the place and 1.
    packets: Vec<Vec<u8>>,
    free: VecDeque<u16>,
    in_flight: VecDeque<(u16, Instant)>,
    input: Vec<u8>,
    due: Instant,
}

impl Connection {
    fn open(arguments: &Arguments, client: &Client) -> Result<Self, Problem> {
        let mut stream = TcpStream::connect(arguments.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_PATIENCE))?;
        let connect = Connect {
            user_name: client.user_name.clone(),
            password: client.password.clone().map(Into::into),
            clean_session: true,
            keep_alive_s: 0,
            ..Connect::new(client.client_id.clone())
        };
        let mut output = BytesMut::new();
        codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
        stream.write_all(&output)?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack)?;
        if connack[0] != 0x20 || connack[3] != ConnackCode::Accepted as u8 {
            return Err(format!("refused with CONNACK {}", connack[3]).into());
        }
        stream.set_read_timeout(None)?;
        let packets = (1..=arguments.in_flight).map(|id| publish(client, id, arguments.size));
        Ok(Self {
            packets: packets.collect::<Result<_, _>>()?,
            free: (0..arguments.in_flight).collect(),
            in_flight: VecDeque::new(),
            input: Vec::new(),
            due: Instant::now(),
            stream,
        })
    }

    /// Sends what may be sent: every free place, or what is due of it.
    fn publish(&mut self, now: Instant, interval: Option<Duration>) -> Result<(), Problem> {
        let mut places = [0; WRITE_MAX];
        let mut count = 0;
        while count < WRITE_MAX && (interval.is_none() || self.due <= now) {
            let Some(place) = self.free.pop_front() else { break };
            let sent = match interval {
                None => now,
                Some(interval) => {
                    let due = self.due;
                    self.due += interval;
                    due
                }
            };
            self.in_flight.push_back((place, sent));
            places[count] = place;
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); WRITE_MAX];
        for (slice, place) in slices.iter_mut().zip(&places[..count]) {
            *slice = IoSlice::new(&self.packets[usize::from(*place)]);
        }
        // The socket blocks: a server that stops reading stops this generator, and shows in its rate.
        let mut left = &mut slices[..count];
        while !left.is_empty() {
            let written = self.stream.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), Problem> {
        let count = self.stream.read(buffer)?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        self.input.extend_from_slice(&buffer[..count]);
        let now = Instant::now();
        let (pubacks, rest) = self.input.as_chunks::<PUBACK_BYTES>();
        for puback in pubacks {
            let &[0x40, 2, high, low] = puback else {
                return Err(format!("no PUBACK: {puback:02x?}").into());
            };
            let place = u16::from_be_bytes([high, low]) - 1;
            let at = self.in_flight.iter().position(|(known, _)| *known == place);
            let at = at.ok_or_else(|| format!("PUBACK of {} that is not in flight", place + 1))?;
            tally.out_of_order += u64::from(at != 0);
            if let Some((_, sent)) = self.in_flight.remove(at) {
                tally.latencies.add(now - sent);
            }
            tally.acknowledged += 1;
            self.free.push_back(place);
        }
        let rest = rest.len();
        self.input.drain(..self.input.len() - rest);
        Ok(())
    }
}

fn publish(client: &Client, id: u16, size: usize) -> Result<Vec<u8>, Problem> {
    let payload: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
    let packet = Publish {
        topic: Topic::new(client.topic.as_str())?,
        payload: payload.into(),
        packet_id: Some(PacketId::new(id).ok_or("packet id 0")?),
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
    };
    let mut output = BytesMut::new();
    codec::encode_publish(&packet, &mut output)?;
    Ok(output.to_vec())
}

/// A histogram with buckets 1/32 apart.
#[derive(Default)]
struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let index = bucket(latency.as_nanos() as u64);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
    }

    /// The upper edge of the bucket that holds this share.
    fn percentile_us(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(index) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(FINE_BITS);
    (shift as usize) * FINE + (nanoseconds >> shift) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let shift = (bucket / FINE).saturating_sub(1);
    let rest = bucket - shift * FINE;
    ((rest as u64 + 1) << shift) - 1
}

/// What this thread has used of its core.
fn cpu_seconds() -> Result<f64, Problem> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// Values up to 2^6 have a bucket each.
const FINE_BITS: u32 = 6;
const FINE: usize = 1 << (FINE_BITS - 1);
const PUBACK_BYTES: usize = 4;
/// Packets in one write.
const WRITE_MAX: usize = 64;
const EVENTS: usize = 256;
const READ_BYTES: usize = 64 * 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
