//! `load`: clients that send messages over MQTT or AMQP as fast as they are acknowledged, or at a
//! rate. Used by `cargo xtask bench`, against our hub and its peers alike.
//!
//! One thread and one epoll, so that the generator on its core is not what is measured. Every
//! acknowledgement is counted and checked: it must name what is in flight, in the order of sending.
//! With `--rate` the wait for a late answer counts as latency of everything that was due meanwhile.

#![allow(clippy::disallowed_methods, reason = "a measuring tool outside of the product")]
#![allow(clippy::disallowed_types, reason = "a measuring tool outside of the product")]
#![allow(clippy::print_stdout, reason = "prints its result")]
#![allow(clippy::print_stderr, reason = "prints its errors")]

mod amqp;
mod drain;
mod mqtt;
mod stream;
mod tally;
mod trusting;

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use rustix::event::epoll;
use tally::Tally;

type Problem = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    /// Where the server listens
    #[arg(long)]
    address: SocketAddr,
    /// Whether it listens with TLS
    #[arg(long)]
    tls: bool,
    /// What the clients speak
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    protocol: Protocol,
    /// JSON: a list of {"client_id", "user_name", "password", "topic"}, one connection each; for
    /// AMQP the names of SASL PLAIN, and the address of the link as topic
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
    /// End as soon as so many messages were acknowledged, warm-up included
    #[arg(long)]
    count: Option<u64>,
    /// Publish nothing: take this many messages that wait in the first client's stored session
    #[arg(long)]
    drain: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    Mqtt,
    Amqp,
}

/// Who connects, and where it publishes.
struct Login {
    client_id: String,
    user_name: Option<String>,
    password: Option<String>,
    topic: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Problem> {
    let logins = read_logins(arguments)?;
    if let Some(count) = arguments.drain {
        return drain::run(arguments, &logins[0], count);
    }
    match arguments.protocol {
        Protocol::Mqtt => {
            measure(Load::<mqtt::Connection>::connect(arguments, &logins)?, arguments)
        }
        Protocol::Amqp => {
            measure(Load::<amqp::Connection>::connect(arguments, &logins)?, arguments)
        }
    }
}

fn measure<C: Client>(mut load: Load<C>, arguments: &Arguments) -> Result<(), Problem> {
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

fn read_logins(arguments: &Arguments) -> Result<Vec<Login>, Problem> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&arguments.clients)?)?;
    let text = |value: &serde_json::Value, name: &str| value[name].as_str().map(str::to_owned);
    let client = |value: &serde_json::Value| {
        let (client_id, topic) = (text(value, "client_id")?, text(value, "topic")?);
        let (user_name, password) = (text(value, "user_name"), text(value, "password"));
        Some(Login { client_id, user_name, password, topic })
    };
    let clients: Option<Vec<_>> = list.iter().map(client).collect();
    match clients {
        Some(clients) if !clients.is_empty() => Ok(clients),
        _ => Err(format!("{}: not a list of clients", arguments.clients.display()).into()),
    }
}

/// One client of a protocol.
trait Client: Sized {
    /// Connects and logs in.
    fn open(arguments: &Arguments, login: &Login) -> Result<Self, Problem>;

    /// Its socket.
    fn stream(&self) -> &TcpStream;

    /// When it sends.
    fn pace(&mut self) -> &mut Pace;

    /// Whether it may send more than it has sent.
    fn has_room(&self) -> bool;

    /// Sends what may be sent: every free place, or what is due of it.
    fn send(&mut self, now: Instant, interval: Option<Duration>) -> Result<(), Problem>;

    /// Takes what the socket has.
    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), Problem>;
}

/// When a client sends its next message.
struct Pace {
    due: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// The time that a message counts from, if one may be sent now.
    fn next(&mut self, now: Instant, interval: Option<Duration>) -> Option<Instant> {
        let Some(interval) = interval else { return Some(now) };
        (self.due <= now).then(|| {
            let due = self.due;
            self.due += interval;
            due
        })
    }
}

/// All connections.
struct Load<C> {
    connections: Vec<C>,
    epoll: std::os::fd::OwnedFd,
    tally: Tally,
    /// With a rate: the time between two messages of one connection.
    interval: Option<Duration>,
    /// With a count: acknowledgements until the end.
    left: Option<u64>,
}

impl<C: Client> Load<C> {
    fn connect(arguments: &Arguments, logins: &[Login]) -> Result<Self, Problem> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(logins.len());
        for (index, login) in logins.iter().enumerate() {
            let connection = C::open(arguments, login)
                .map_err(|error| format!("{}: {error}", login.client_id))?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, connection.stream(), data, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        let each = |rate| Duration::from_secs_f64(logins.len() as f64 / rate);
        let interval = arguments.rate.map(each);
        let now = Instant::now();
        for (index, connection) in connections.iter_mut().enumerate() {
            // Spread over the interval, so that they do not all send at once.
            let offset = interval.unwrap_or_default() * index as u32 / logins.len() as u32;
            connection.pace().due = now + offset;
        }
        Ok(Self { connections, epoll, tally: Tally::default(), interval, left: arguments.count })
    }

    /// Publishes for so long; what is in flight stays so.
    fn go(&mut self, length: Duration) -> Result<Duration, Problem> {
        let begin = Instant::now();
        let end = begin + length;
        let mut events = Vec::with_capacity(EVENTS);
        let mut input = vec![0; READ_BYTES];
        for connection in &mut self.connections {
            connection.send(begin, self.interval)?;
        }
        loop {
            let now = Instant::now();
            if now >= end || self.left == Some(0) {
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
                let before = self.tally.acknowledged;
                connection.read(&mut input, &mut self.tally)?;
                let came = self.tally.acknowledged - before;
                self.left = self.left.map(|left| left.saturating_sub(came));
                connection.send(Instant::now(), self.interval)?;
            }
            if self.interval.is_some() {
                let now = Instant::now();
                for connection in &mut self.connections {
                    connection.send(now, self.interval)?;
                }
            }
        }
    }

    /// When the next message is due of a connection that may send.
    fn next_due(&mut self) -> Option<Instant> {
        self.interval?;
        let waiting = self.connections.iter_mut().filter(|one| one.has_room());
        waiting.map(|one| one.pace().due).min()
    }
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}

/// What this thread has used of its core.
fn cpu_seconds() -> Result<f64, Problem> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}

const EVENTS: usize = 256;
const READ_BYTES: usize = 64 * 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
