//! Performatives as clients shorten and spell them, and refusals.

use bytes::{Bytes, BytesMut};

use super::{
    Attach, Begin, Close, DeliveryState, Detach, End, Open, Performative, Role, SenderSettleMode,
    Transfer,
};
use crate::codec::tests::wire;
use crate::codec::{DecodeError, Limits};
use crate::types::Symbol;

fn decode(words: &str) -> Result<Performative, DecodeError> {
    Performative::decode(&wire(words), &Limits::default()).map(|(performative, _)| performative)
}

fn encode(performative: &Performative) -> Bytes {
    let mut output = BytesMut::new();
    performative.encode(&mut output);
    output.freeze()
}

/// Trailing fields may be left out, any optional field may be null, and the list may
/// have any of its three forms.
#[test]
fn short_lists() {
    let open = Performative::Open(Open { container_id: "c".to_owned(), ..Open::default() });
    for words in [
        "005310 c00401 a10163",
        "005310 c00603 a10163 4040",
        "005310 d000000007 00000001 a10163",
        "005310 c00d0a a10163 404040404040404040",
    ] {
        assert_eq!(decode(words).as_ref(), Ok(&open), "{words}");
    }
    assert_eq!(decode("005318 45"), Ok(Performative::Close(Close::default())));
    assert_eq!(decode("005317 c00100"), Ok(Performative::End(End::default())));
    let begin =
        Begin { next_outgoing_id: 1, incoming_window: 2, outgoing_window: 3, ..Begin::default() };
    assert_eq!(decode("005311 c00804 40 5201 5202 5203"), Ok(Performative::Begin(begin)));
}

/// The numeric descriptor in both widths, and the symbolic one.
#[test]
fn descriptors() {
    let detach = Performative::Detach(Detach { handle: 1, ..Detach::default() });
    for descriptor in
        ["5316", "80 0000000000000016", "a310 'amqp:detach:list'", "b300000010 'amqp:detach:list'"]
    {
        assert_eq!(decode(&format!("00 {descriptor} c00301 5201")).as_ref(), Ok(&detach));
    }
    let unknown = |descriptor: &str| DecodeError::UnknownDescriptor {
        expected: "performative",
        descriptor: descriptor.to_owned(),
    };
    assert_eq!(decode("00 5319 45"), Err(unknown("0x19")));
    assert_eq!(decode("00 5324 45"), Err(unknown("0x24")), "accepted is no performative");
    assert_eq!(decode("00 80 0000000100000016 45"), Err(unknown("0x100000016")));
    assert_eq!(decode("00 a303 'foo' 45"), Err(unknown("foo")));
}

/// sa §9.7: all fields, with the defaults spelled out, and never list0.
#[test]
fn full_lists() {
    let open = Open { container_id: "c".to_owned(), ..Open::default() };
    assert_eq!(
        encode(&Performative::Open(open)),
        wire("005310 c0130a a10163 40 70ffffffff 60ffff 40 40 40 40 40 40")
    );
    assert_eq!(
        encode(&Performative::Transfer(Transfer::default())),
        wire("005314 c00c0b 43 40 40 40 40 42 40 40 42 42 42")
    );
    assert_eq!(
        encode(&Performative::Attach(Box::new(Attach::new("l", 0, Role::Sender)))),
        wire("005312 c0130e a1016c 43 42 5002 5000 40 40 40 42 40 40 40 40 40")
    );
    assert_eq!(encode(&Performative::End(End::default())), wire("005317 c00201 40"));
    let accepted = Transfer { state: Some(DeliveryState::Accepted), ..Transfer::default() };
    assert_eq!(
        encode(&Performative::Transfer(accepted)),
        wire("005314 c0110b 43 40 40 40 40 42 40 005324c00100 42 42 42")
    );
}

#[test]
fn lone_symbols_stand_for_arrays() {
    let lone = decode("005310 c01109 a10163 40 40 40 40 40 40 40 a30478797a30").unwrap();
    let Performative::Open(open) = lone else { panic!("an open") };
    assert_eq!(open.desired_capabilities, [Symbol::from_static("xyz0")]);
}

#[test]
fn coordinators_are_recognised() {
    // A target of descriptor 0x30 with a list of capabilities.
    let words = "005312 c01007 a1016c 43 42 40 40 40 005330c0020140";
    let Performative::Attach(attach) = decode(words).unwrap() else { panic!("an attach") };
    assert!(attach.coordinator && attach.target.is_none());
    assert_eq!(attach.snd_settle_mode, SenderSettleMode::Mixed);
}

#[test]
fn payloads() {
    let (performative, payload) =
        Performative::decode(&wire("005314 c00201 43 'rest'"), &Limits::default()).unwrap();
    assert_eq!(performative, Performative::Transfer(Transfer::default()));
    assert_eq!(payload, "rest");
    assert_eq!(decode("005318 45 00"), Err(DecodeError::LeftOver { left_bytes: 1 }));
}

#[test]
fn refusals() {
    let in_field = |field, source| DecodeError::Field { field, source: Box::new(source) };
    let cases = [
        ("005310 45", DecodeError::MissingField { field: "container-id" }),
        ("005316 c00201 40", DecodeError::MissingField { field: "handle" }),
        (
            "005318 c00302 4040",
            DecodeError::TooManyFields { composite: "close", count: 2, expected: 1 },
        ),
        (
            "005316 c00401 a10161",
            in_field("handle", DecodeError::WrongType { expected: "uint", found: 0xa1 }),
        ),
        ("005318 a10161", DecodeError::WrongType { expected: "close", found: 0xa1 }),
        ("5318", DecodeError::WrongType { expected: "performative", found: 0x53 }),
        (
            "005312 c00804 a1016c 43 42 5003",
            in_field(
                "snd-settle-mode",
                DecodeError::WrongValue { field: "snd-settle-mode", value: 3 },
            ),
        ),
        ("", DecodeError::Truncated),
        ("005310 c00401 a10263", in_field("container-id", DecodeError::Truncated)),
    ];
    for (words, error) in cases {
        assert_eq!(decode(words), Err(error), "{words}");
    }
}
