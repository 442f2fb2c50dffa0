//! Server and client machine as an in-memory pair with simulated time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt::packet::{Connect, SubackCode};
use mqtt::{Filter, QoS, Topic, client, server};

#[test]
fn smoke() {
    let now = Duration::ZERO;
    let mut server = server::ServerConnection::new(now, server::Settings::default());
    let mut client = client::ClientConnection::new(client::Settings::default());
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    client.connect(now, Connect::new("d")).unwrap();
    client.poll_transmit(&mut up);
    server.handle_input(now, &mut up);
    assert!(matches!(server.poll_event(), Some(server::Event::Connect(_))));
    server.accept(now, false);
    server.poll_transmit(&mut down);
    client.handle_input(now, &mut down);
    assert!(matches!(client.poll_event(), Some(client::Event::Connack(_))));
    let filter: Filter = "a/#".parse().unwrap();
    client.subscribe(vec![(filter, QoS::AtLeastOnce)]).unwrap();
    let id = client.publish(&Topic::new("a/b").unwrap(), b"x", QoS::AtLeastOnce).unwrap();
    client.poll_transmit(&mut up);
    server.handle_input(now, &mut up);
    let Some(server::Event::Subscribe(subscribe)) = server.poll_event() else { panic!() };
    server.suback(subscribe.packet_id, vec![SubackCode::Granted(QoS::AtLeastOnce)]).unwrap();
    let Some(server::Event::Publish(publish)) = server.poll_event() else { panic!() };
    assert_eq!(publish.payload, Bytes::from_static(b"x"));
    server.puback(publish.packet_id.unwrap()).unwrap();
    server.poll_transmit(&mut down);
    client.handle_input(now, &mut down);
    assert!(matches!(client.poll_event(), Some(client::Event::Suback(_))));
    assert_eq!(client.poll_event(), id.map(client::Event::Puback));
}
