//! Reading never allocates more than a small multiple of what is read, whatever the
//! bytes claim.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use amqp::{Limits, Message, Performative, Value, batch};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

thread_local! {
    /// Bytes that this thread ever asked for.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a counter.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
// SAFETY: every call goes to the system's allocator unchanged; the counter is a
// thread-local without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|allocated| allocated.set(allocated.get() + layout.size()));
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that `work` asks for, freed or not.
fn allocated<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATED.get();
    let result = work();
    let after = ALLOCATED.get();
    drop(result);
    after - before
}

/// Reads the bytes as everything, and says what the most expensive reading cost.
fn cost(bytes: &Bytes) -> usize {
    let limits = Limits::default();
    let costs = [
        allocated(|| Value::decode(bytes, &limits)),
        allocated(|| Message::decode(bytes, &limits)),
        allocated(|| Performative::decode(bytes, &limits)),
        allocated(|| batch::open(bytes, &limits).map(|messages| messages.count())),
    ];
    costs.into_iter().max().unwrap()
}

fn check(bytes: impl Into<Bytes>) {
    let bytes = bytes.into();
    let cost = cost(&bytes);
    let allowed = bytes.len() * FACTOR + CONSTANT;
    assert!(cost <= allowed, "{} bytes cost {cost}: {:02x?}", bytes.len(), bytes.get(..64));
}

#[test]
fn claims_are_not_believed() {
    // Lists, maps, arrays and texts that announce four gigabytes, alone and in a list.
    for format in [0xb0, 0xb1, 0xb3, 0xd0, 0xd1, 0xf0] {
        let claim = [format, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x40];
        check(claim.to_vec());
        // The size fits, the count does not.
        check(vec![format, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0x40, 0x40, 0x40, 0x40, 0x40]);
    }
    // Arrays of values without bytes can claim any count.
    for empty in [0x40, 0x41, 0x42, 0x43, 0x44, 0x45] {
        check(vec![0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, empty]);
        check(vec![0xf0, 0, 0, 0, 5, 0, 0, 1, 0, empty]);
    }
    // Each of many nested lists claims what all of the rest could hold.
    let mut nested = vec![0x40; 2000];
    for _ in 0..15 {
        let count = nested.len() as u32;
        let mut outer = vec![0xd0];
        outer.extend_from_slice(&(count + 4).to_be_bytes());
        outer.extend_from_slice(&count.to_be_bytes());
        outer.append(&mut nested);
        nested = outer;
    }
    check(nested);
}

#[test]
fn the_most_for_the_least() {
    // Values of one byte, descriptions of two, arrays of none, empty symbols.
    let dense: [&[u8]; 5] =
        [&[0x40], &[0x00, 0x40, 0x40], &[0xe0, 2, 0, 0x40], &[0xa3, 0], &[0xc0, 1, 0]];
    for pattern in dense {
        let content = pattern.repeat(4000);
        let mut list = vec![0xd0];
        list.extend_from_slice(&(content.len() as u32 + 4).to_be_bytes());
        list.extend_from_slice(&4000_u32.to_be_bytes());
        list.extend_from_slice(&content);
        let list_bytes = Bytes::from(list.clone());
        assert!(Value::decode(&list_bytes, &Limits::default()).is_ok(), "{pattern:02x?}");
        check(list_bytes);
        let sequence = [&[0x00, 0x53, 0x76], list.as_slice()].concat();
        check(sequence);
    }
    // Data sections of five bytes.
    check([0x00, 0x53, 0x75, 0xa0, 0x00].repeat(5000));
    // A descriptor is stored once for an array of many.
    let mut array = vec![0xf0, 0, 0, 0x30, 0, 0, 0, 0x0f, 0, 0x00, 0xa3, 0xff];
    array.resize(array.len() + 255, b'a');
    array.push(0x50);
    array.resize(5 + 0x3000, 7);
    array[5..9].copy_from_slice(&(0x3000_u32 - 4 - 3 - 255 - 1).to_be_bytes());
    let array = Bytes::from(array);
    assert!(Value::decode(&array, &Limits::default()).is_ok());
    check(array);
}

proptest! {
    #[test]
    fn any_message(message in crate::arbitrary::message()) {
        check(message.to_bytes());
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        check(bytes);
    }
}

/// Telemetry as it is read all day: one data section, a few properties.
#[test]
fn telemetry_is_cheap() {
    let payload = Message {
        body: amqp::Body::data(vec![b'x'; 4096]),
        message_annotations: [(amqp::Symbol::from_static("iothub-interface-id"), "x")]
            .into_iter()
            .collect(),
        ..Message::default()
    };
    let payload = payload.to_bytes();
    let cost = allocated(|| Message::decode(&payload, &Limits::default()));
    assert!(cost < 256, "{cost} bytes for reading a message of {}", payload.len());
}

/// A value takes 40 bytes, described ones twice that, and a list of symbols is read
/// as values first.
const FACTOR: usize = 64;

/// What arrays of values without bytes may take, and the text of an error.
const CONSTANT: usize = 256 * 40 + 512;
