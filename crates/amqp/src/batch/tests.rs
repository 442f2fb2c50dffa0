//! Batches byte by byte.

use crate::codec::tests::wire;
use crate::codec::{DecodeError, Limits};
use crate::message::Body;

/// As the C SDK sends it: one message in a batch, with properties first.
#[test]
fn a_batch_of_one() {
    let payload = wire("005375 a00f 005373 c00401a1016d 005375 a00178");
    let mut messages = super::open(&payload, &Limits::default()).unwrap();
    assert_eq!(messages.len(), 1);
    let (encoded, message) = messages.next().unwrap().unwrap();
    assert_eq!(encoded.len(), 15);
    assert_eq!(message.body, Body::data("x"));
    assert!(messages.next().is_none());
}

#[test]
fn refusals() {
    let open = |words| super::open(&wire(words), &Limits::default()).map(drop);
    assert_eq!(open(""), Err(DecodeError::NotBatch));
    assert_eq!(open("005377 a000"), Err(DecodeError::NotBatch));
    // A message that cannot be read does not hide the others.
    let mut messages =
        super::open(&wire("005375 a00101 005375 a006 005375 a00178"), &Limits::default()).unwrap();
    assert!(messages.next().unwrap().is_err());
    assert!(messages.next().unwrap().is_ok());
}
