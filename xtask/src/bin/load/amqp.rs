//! A client that sends unsettled transfers on one link, after SASL PLAIN.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amqp::connection::{Credentials, DeliveryId, LinkId, NewLink, Outgoing, Settings};
use amqp::message::{Body, Header, Message};
use amqp::sasl::Plain;
use amqp::{DeliveryState, Event};
use bytes::{Bytes, BytesMut};

use super::tally::Tally;
use super::{Arguments, CONNECT_PATIENCE, Client, Login, Pace, Problem, payload};

/// One client.
pub(crate) struct Connection {
    stream: TcpStream,
    machine: amqp::Connection,
    input: BytesMut,
    link: LinkId,
    message: Bytes,
    in_flight: VecDeque<(DeliveryId, Instant)>,
    in_flight_max: usize,
    sent: u64,
    pace: Pace,
    begin: Instant,
}

impl Client for Connection {
    fn open(arguments: &Arguments, login: &Login) -> Result<Self, Problem> {
        if arguments.tls {
            return Err("AMQP is measured without TLS here".into());
        }
        let mut stream = TcpStream::connect(arguments.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_PATIENCE))?;
        let begin = Instant::now();
        let plain = Plain {
            authorization_id: String::new(),
            authentication_id: login.user_name.clone().unwrap_or_default(),
            password: login.password.clone().unwrap_or_default(),
        };
        let settings = Settings {
            container_id: login.client_id.clone(),
            hostname: Some("localhost".into()),
            ..Settings::default()
        };
        let credentials = Credentials::Plain(plain.to_response().into());
        let mut machine =
            amqp::Connection::client(begin.elapsed(), Arc::new(settings), credentials);
        let mut opened = None;
        let mut input = BytesMut::new();
        let mut buffer = vec![0; 4096];
        let link = loop {
            if let Some(link) = opened.filter(|link| machine.credit(*link) > 0) {
                break link;
            }
            write_out(&mut stream, &mut machine)?;
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            input.extend_from_slice(&buffer[..count]);
            machine.handle_input(begin.elapsed(), &mut input);
            while let Some(event) = machine.poll_event() {
                match event {
                    Event::Open(_) => {
                        let session = machine.begin()?;
                        let link = NewLink::sender("load", login.topic.as_str());
                        opened = Some(machine.attach(session, link)?);
                    }
                    Event::Closed(_) | Event::SessionEnded { .. } | Event::Detached { .. } => {
                        return Err(format!("refused: {event:?}").into());
                    }
                    _ => {}
                }
            }
        };
        stream.set_read_timeout(None)?;
        let message = Message {
            // Brokers keep only what asks for it.
            header: Some(Header { durable: true, ..Header::default() }),
            body: Body::data(payload(arguments.size)),
            ..Message::default()
        };
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        Ok(Self {
            stream,
            machine,
            input,
            link,
            message: encoded.freeze(),
            in_flight: VecDeque::new(),
            in_flight_max: usize::from(arguments.in_flight),
            sent: 0,
            pace: Pace::new(),
            begin,
        })
    }

    fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < self.in_flight_max
    }

    fn send(&mut self, now: Instant, interval: Option<Duration>) -> Result<(), Problem> {
        while self.has_room()
            && self.machine.can_send(self.link).is_ok()
            && let Some(sent) = self.pace.next(now, interval)
        {
            let outgoing = Outgoing {
                tag: Bytes::copy_from_slice(&self.sent.to_be_bytes()),
                message: self.message.clone(),
                format: 0,
                settled: false,
            };
            let delivery = self.machine.send(self.link, outgoing)?;
            self.in_flight.push_back((delivery, sent));
            self.sent += 1;
        }
        // The socket blocks: a server that stops reading stops this generator, and shows in its rate.
        write_out(&mut self.stream, &mut self.machine)
    }

    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), Problem> {
        let count = self.stream.read(buffer)?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        self.input.extend_from_slice(&buffer[..count]);
        self.machine.handle_input(self.begin.elapsed(), &mut self.input);
        let now = Instant::now();
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Settled {
                    delivery, state: Some(DeliveryState::Accepted) | None, ..
                } => {
                    let at = self.in_flight.iter().position(|(known, _)| *known == delivery);
                    let at = at.ok_or("an outcome of what is not in flight")?;
                    if let Some((_, sent)) = self.in_flight.remove(at) {
                        tally.add(at, now - sent);
                    }
                }
                Event::Settled { state, .. } => {
                    return Err(format!("not accepted: {state:?}").into());
                }
                Event::Closed(_) | Event::SessionEnded { .. } | Event::Detached { .. } => {
                    return Err(format!("the server ended it: {event:?}").into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn write_out(stream: &mut TcpStream, machine: &mut amqp::Connection) -> Result<(), Problem> {
    while !machine.output().is_empty() {
        let written = stream.write(machine.output())?;
        machine.advance_output(written);
    }
    Ok(())
}
