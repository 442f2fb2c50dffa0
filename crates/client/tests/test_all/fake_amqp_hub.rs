//! The hub's end of an AMQP connection, played step by step by a test: real TLS over loopback around
//! `amqp::Connection::server`.

use std::sync::Arc;
use std::time::Duration;

use amqp::connection::{Accept, Delivery, Event, LinkId, Settings};
use amqp::performative::{Attach, DeliveryState};
use amqp::sasl::Outcome;
use amqp::{Connection, Error, Limits, Message, Role, Symbol, Value};
use bytes::BytesMut;
use client::Dial;
use host::net::{self, TcpListener, TcpStream};
use host::tls::{ClientTls, ServerStream, ServerTls};
use iot_proto::amqp::cbs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fake_hub::certificate;

/// A listener with a certificate for `localhost`.
pub(crate) struct FakeAmqpHub {
    listener: TcpListener,
    tls: ServerTls,
    root_pem: String,
}

impl FakeAmqpHub {
    pub(crate) fn start() -> Self {
        let (root_pem, tls) = certificate();
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { listener, tls, root_pem }
    }

    pub(crate) fn dial(&self) -> Dial {
        let port = self.listener.local_addr().unwrap().port();
        Dial::new("localhost", port).at(Some("127.0.0.1".to_owned()))
    }

    pub(crate) fn client_tls(&self) -> ClientTls {
        ClientTls::new(&[&self.root_pem]).unwrap()
    }

    /// A connection that is open, with the mechanism that the client chose.
    pub(crate) async fn opened(&self) -> (Peer, Symbol) {
        let (stream, _) = self.listener.accept().await;
        let stream = self.tls.accept(stream).await.unwrap();
        let machine = Connection::server(Duration::ZERO, Arc::new(Settings::default()));
        let mut peer =
            Peer { machine, stream, input: BytesMut::new(), token_answers: None, telemetry: None };
        let mechanism = match peer.next().await {
            Some(Event::SaslInit { mechanism, .. }) => mechanism,
            other => panic!("no SASL but {other:?}"),
        };
        peer.machine.sasl_outcome(Outcome::Ok);
        peer.flush().await;
        (peer, mechanism)
    }

    /// A connection that is let in, ready for telemetry.
    pub(crate) async fn connected(&self) -> Peer {
        let (mut peer, _) = self.opened().await;
        peer.take_token(200).await;
        let (link, attach) = peer.attached().await;
        assert_eq!(attach.role, Role::Sender);
        peer.accept(link, &attach).await;
        peer
    }
}

/// The hub's end. Dropping it cuts the connection.
pub(crate) struct Peer {
    machine: Connection,
    stream: ServerStream<TcpStream>,
    input: BytesMut,
    token_answers: Option<LinkId>,
    telemetry: Option<LinkId>,
}

impl Peer {
    /// What the client does next; none when it closed the connection. Time stands still for the
    /// hub. Openings and credit are passed over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            self.machine.handle_input(Duration::ZERO, &mut self.input);
            let event = self.machine.poll_event();
            self.flush().await;
            match event {
                Some(Event::Open(_) | Event::SessionBegun(_) | Event::Credit { .. }) => {}
                Some(event) => return Some(event),
                None => {
                    if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                        return None;
                    }
                }
            }
        }
    }

    pub(crate) async fn flush(&mut self) {
        let mut output = BytesMut::new();
        self.machine.poll_transmit(&mut output);
        // The client may be gone: the next read tells.
        let _ = self.stream.write_all(&output).await;
        let _ = self.stream.flush().await;
    }

    /// The next attach.
    pub(crate) async fn attached(&mut self) -> (LinkId, Attach) {
        match self.next().await {
            Some(Event::Attach { link, attach }) => (link, *attach),
            other => panic!("no attach but {other:?}"),
        }
    }

    pub(crate) async fn accept(&mut self, link: LinkId, attach: &Attach) {
        self.machine.accept_attach(link, Accept::echo(attach, WINDOW));
        if attach.target.as_ref().and_then(|target| target.address.as_deref()) != Some("$cbs") {
            self.telemetry = Some(link);
        }
        self.flush().await;
    }

    pub(crate) async fn refuse(&mut self, link: LinkId, condition: &'static str) {
        let error = Error::new(Symbol::from_static(condition), "no");
        self.machine.refuse_attach(link, error);
        self.flush().await;
    }

    /// Takes a token, on new links if there are none yet; gives its audience and text.
    pub(crate) async fn take_token(&mut self, status: u16) -> (String, String) {
        if self.token_answers.is_none() {
            for _ in 0..2 {
                let (link, attach) = self.attached().await;
                if attach.role == Role::Receiver {
                    self.token_answers = Some(link);
                }
                self.accept(link, &attach).await;
            }
        }
        let delivery = self.delivery().await;
        let message = Message::decode(&delivery.message, &Limits::default()).unwrap();
        let request = cbs::Request::parse(&message).unwrap();
        let cbs::Request::PutToken { name, token } = request else { panic!("{request:?}") };
        self.machine.settle(delivery.id, DeliveryState::Accepted);
        let answer = cbs::answer(message.properties.message_id, status, "said the hub");
        let outgoing = amqp::connection::Outgoing {
            tag: vec![1].into(),
            message: answer.to_bytes(),
            format: 0,
            settled: true,
        };
        self.machine.send(self.token_answers.unwrap(), outgoing).unwrap();
        self.flush().await;
        (name, token)
    }

    /// The next message.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        match self.next().await {
            Some(Event::Delivery(delivery)) => delivery,
            other => panic!("no delivery but {other:?}"),
        }
    }

    pub(crate) async fn settle(&mut self, delivery: &Delivery, state: DeliveryState) {
        self.machine.settle(delivery.id, state);
        self.flush().await;
    }
}

/// The body of a message.
pub(crate) fn body(delivery: &Delivery) -> String {
    let message = Message::decode(&delivery.message, &Limits::default()).unwrap();
    String::from_utf8(message.body.to_bytes().unwrap().to_vec()).unwrap()
}

/// A text among a link's properties.
pub(crate) fn property<'a>(attach: &'a Attach, key: &str) -> Option<&'a str> {
    attach.properties.get(key).and_then(Value::as_text)
}

const WINDOW: u32 = 50;
