//! Headers and frames byte by byte.

use bytes::{Bytes, BytesMut};

use super::{Frame, FrameError, FrameKind, HeaderError, ProtocolHeader, encode_empty};
use crate::codec::tests::wire;

fn header(words: &str) -> (Result<Option<ProtocolHeader>, HeaderError>, usize) {
    let mut input = BytesMut::from(&wire(words)[..]);
    let header = ProtocolHeader::take(&mut input);
    (header, input.len())
}

#[test]
fn protocol_headers() {
    assert_eq!(header("'AMQP' 00010000 aa"), (Ok(Some(ProtocolHeader::Amqp)), 1));
    assert_eq!(header("'AMQP' 02010000"), (Ok(Some(ProtocolHeader::Tls)), 0));
    assert_eq!(header("'AMQP' 03010000"), (Ok(Some(ProtocolHeader::Sasl)), 0));
    assert_eq!(header(""), (Ok(None), 0));
    assert_eq!(header("'AM'"), (Ok(None), 2));
    assert_eq!(header("'AMQP' 000100"), (Ok(None), 7));
    // Refused as soon as it is clear: an HTTP client would wait for ever.
    assert_eq!(header("'GE'").0, Err(HeaderError::NotAmqp));
    let old = HeaderError::UnknownVersion { id: 0, major: 0, minor: 9, revision: 1 };
    assert_eq!(header("'AMQP' 00000901").0, Err(old));
    for known in [ProtocolHeader::Amqp, ProtocolHeader::Tls, ProtocolHeader::Sasl] {
        let taken = ProtocolHeader::take(&mut BytesMut::from(&known.bytes()[..]));
        assert_eq!(taken, Ok(Some(known)));
    }
}

fn frame(words: &str) -> Result<Option<Frame>, FrameError> {
    Frame::take(&mut BytesMut::from(&wire(words)[..]), 512)
}

#[test]
fn frames() {
    let amqp = |channel, body: &'static [u8]| Frame {
        kind: FrameKind::Amqp,
        channel,
        body: Bytes::from_static(body),
    };
    assert_eq!(frame("0000000a 02 00 0102 abcd"), Ok(Some(amqp(0x102, &[0xab, 0xcd]))));
    // An extended header is skipped.
    assert_eq!(frame("0000000e 03 00 0000 99999999 abcd"), Ok(Some(amqp(0, &[0xab, 0xcd]))));
    let sasl = frame("00000008 02 01 0000").unwrap().unwrap();
    assert_eq!(sasl.kind, FrameKind::Sasl);
    assert!(!sasl.is_empty());
    assert!(frame("00000008 02 00 0000").unwrap().unwrap().is_empty());
    assert_eq!(frame("0000000a 02 00 0102 ab"), Ok(None));
    assert_eq!(frame("000000"), Ok(None));

    let small = |size_bytes, header_bytes| FrameError::TooSmall { size_bytes, header_bytes };
    assert_eq!(frame("00000007 02 00 0000"), Err(small(7, 8)));
    assert_eq!(frame("00000008 01 00 0000"), Err(small(8, 4)));
    assert_eq!(frame("00000008 03 00 0000"), Err(small(8, 12)));
    assert_eq!(frame("00000008 02 02 0000"), Err(FrameError::UnknownKind(2)));
    let large = FrameError::TooLarge { size_bytes: 513, limit_bytes: 512 };
    assert_eq!(frame("00000201 02 00 0000"), Err(large), "before its end is there");
}

#[test]
fn heartbeat() {
    let mut output = BytesMut::new();
    encode_empty(&mut output);
    assert_eq!(output, wire("00000008 02 00 0000"));
}
