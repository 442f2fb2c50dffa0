//! What is written and read again is the same.

use amqp::frame::{self, Frame, FrameKind};
use amqp::{Limits, Message, Performative, Value, batch};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary;

proptest! {
    #[test]
    fn values(value in arbitrary::value()) {
        let mut output = BytesMut::new();
        value.encode(&mut output);
        let encoded = output.freeze();
        prop_assert_ne!(encoded[0], 0x45, "list0 is never written");
        prop_assert_eq!(Value::decode(&encoded, &Limits::default()), Ok(value));
    }

    /// Every value cut short is refused: none is a prefix of another.
    #[test]
    fn values_cut_short(value in arbitrary::value(), cut in any::<prop::sample::Index>()) {
        let mut output = BytesMut::new();
        value.encode(&mut output);
        output.truncate(cut.index(output.len()));
        prop_assert!(Value::decode(&output.freeze(), &Limits::default()).is_err());
    }

    /// Frames come out one by one, in whatever pieces they came in.
    #[test]
    fn performatives(
        performatives in vec((any::<u16>(), arbitrary::performative()), 1..4),
        piece in 1..400_usize,
    ) {
        let mut wire = BytesMut::new();
        for (channel, performative) in &performatives {
            frame::encode(*channel, performative, &mut wire);
            frame::encode_empty(&mut wire);
        }
        let mut input = BytesMut::new();
        let mut decoded = Vec::new();
        for piece in wire.chunks(piece) {
            input.extend_from_slice(piece);
            while let Some(frame) = Frame::take(&mut input, u32::MAX)? {
                prop_assert_eq!(frame.kind, FrameKind::Amqp);
                if !frame.is_empty() {
                    let (performative, payload) = frame.performative(&Limits::default())?;
                    prop_assert!(payload.is_empty());
                    decoded.push((frame.channel, performative));
                }
            }
        }
        prop_assert_eq!(decoded, performatives);
    }

    /// A payload that is split over frames comes out whole, no frame is too large, and
    /// all but the last say that more follows.
    #[test]
    fn split_transfers(
        mut transfer in arbitrary::transfer(),
        payload in vec(any::<u8>(), 0..4000),
        size_bytes_max in 512..3000_u32,
    ) {
        transfer.state = None;
        transfer.more = false;
        let mut wire = BytesMut::new();
        let mut sent = 0;
        loop {
            let before = wire.len();
            sent += frame::encode_transfer(
                7, &transfer, &payload[sent..], size_bytes_max, &mut wire,
            );
            prop_assert!(wire.len() - before <= size_bytes_max as usize);
            if sent == payload.len() {
                break;
            }
            prop_assert_eq!(wire.len() - before, size_bytes_max as usize);
        }
        let mut received = Vec::new();
        let mut last = false;
        while let Some(frame) = Frame::take(&mut wire, size_bytes_max)? {
            prop_assert!(!last);
            let (performative, part) = frame.performative(&Limits::default())?;
            let Performative::Transfer(decoded) = performative else { panic!("a transfer") };
            last = !decoded.more;
            received.extend_from_slice(&part);
            prop_assert_eq!(amqp::performative::Transfer { more: false, ..decoded }, transfer.clone());
        }
        prop_assert!(last);
        prop_assert_eq!(received, payload);
    }

    #[test]
    fn sasl(sasl in arbitrary::sasl()) {
        let mut wire = BytesMut::new();
        frame::encode_sasl(&sasl, &mut wire);
        let frame = Frame::take(&mut wire, u32::MAX)?.expect("all of it");
        prop_assert_eq!(frame.kind, FrameKind::Sasl);
        prop_assert_eq!(frame.sasl(&Limits::default()), Ok(sasl));
    }

    #[test]
    fn messages(message in arbitrary::message()) {
        prop_assert_eq!(Message::decode(&message.to_bytes(), &Limits::default()), Ok(message));
    }

    #[test]
    fn batches(messages in vec(arbitrary::message(), 1..4)) {
        let mut output = BytesMut::new();
        batch::encode(&messages, &mut output);
        let opened = batch::open(&output.freeze(), &Limits::default())?;
        prop_assert_eq!(opened.len(), messages.len());
        let decoded: Result<Vec<_>, _> = opened.collect();
        let decoded: Vec<Message> = decoded?.into_iter().map(|(_, message)| message).collect();
        prop_assert_eq!(decoded, messages);
    }

    /// The sections of a message may come in any order: C's is not the standard's.
    #[test]
    fn sections_in_any_order(
        message in arbitrary::message(),
        order in Just([0, 1, 2, 3, 4, 5, 6]).prop_shuffle(),
    ) {
        let sections = [
            Message { header: message.header, ..Message::default() },
            Message {
                delivery_annotations: message.delivery_annotations.clone(),
                ..Message::default()
            },
            Message {
                message_annotations: message.message_annotations.clone(),
                ..Message::default()
            },
            Message { properties: message.properties.clone(), ..Message::default() },
            Message {
                application_properties: message.application_properties.clone(),
                ..Message::default()
            },
            Message { body: message.body.clone(), ..Message::default() },
            Message { footer: message.footer.clone(), ..Message::default() },
        ];
        let mut shuffled = BytesMut::new();
        for position in order {
            sections[position].encode(&mut shuffled);
        }
        prop_assert_eq!(Message::decode(&shuffled.freeze(), &Limits::default()), Ok(message));
    }
}

/// A binary in a message is a part of the payload, not a copy.
#[test]
fn data_is_not_copied() {
    let payload = Message { body: amqp::Body::data("0123456789"), ..Message::default() }.to_bytes();
    let message = Message::decode(&payload, &Limits::default()).unwrap();
    let content: Bytes = message.body.to_bytes().unwrap();
    let inside = payload.as_ptr_range();
    assert!(inside.contains(&content.as_ptr()));
}
