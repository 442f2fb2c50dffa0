//! `read-load`: one AMQP connection that reads the partitions of an event endpoint from their
//! beginning as fast as it is given events. Used by `cargo xtask bench events`.
//!
//! Every event is counted, and its tag is not looked at: what is in it is the tests' business.

#![allow(clippy::disallowed_methods, reason = "a measuring tool outside of the product")]
#![allow(clippy::disallowed_types, reason = "a measuring tool outside of the product")]
#![allow(clippy::print_stdout, reason = "prints its result")]
#![allow(clippy::print_stderr, reason = "prints its errors")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amqp::connection::{Credentials, NewLink, Settings};
use amqp::sasl::Plain;
use amqp::{DeliveryState, Event};
use bytes::BytesMut;
use clap::Parser;

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// Where the server listens, without TLS
    #[arg(long)]
    address: SocketAddr,
    /// User name of SASL PLAIN
    #[arg(long)]
    user: String,
    /// Password of SASL PLAIN: a token
    #[arg(long)]
    password: String,
    /// Address of a partition; several times for several partitions
    #[arg(long, required = true)]
    source: Vec<String>,
    /// Events to read
    #[arg(long)]
    events: u64,
    /// Events that may be under way on each link
    #[arg(long, default_value_t = 1000)]
    credit: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("read-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Problem> {
    let mut stream = TcpStream::connect(arguments.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let begin = Instant::now();
    let plain = Plain {
        authorization_id: String::new(),
        authentication_id: arguments.user.clone(),
        password: arguments.password.clone(),
    };
    let settings = Settings { hostname: Some("localhost".into()), ..Settings::default() };
    let credentials = Credentials::Plain(plain.to_response().into());
    let mut machine = amqp::Connection::client(begin.elapsed(), Arc::new(settings), credentials);
    let (mut input, mut buffer) = (BytesMut::new(), vec![0; READ_BYTES]);
    let (mut events, mut bytes) = (0_u64, 0_u64);
    let mut first = None;
    while events < arguments.events {
        while !machine.output().is_empty() {
            let written = stream.write(machine.output())?;
            machine.advance_output(written);
        }
        let count = stream.read(&mut buffer).map_err(|error| format!("{error} after {events}"))?;
        if count == 0 {
            return Err("the server closed the connection".into());
        }
        input.extend_from_slice(&buffer[..count]);
        machine.handle_input(begin.elapsed(), &mut input);
        loop {
            while let Some(event) = machine.poll_event() {
                match event {
                    Event::Open(_) => {
                        let session = machine.begin()?;
                        for (index, source) in arguments.source.iter().enumerate() {
                            let name = format!("read-{index}");
                            let link = NewLink::receiver(name, &**source, arguments.credit);
                            machine.attach(session, link)?;
                        }
                    }
                    Event::Delivery(delivery) => {
                        first.get_or_insert_with(Instant::now);
                        events += 1;
                        bytes += delivery.message.len() as u64;
                        machine.settle(delivery.id, DeliveryState::Accepted);
                    }
                    Event::Closed(_) | Event::SessionEnded { .. } | Event::Detached { .. } => {
                        return Err(format!("the server ended it: {event:?}").into());
                    }
                    _ => {}
                }
            }
            // The machine leaves input behind that would need more room for events than it has.
            if !machine.wants_resume() {
                break;
            }
            machine.handle_input(begin.elapsed(), &mut input);
        }
    }
    let took = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let result = serde_json::json!({
        "events": events,
        "message_bytes": bytes,
        "seconds": took,
        "per_second": events as f64 / took,
    });
    println!("{result}");
    Ok(())
}

const READ_BYTES: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
