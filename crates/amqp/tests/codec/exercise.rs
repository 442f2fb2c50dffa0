//! What is done with bytes from an attacker, by the tests here and by the fuzz targets
//! in `fuzz/`: read them, and what could be read must survive being written and read
//! again.

use amqp::frame::{self, Frame, FrameKind, ProtocolHeader};
use amqp::sasl::{Plain, SaslFrame};
use amqp::{Limits, Message, Performative, Value, batch};
use bytes::{Bytes, BytesMut};

/// Reads all of the bytes as protocol headers and frames. Returns how many frames
/// could be read, body and all.
pub(crate) fn frames(bytes: &[u8]) -> usize {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(header)) = ProtocolHeader::take(&mut input) {
        assert!(bytes.windows(8).any(|window| window == header.bytes()));
    }
    let mut count = 0;
    while let Ok(Some(frame)) = Frame::take(&mut input, FRAME_BYTES_MAX) {
        assert!(frame.body.len() <= FRAME_BYTES_MAX as usize - 8);
        let is_read = match frame.kind {
            FrameKind::Amqp if frame.is_empty() => true,
            FrameKind::Amqp => performative(&frame),
            FrameKind::Sasl => sasl(&frame.body),
        };
        count += usize::from(is_read);
    }
    count
}

fn performative(received: &Frame) -> bool {
    let Ok((performative, payload)) = received.performative(&Limits::default()) else {
        return false;
    };
    let mut output = BytesMut::new();
    match &performative {
        Performative::Transfer(transfer) => {
            let taken =
                frame::encode_transfer(received.channel, transfer, &payload, u32::MAX, &mut output);
            assert_eq!(taken, payload.len());
        }
        other => frame::encode(received.channel, other, &mut output),
    }
    let again = Frame::take(&mut output, u32::MAX).expect("a frame").expect("all of it");
    assert!(output.is_empty());
    assert_eq!(again.channel, received.channel);
    assert_eq!(again.performative(&Limits::default()), Ok((performative, payload)));
    true
}

/// Reads the bytes as the body of a SASL frame.
pub(crate) fn sasl(bytes: &[u8]) -> bool {
    let body = Bytes::copy_from_slice(bytes);
    let Ok(sasl) = SaslFrame::decode(&body, &Limits::default()) else { return false };
    let mut output = BytesMut::new();
    frame::encode_sasl(&sasl, &mut output);
    let again = Frame::take(&mut output, u32::MAX).expect("a frame").expect("all of it");
    assert_eq!(again.sasl(&Limits::default()).as_ref(), Ok(&sasl));
    if let SaslFrame::Init(init) = &sasl
        && let Some(response) = &init.initial_response
        && let Ok(plain) = Plain::parse(response)
    {
        assert_eq!(plain.to_response(), response[..]);
    }
    true
}

/// Reads the bytes as a message.
pub(crate) fn message(bytes: &[u8]) -> bool {
    let payload = Bytes::copy_from_slice(bytes);
    let Ok(message) = Message::decode(&payload, &Limits::default()) else { return false };
    let again = Message::decode(&message.to_bytes(), &Limits::default());
    assert_eq!(again.as_ref(), Ok(&message));
    if let Some(content) = message.body.to_bytes() {
        assert!(content.len() <= bytes.len());
    }
    true
}

/// Reads the bytes as a batch. Returns how many messages in it could be read.
pub(crate) fn batch(bytes: &[u8]) -> usize {
    let payload = Bytes::copy_from_slice(bytes);
    let Ok(messages) = batch::open(&payload, &Limits::default()) else { return 0 };
    let mut count = 0;
    for (encoded, _) in messages.flatten() {
        assert!(message(&encoded));
        count += 1;
    }
    count
}

/// Reads the bytes as a value.
pub(crate) fn value(bytes: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(bytes);
    let Ok(value) = Value::decode(&input, &Limits::default()) else { return false };
    let mut output = BytesMut::new();
    value.encode(&mut output);
    assert_eq!(Value::decode(&output.freeze(), &Limits::default()), Ok(value));
    true
}

const FRAME_BYTES_MAX: u32 = 64 * 1024;
