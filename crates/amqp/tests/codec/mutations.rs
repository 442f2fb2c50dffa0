//! Bytes from nobody, and bytes that were once right: nothing panics, and what can be
//! read survives a round trip. The fuzz targets do the same for longer.

use amqp::frame;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::strangers::Reached;
use crate::{arbitrary, exercise, strangers};

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        everything(&bytes);
    }

    /// Bytes of which most are format codes get further than any bytes.
    #[test]
    fn likely_bytes(
        bytes in vec(prop::sample::select(LIKELY), 0..100),
        sizes in vec((any::<Index>(), 0..100_u8), 0..10),
    ) {
        let mut bytes = bytes;
        for (at, size) in sizes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = size;
            }
        }
        everything(&bytes);
    }

    #[test]
    fn changed_frames(
        performative in arbitrary::performative(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut wire = BytesMut::new();
        frame::encode(1, &performative, &mut wire);
        for (at, byte) in changes {
            // Behind the size: a frame of another size only waits for the rest.
            let at = 4 + at.index(wire.len() - 4);
            wire[at] = byte;
        }
        exercise::frames(&wire);
    }

    #[test]
    fn changed_messages(
        message in arbitrary::message(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message.to_bytes().to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        exercise::message(&bytes);
    }
}

proptest! {
    /// Frames that could come, in an order that no client would have.
    #[test]
    fn frames_from_strangers(
        how in any::<[u8; 3]>(),
        performatives in vec((0..3_u8, arbitrary::performative()), 0..12),
    ) {
        let mut bytes = BytesMut::from(&[how[0], how[1], how[2] | 0x10][..]);
        for (channel, performative) in performatives {
            let mut body = BytesMut::new();
            performative.encode(&mut body);
            body.truncate(255);
            bytes.extend_from_slice(&[body.len() as u8, channel]);
            bytes.extend_from_slice(&body);
        }
        strangers::connection(&bytes);
    }
}

/// The kept inputs of the fuzz target get through the door and far behind it.
#[test]
fn kept_strangers_come_far() {
    let reached = |bytes: &[u8]| {
        let Reached { deliveries, settled } = strangers::connection(bytes);
        (deliveries, settled)
    };
    macro_rules! kept {
        ($name:literal) => {
            include_bytes!(concat!("../../../../fuzz/corpus/amqp_connection/", $name))
        };
    }
    assert_eq!(reached(kept!("uplink")), (3, 0));
    assert_eq!(reached(kept!("multi_frame")), (1, 0));
    assert_eq!(reached(kept!("over_credit")), (3, 0));
    // What the owner sends depends on how the frames are cut.
    for bytes in [&kept!("downlink")[..], kept!("both"), kept!("client")] {
        assert!(reached(bytes).1 > 0, "{bytes:02x?}");
    }
}

fn everything(bytes: &[u8]) {
    strangers::connection(bytes);
    exercise::frames(bytes);
    exercise::sasl(bytes);
    exercise::message(bytes);
    exercise::batch(bytes);
    exercise::value(bytes);
}

const LIKELY: &[u8] = &[
    0x00, 0x53, 0x10, 0x12, 0x14, 0x24, 0x28, 0x70, 0x72, 0x73, 0x75, 0x77, 0x40, 0x41, 0x43, 0x45,
    0x50, 0x52, 0x54, 0x56, 0xa0, 0xa1, 0xa3, 0xb1, 0xc0, 0xc1, 0xd0, 0xd1, 0xe0, 0xf0, 0x02, 0x03,
];
