//! `method-load`: callers that invoke direct methods over HTTPS, one call at a time each, and the
//! devices over MQTT that answer them at once. Used by `cargo xtask bench methods`.
//!
//! A call's time is that of the whole round trip: caller, hub, device, hub, caller. Every answer has
//! to be the device's own.

#![allow(clippy::disallowed_methods, reason = "a measuring tool outside of the product")]
#![allow(clippy::disallowed_types, reason = "a measuring tool outside of the product")]
#![allow(clippy::print_stdout, reason = "prints its result")]
#![allow(clippy::print_stderr, reason = "prints its errors")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use clap::Parser;
use mqtt::packet::{Connect, Publish, Subscribe};
use mqtt::{Filter, Packet, PacketId, QoS, Topic, codec};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// Where the hub listens for MQTT without TLS
    #[arg(long)]
    mqtt: SocketAddr,
    /// Where the hub listens for HTTPS, as localhost
    #[arg(long)]
    https: SocketAddr,
    /// The CA of the hub's certificate, PEM
    #[arg(long)]
    ca: PathBuf,
    /// JSON: a list of {"client_id", "user_name", "password"}: the devices
    #[arg(long)]
    clients: PathBuf,
    /// The callers' token
    #[arg(long)]
    token: String,
    /// Callers, spread over the devices
    #[arg(long, default_value_t = 1)]
    callers: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("method-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Problem> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&arguments.clients)?)?;
    let mut names = Vec::new();
    for client in &list {
        let device = Device::open(arguments.mqtt, client)?;
        names.push(client["client_id"].as_str().ok_or("a client without client_id")?);
        // Ends with the process: the hub closes nothing before.
        std::thread::spawn(move || device.answer());
    }
    let config = Arc::new(trusting(&arguments.ca)?);
    let length = Duration::from_secs_f64(arguments.seconds);
    let begin = Instant::now();
    let mut took: Vec<Duration> = Vec::new();
    std::thread::scope(|scope| -> Result<(), Problem> {
        let callers: Vec<_> = (0..arguments.callers)
            .map(|index| {
                let (name, config) = (names[index % names.len()], &config);
                scope.spawn(move || -> Result<Vec<Duration>, Problem> {
                    Caller::open(arguments, name, config)?.call_for(length)
                })
            })
            .collect();
        for caller in callers {
            took.append(&mut caller.join().map_err(|_| "a caller panicked")??);
        }
        Ok(())
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    took.sort_unstable();
    let percentile_us = |share: f64| {
        took.get(((took.len().max(1) - 1) as f64 * share) as usize).map(|time| time.as_micros())
    };
    let result = serde_json::json!({
        "calls": took.len(),
        "per_second": took.len() as f64 / seconds,
        "p50_us": percentile_us(0.5) as Option<u128>,
        "p99_us": percentile_us(0.99) as Option<u128>,
    });
    println!("{result}");
    Ok(())
}

/// Answers every call with 200 and `{"ok":true}`.
struct Device {
    stream: TcpStream,
}

impl Device {
    fn open(address: SocketAddr, client: &serde_json::Value) -> Result<Self, Problem> {
        let text = |name: &str| client[name].as_str().map(str::to_owned);
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let connect = Connect {
            user_name: text("user_name"),
            password: text("password").map(Into::into),
            keep_alive_s: 0,
            ..Connect::new(text("client_id").ok_or("a client without client_id")?)
        };
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).ok_or("packet id 0")?,
            filters: vec![(Filter::with_levels_max("$iothub/methods/POST/#", 8)?, QoS::AtMostOnce)],
        };
        let mut output = BytesMut::new();
        codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
        codec::encode(&Packet::Subscribe(subscribe), &mut output)?;
        stream.write_all(&output)?;
        // CONNACK, then SUBACK with one code.
        let mut answers = [0; 9];
        stream.read_exact(&mut answers)?;
        if answers[3] != 0 || answers[8] > 1 {
            return Err(format!("the hub refuses a device: {answers:02x?}").into());
        }
        Ok(Self { stream })
    }

    fn answer(mut self) -> Result<(), Problem> {
        let limits = mqtt::Limits::default();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            input.extend_from_slice(&buffer[..count]);
            while let Some(packet) = codec::decode(&mut input, &limits)? {
                let Packet::Publish(call) = packet else { continue };
                let (_, rid) = call.topic.as_str().split_once("/?$rid=").ok_or("no request id")?;
                let answer = Publish {
                    topic: Topic::new(format!("$iothub/methods/res/200/?$rid={rid}"))?,
                    payload: br#"{"ok":true}"#.as_slice().into(),
                    packet_id: None,
                    qos: QoS::AtMostOnce,
                    retain: false,
                    dup: false,
                };
                codec::encode_publish(&answer, &mut output)?;
            }
            self.stream.write_all(&output.split())?;
        }
    }
}

/// Calls one device, again and again.
struct Caller {
    stream: StreamOwned<ClientConnection, TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Caller {
    fn open(
        arguments: &Arguments,
        device: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<Self, Problem> {
        let socket = TcpStream::connect(arguments.https)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, socket);
        let body = r#"{"methodName":"ping","payload":{"n":1},"responseTimeoutInSeconds":30}"#;
        let request = format!(
            "POST /twins/{device}/methods?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            arguments.token,
            body.len()
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Vec::new() })
    }

    fn call_for(mut self, length: Duration) -> Result<Vec<Duration>, Problem> {
        // The first call pays for the handshake.
        self.call()?;
        let begin = Instant::now();
        let mut took = Vec::new();
        while begin.elapsed() < length {
            let sent = Instant::now();
            self.call()?;
            took.push(sent.elapsed());
        }
        Ok(took)
    }

    fn call(&mut self) -> Result<(), Problem> {
        self.stream.write_all(&self.request)?;
        self.stream.flush()?;
        self.answer.clear();
        let mut buffer = [0; 4096];
        loop {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the hub closed a caller's connection".into());
            }
            self.answer.extend_from_slice(&buffer[..count]);
            let text = std::str::from_utf8(&self.answer)?;
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && body.ends_with('}')
            {
                let good = text.starts_with("HTTP/1.1 200") && body.contains(r#""ok":true"#);
                return if good { Ok(()) } else { Err(format!("not an answer: {text}").into()) };
            }
        }
    }
}

fn trusting(ca: &Path) -> Result<ClientConfig, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
