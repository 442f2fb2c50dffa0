//! The SASL layer byte by byte.

use bytes::{Bytes, BytesMut};

use super::{Init, Outcome, Plain, PlainError, SaslFrame};
use crate::codec::tests::wire;
use crate::codec::{DecodeError, Limits};
use crate::types::Symbol;

#[track_caller]
fn check(words: &str, frame: &SaslFrame) {
    assert_eq!(SaslFrame::decode(&wire(words), &Limits::default()).as_ref(), Ok(frame));
    let mut output = BytesMut::new();
    frame.encode(&mut output);
    assert_eq!(output, wire(words));
}

#[test]
fn frames() {
    let mechanisms = ["PLAIN", "EXTERNAL"].map(Symbol::from_static);
    check(
        "005340 c01401 e01102 a3 05 'PLAIN' 08 'EXTERNAL'",
        &SaslFrame::Mechanisms(mechanisms.to_vec()),
    );
    // One mechanism, too, is an array: pyamqp iterates.
    check(
        "005340 c00c01 e00901 a3 06 '_PLAIN'",
        &SaslFrame::Mechanisms(vec![Symbol::from_static("_PLAIN")]),
    );
    check("005341 c00c03 a307 'MSSBCBS' 40 40", &init("MSSBCBS", None));
    check("005341 c00e03 a308 'EXTERNAL' a000 40", &init("EXTERNAL", Some("")));
    check("005342 c00401 a00163", &SaslFrame::Challenge(Bytes::from_static(b"c")));
    check("005343 c00401 a00172", &SaslFrame::Response(Bytes::from_static(b"r")));
    check(
        "005344 c00402 5001 40",
        &SaslFrame::Outcome { code: Outcome::Auth, additional_data: None },
    );
}

fn init(mechanism: &'static str, initial_response: Option<&'static str>) -> SaslFrame {
    SaslFrame::Init(Init {
        mechanism: Symbol::from_static(mechanism),
        initial_response: initial_response.map(Bytes::from),
        hostname: None,
    })
}

#[test]
fn refusals() {
    let decode = |words| SaslFrame::decode(&wire(words), &Limits::default());
    assert!(matches!(decode("005340 45"), Err(DecodeError::MissingField { .. })));
    assert!(matches!(decode("005340 c00501 e00200a3"), Err(DecodeError::MissingField { .. })));
    assert!(matches!(decode("005344 c00301 5005"), Err(DecodeError::Field { .. })));
    assert!(matches!(decode("005318 45"), Err(DecodeError::UnknownDescriptor { .. })));
}

#[test]
fn plain() {
    let plain = Plain::parse(b"\0iothubowner@sas.root.hub\0SharedAccessSignature sr=x").unwrap();
    assert_eq!(plain.authorization_id, "");
    assert_eq!(plain.authentication_id, "iothubowner@sas.root.hub");
    assert_eq!(plain.password, "SharedAccessSignature sr=x");
    assert!(!format!("{plain:?}").contains("SharedAccess"));
    assert_eq!(plain.to_response(), b"\0iothubowner@sas.root.hub\0SharedAccessSignature sr=x");
    assert_eq!(Plain::parse(b"user\0password"), Err(PlainError::WrongParts));
    assert_eq!(Plain::parse(b"\0user\0password\0"), Err(PlainError::WrongParts));
    assert_eq!(Plain::parse(b"\0\xff\0password"), Err(PlainError::NotUtf8));
}
