//! Bytes seen on the wire from real SDKs: device-protocol.md §16.

use bytes::{BufMut, Bytes, BytesMut};
use mqtt::packet::{Connect, Packet};
use mqtt::{Limits, QoS, codec};

use crate::arbitrary::{encoded, subscribe, topic};

#[track_caller]
fn check(bytes: &[u8], packet: &Packet) {
    let mut input = BytesMut::from(bytes);
    assert_eq!(codec::decode(&mut input, &Limits::default()).unwrap().as_ref(), Some(packet));
    assert_eq!(encoded(packet), bytes);
}

#[test]
fn python_device_connect() {
    let user_name = format!(
        "localhost/dev1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py{}",
        "%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%3Bx86_64%29"
    );
    let password =
        "SharedAccessSignature sr=localhost%2Fdevices%2Fdev1&sig=YCNH7P%3D&se=1795454917";
    let mut bytes = BytesMut::new();
    let remaining = 10 + 6 + 2 + user_name.len() + 2 + password.len();
    bytes.put_slice(&[0x10, 0x80 | (remaining & 0x7f) as u8, (remaining >> 7) as u8]);
    bytes.put_slice(b"\x00\x04MQTT\x04\xc0\x00\x3c\x00\x04dev1");
    bytes.put_u16(user_name.len() as u16);
    bytes.put_slice(user_name.as_bytes());
    bytes.put_u16(password.len() as u16);
    bytes.put_slice(password.as_bytes());
    let connect = Connect {
        user_name: Some(user_name),
        password: Some(Bytes::from(password)),
        ..Connect::new("dev1")
    };
    check(&bytes, &Packet::Connect(Box::new(connect)));
}

#[test]
fn x509_device_has_no_password() {
    let bytes = b"\x10\x1f\x00\x04MQTT\x04\x80\x00\x3c\x00\x04dev1\x00\x0dlocalhost/dev";
    let connect = Connect { user_name: Some("localhost/dev".into()), ..Connect::new("dev1") };
    check(bytes, &Packet::Connect(Box::new(connect)));
}

#[test]
fn python_twin_subscription_and_get() {
    let bytes = b"\x82\x17\x00\x01\x00\x12$iothub/twin/res/#\x01";
    check(bytes, &Packet::Subscribe(subscribe(1, &["$iothub/twin/res/#"])));

    let name = "$iothub/twin/GET/?$rid=9427fd19-0a6e-4f3c-a0d0-5f3a3b1c2d4e";
    assert_eq!(name.len(), 0x3b);
    let mut bytes = b"\x32\x40\x00\x3b".to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b"\x00\x02 ");
    let mut input = BytesMut::from(&bytes[..]);
    let Ok(Some(Packet::Publish(publish))) = codec::decode(&mut input, &Limits::default()) else {
        panic!("no publish")
    };
    assert_eq!(publish.topic, topic(name));
    assert_eq!((publish.qos, publish.packet_id.unwrap().get()), (QoS::AtLeastOnce, 2));
    assert_eq!(publish.payload, " ");
}

/// A length in more bytes than needed isn't forbidden before MQTT 5.
#[test]
fn long_form_of_a_short_length() {
    let mut input = BytesMut::from(&[0xc0, 0x80, 0x80, 0x00][..]);
    assert_eq!(codec::decode(&mut input, &Limits::default()), Ok(Some(Packet::Pingreq)));
    assert!(input.is_empty());
}
