//! Messages as clients send them, and refusals.

use bytes::Bytes;

use super::{Body, Message, MessageId};
use crate::codec::tests::wire;
use crate::codec::{DecodeError, Limits};
use crate::types::{Map, Symbol, Value};

fn decode(words: &str) -> Result<Message, DecodeError> {
    Message::decode(&wire(words), &Limits::default())
}

/// dp §4.4: properties, application-properties, message-annotations, data.
#[test]
fn sections_in_the_order_of_the_c_sdk() {
    let message = decode(
        "005373 c00401 a1016d
         005374 c10702 a10161 a10162
         005372 c10702 a30163 a10164
         005375 a002 '{}'",
    )
    .unwrap();
    assert_eq!(message.properties.message_id, Some(MessageId::String("m".to_owned())));
    assert_eq!(message.application_properties, Map::from_iter([("a", "b")]));
    assert_eq!(message.message_annotations.get("c"), Some(&Value::from("d")));
    assert_eq!(message.body, Body::data("{}"));
}

#[test]
fn bodies() {
    assert_eq!(decode("").unwrap().body, Body::Empty);
    let two = decode("005375 a00161 005375 b00000000162").unwrap();
    assert_eq!(two.body.to_bytes().unwrap(), "ab");
    assert_eq!(decode("005377 a10161").unwrap().body.to_bytes().unwrap(), "a");
    assert_eq!(decode("005377 a00161").unwrap().body.to_bytes().unwrap(), "a");
    assert_eq!(decode("005377 40").unwrap().body.to_bytes().unwrap(), Bytes::new());
    assert_eq!(decode("005377 5201").unwrap().body.to_bytes(), None);
    let sequences = decode("005376 c00201 40 005376 45").unwrap();
    assert_eq!(sequences.body, Body::Sequence(vec![vec![Value::Null], vec![]]));
    assert_eq!(sequences.body.to_bytes(), None);
    for mixed in ["005375 a000 005377 40", "005377 40 005377 40", "005376 45 005375 a000"] {
        assert_eq!(decode(mixed), Err(DecodeError::MixedBody));
    }
}

#[test]
fn refusals() {
    let twice = |section| DecodeError::RepeatedSection { section };
    assert_eq!(decode("005370 45 005370 45"), Err(twice("header")));
    assert_eq!(decode("005373 45 005375 a000 005373 45"), Err(twice("properties")));
    assert_eq!(decode("005374 c10100 005374 c10100"), Err(twice("application-properties")));
    assert!(matches!(decode("005379 45"), Err(DecodeError::UnknownDescriptor { .. })));
    assert!(matches!(decode("005375 a10161"), Err(DecodeError::WrongType { .. })));
    assert!(matches!(decode("005373 c00301 5201"), Err(DecodeError::Field { .. })), "uint id");
    assert_eq!(decode("005375"), Err(DecodeError::Truncated));
    assert!(matches!(decode("a10161"), Err(DecodeError::WrongType { .. })));
}

/// The answer's correlation id is the request's message id in the same type, and ids
/// of different types are compared by their text.
#[test]
fn message_ids() {
    let uuid = "00112233445566778899aabbccddeeff";
    let cases = [
        ("5307".to_owned(), "7"),
        (format!("98{uuid}"), "00112233-4455-6677-8899-aabbccddeeff"),
        ("a10161".to_owned(), "a"),
        ("a00161".to_owned(), "a"),
    ];
    for (id, text) in cases {
        let size = id.len() / 2 + 1;
        let message = decode(&format!("005373 c0{size:02x}01 {id}")).unwrap();
        assert_eq!(message.properties.message_id.clone().unwrap().to_string(), text);
        assert!(message.to_bytes().windows(id.len() / 2).any(|window| window == wire(&id)));
    }
}

/// Node and Java send content types as symbols, others as strings.
#[test]
fn content_types() {
    for format in ["a3", "a1"] {
        let words = format!("005373 c00a07 404040404040 {format}01 'j'");
        let message = decode(&words).unwrap();
        assert_eq!(message.properties.content_type, Some(Symbol::from_static("j")));
    }
}
