//! The hub's end of an MQTT connection, played step by step by a test: real TLS over loopback
//! around `mqtt::server`.
//!
//! Also part of the simulator's tests.

use std::time::Duration;

use bytes::BytesMut;
use client::Dial;
use host::clock::Clock;
use host::net::{self, TcpListener, TcpStream};
use host::tls::{ClientTls, ServerStream, ServerTls};
use mqtt::packet::{ConnackCode, Connect, Publish, SubackCode, Subscribe};
use mqtt::server::{Event, ServerConnection, Settings};
use mqtt::{PacketId, QoS, Topic};
use pki::{Authority, Validity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A listener with a certificate for `localhost`.
pub(crate) struct FakeHub {
    listener: TcpListener,
    tls: ServerTls,
    pub(crate) root_pem: String,
}

/// A root for tests and a server certificate for `localhost` under it.
pub(crate) fn certificate() -> (String, ServerTls) {
    let validity = Validity::starting(Clock::system().wall(), Duration::from_secs(3600));
    let authority = Authority::create_root("test root", validity).unwrap();
    let issued = authority.issue_server(&["localhost".parse().unwrap()], validity).unwrap();
    let tls = ServerTls::new(&issued.chain_pem, &issued.key_pem).unwrap();
    (authority.root_pem(), tls)
}

impl FakeHub {
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

    /// A connection with its CONNECT, which waits for [`Peer::accept`] or [`Peer::refuse`].
    pub(crate) async fn asked(&self) -> (Peer, Connect) {
        let (stream, _) = self.listener.accept().await;
        let stream = self.tls.accept(stream).await.unwrap();
        let machine = ServerConnection::new(Duration::ZERO, Settings::default());
        let mut peer = Peer { machine, stream, input: BytesMut::new() };
        match peer.next().await {
            Some(Event::Connect(connect)) => (peer, *connect),
            other => panic!("no CONNECT but {other:?}"),
        }
    }

    /// A connection that is let in.
    pub(crate) async fn connected(&self, session_present: bool) -> Peer {
        let (mut peer, _) = self.asked().await;
        peer.accept(session_present).await;
        peer
    }

    /// Takes a connection whose client leaves during the handshake.
    pub(crate) async fn asked_quietly(&self) {
        let (stream, _) = self.listener.accept().await;
        // What the client found wrong is the client's to tell.
        let _ = self.tls.accept(stream).await;
    }

    /// Takes a TCP connection and drops it before TLS.
    pub(crate) async fn drop_one(&self) {
        drop(self.listener.accept().await);
    }
}

/// The hub's end. Dropping it cuts the connection.
pub(crate) struct Peer {
    machine: ServerConnection,
    stream: ServerStream<TcpStream>,
    input: BytesMut,
}

impl Peer {
    pub(crate) async fn accept(&mut self, session_present: bool) {
        self.machine.accept(Duration::ZERO, session_present);
        self.flush().await;
    }

    pub(crate) async fn refuse(mut self, code: ConnackCode) {
        self.machine.refuse(code);
        self.flush().await;
    }

    /// The client's next packet; none when it closed the connection. Time stands still for the
    /// hub, so it never finds the client silent.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            self.machine.handle_input(Duration::ZERO, &mut self.input);
            if let Some(event) = self.machine.poll_event() {
                self.flush().await;
                return Some(event);
            }
            self.flush().await;
            if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                return None;
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

    /// The next PUBLISH; subscriptions before it are granted, pings skipped.
    pub(crate) async fn publish(&mut self) -> Publish {
        loop {
            match self.next().await {
                Some(Event::Publish(publish)) => return publish,
                Some(Event::Subscribe(subscribe)) => self.grant(&subscribe).await,
                Some(Event::Pinged) => {}
                other => panic!("no PUBLISH but {other:?}"),
            }
        }
    }

    /// The next SUBSCRIBE, granted: its filters.
    pub(crate) async fn subscription(&mut self) -> Vec<String> {
        match self.next().await {
            Some(Event::Subscribe(subscribe)) => {
                self.grant(&subscribe).await;
                subscribe.filters.iter().map(|(filter, _)| filter.to_string()).collect()
            }
            other => panic!("no SUBSCRIBE but {other:?}"),
        }
    }

    async fn grant(&mut self, subscribe: &Subscribe) {
        let codes = subscribe.filters.iter().map(|(_, qos)| SubackCode::Granted(*qos)).collect();
        self.machine.suback(subscribe.packet_id, codes).unwrap();
        self.flush().await;
    }

    /// The next PUBACK.
    pub(crate) async fn acknowledged(&mut self) -> PacketId {
        match self.next().await {
            Some(Event::Acknowledged(id)) => id,
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    pub(crate) async fn puback(&mut self, publish: &Publish) {
        self.machine.puback(publish.packet_id.unwrap()).unwrap();
        self.flush().await;
    }

    pub(crate) async fn deliver(&mut self, topic: &str, body: &str, qos: QoS) -> Option<PacketId> {
        let topic = Topic::new(topic).unwrap();
        let id = self.machine.publish(&topic, body.as_bytes(), qos).unwrap();
        self.flush().await;
        id
    }

    /// The request id of a twin request or a method's answer.
    pub(crate) fn rid(publish: &Publish) -> String {
        let (_, rid) = publish.topic.as_str().split_once("$rid=").expect("a request id");
        rid.to_owned()
    }

    /// Answers the next publish, which must be a twin get.
    pub(crate) async fn answer_twin(&mut self, body: &str) {
        let request = self.publish().await;
        assert!(request.topic.starts_with("$iothub/twin/GET/?"), "{}", request.topic);
        let topic = format!("$iothub/twin/res/200/?$rid={}", Self::rid(&request));
        self.deliver(&topic, body, QoS::AtMostOnce).await;
    }

    /// Grants the next publish, which must be a patch of reported properties; gives it.
    pub(crate) async fn take_report(&mut self, version: u64) -> serde_json::Value {
        let request = self.publish().await;
        let prefix = "$iothub/twin/PATCH/properties/reported/?";
        assert!(request.topic.starts_with(prefix), "{}", request.topic);
        let topic =
            format!("$iothub/twin/res/204/?$rid={}&$version={version}", Self::rid(&request));
        self.deliver(&topic, "", QoS::AtMostOnce).await;
        serde_json::from_slice(&request.payload).unwrap()
    }
}
