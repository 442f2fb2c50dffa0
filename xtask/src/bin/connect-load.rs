//! `connect-load`: MQTT or AMQP clients that connect over TLS as fast as they are let in, and then
//! say nothing. Used by `cargo xtask bench connections`, against our hub and its peers alike.
//!
//! Every connection makes a full handshake (no resumption) and waits for its CONNACK, or until its
//! links for telemetry, methods and the twin are attached. The client
//! checks nothing of the server's certificate, so that its own work is small beside the server's.
//! With `--hold` the last round's connections stay open until standard input ends, so that the
//! server's memory can be read meanwhile.

#![allow(clippy::disallowed_methods, reason = "a measuring tool outside of the product")]
#![allow(clippy::disallowed_types, reason = "a measuring tool outside of the product")]
#![allow(clippy::print_stdout, reason = "prints its result")]
#![allow(clippy::print_stderr, reason = "prints its errors")]

#[path = "load/trusting.rs"]
mod trusting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amqp::connection::{Credentials, NewLink, Settings};
use amqp::sasl::Plain;
use amqp::{Event, Map, Symbol, Value};
use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use mqtt::packet::{ConnackCode, Connect};
use mqtt::{Packet, codec};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use trusting::trusting;

type Problem = Box<dyn std::error::Error + Send + Sync>;
type Stream = StreamOwned<ClientConnection, TcpStream>;

#[derive(Parser)]
struct Arguments {
    /// Where the server listens with TLS
    #[arg(long)]
    address: SocketAddr,
    /// What the clients speak
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    protocol: Protocol,
    /// JSON: a list of {"client_id", "user_name", "password", "topic"}, one connection each
    #[arg(long)]
    clients: PathBuf,
    /// How often all of them connect
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections that are being made at the same time
    #[arg(long, default_value_t = 32)]
    parallel: usize,
    /// Keep the last round's connections until standard input ends
    #[arg(long)]
    hold: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Protocol {
    Mqtt,
    Amqp,
}

/// What a client says when its TLS stands.
enum Login {
    /// The CONNECT packet.
    Mqtt(Vec<u8>),
    /// SASL PLAIN's message, and the address of the telemetry link.
    Amqp { plain: Bytes, telemetry: String },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connect-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Problem> {
    let logins = read_logins(arguments)?;
    let config = Arc::new(trusting()?);
    let mut rates = Vec::new();
    let mut held = Vec::new();
    for _ in 0..arguments.rounds {
        held.clear();
        let begin = Instant::now();
        held = connect_all(arguments, &logins, &config)?;
        rates.push(held.len() as f64 / begin.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2);
    println!("{}", serde_json::json!({ "connections": held.len(), "per_second": median }));
    if arguments.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn read_logins(arguments: &Arguments) -> Result<Vec<Login>, Problem> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&arguments.clients)?)?;
    let login = |client: &serde_json::Value| -> Result<Login, Problem> {
        let text = |name: &str| client[name].as_str().map(str::to_owned);
        if arguments.protocol == Protocol::Amqp {
            let plain = Plain {
                authorization_id: String::new(),
                authentication_id: text("user_name").unwrap_or_default(),
                password: text("password").unwrap_or_default(),
            };
            let telemetry = text("topic").ok_or("a client without topic")?;
            return Ok(Login::Amqp { plain: plain.to_response().into(), telemetry });
        }
        let connect = Connect {
            user_name: text("user_name"),
            password: text("password").map(Into::into),
            clean_session: true,
            keep_alive_s: 0,
            ..Connect::new(text("client_id").ok_or("a client without client_id")?)
        };
        let mut output = BytesMut::new();
        codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
        Ok(Login::Mqtt(output.to_vec()))
    };
    list.iter().map(login).collect()
}

fn connect_all(
    arguments: &Arguments,
    logins: &[Login],
    config: &Arc<ClientConfig>,
) -> Result<Vec<Stream>, Problem> {
    let next = AtomicUsize::new(0);
    let held = Mutex::new(Vec::with_capacity(logins.len()));
    let worker = || -> Result<(), Problem> {
        let mut own = Vec::new();
        while let Some(login) = logins.get(next.fetch_add(1, Ordering::Relaxed)) {
            own.push(open(arguments.address, login, config)?);
        }
        held.lock().map_err(|_| "a worker panicked")?.append(&mut own);
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.parallel).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(held.into_inner()?)
}

fn open(address: SocketAddr, login: &Login, config: &Arc<ClientConfig>) -> Result<Stream, Problem> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, socket);
    match login {
        Login::Mqtt(connect) => log_in_by_mqtt(&mut stream, connect)?,
        Login::Amqp { plain, telemetry } => log_in_by_amqp(&mut stream, plain, telemetry)?,
    }
    Ok(stream)
}

fn log_in_by_mqtt(stream: &mut Stream, connect: &[u8]) -> Result<(), Problem> {
    stream.write_all(connect)?;
    stream.flush()?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    if connack[0] != 0x20 || connack[3] != ConnackCode::Accepted as u8 {
        return Err(format!("refused with CONNACK {}", connack[3]).into());
    }
    Ok(())
}

/// The links that a device SDK has: telemetry, and a pair each for methods and the twin.
fn log_in_by_amqp(stream: &mut Stream, plain: &Bytes, telemetry: &str) -> Result<(), Problem> {
    let begin = Instant::now();
    let settings = Settings { hostname: Some("localhost".into()), ..Settings::default() };
    let credentials = Credentials::Plain(plain.clone());
    let mut machine = amqp::Connection::client(begin.elapsed(), Arc::new(settings), credentials);
    let mut waiting = None;
    let (mut input, mut buffer) = (BytesMut::new(), [0; 4096]);
    while waiting != Some(0) {
        while !machine.output().is_empty() {
            let written = stream.write(machine.output())?;
            machine.advance_output(written);
        }
        stream.flush()?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the server closed the connection".into());
        }
        input.extend_from_slice(&buffer[..count]);
        machine.handle_input(begin.elapsed(), &mut input);
        while let Some(event) = machine.poll_event() {
            match event {
                Event::Open(_) => waiting = Some(attach_all(&mut machine, telemetry)?),
                Event::Attached { .. } => waiting = waiting.map(|waiting| waiting - 1),
                Event::Closed(_) | Event::SessionEnded { .. } | Event::Detached { .. } => {
                    return Err(format!("refused: {event:?}").into());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Attaches a device's links; gives their number.
fn attach_all(machine: &mut amqp::Connection, telemetry: &str) -> Result<usize, Problem> {
    let session = machine.begin()?;
    let device = telemetry.strip_suffix("/messages/events").ok_or("not a telemetry address")?;
    let mut links = vec![NewLink::sender("telemetry", telemetry)];
    for (name, address) in [("methods", "methods/devicebound"), ("twin", "twin")] {
        let address = format!("{device}/{address}");
        let pair = [
            NewLink::sender(format!("{name}-up"), &*address),
            NewLink::receiver(format!("{name}-down"), &*address, 10),
        ];
        for mut link in pair {
            let key = Value::Symbol(Symbol::from_static("com.microsoft:channel-correlation-id"));
            let value = Value::String(format!("{name}:bench"));
            link.properties = Map::from(vec![(key, value)]);
            links.push(link);
        }
    }
    let count = links.len();
    links.into_iter().try_for_each(|link| machine.attach(session, link).map(drop))?;
    Ok(count)
}

const PATIENCE: Duration = Duration::from_secs(20);
