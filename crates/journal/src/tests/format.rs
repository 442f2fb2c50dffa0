//! The bytes themselves: what version 1 looks like must not change.

use crate::format::{
    DATA_START, Frame, HeaderState, KIND_GROUP, KIND_RECORD, SegmentHeader, StreamEntry, VERSION,
    checksum,
};

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let words: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_record_frame() {
    let frame = Frame {
        kind: KIND_RECORD,
        flags: 0,
        length: 5,
        group: 3,
        stream: 2,
        sequence: 0x0102_0304_0506_0708,
        time: 1_780_000_000_000_000,
    };
    let mut bytes = Vec::new();
    frame.encode(0xaabb_ccdd, 0x2000, b"hello", &mut bytes);
    let expected = "\
43 cc ea 73 dd cc bb aa 02 00 00 00 05 00 00 00
03 00 00 00 02 00 00 00 08 07 06 05 04 03 02 01
00 40 b3 8b e6 52 06 00 68 65 6c 6c 6f 00 00 00";
    assert_eq!(hex(&bytes), expected);
    assert_eq!(Frame::peek(&bytes, 0xaabb_ccdd), Some(frame));
    assert!(frame.verify(&bytes, 0x2000));
    assert!(!frame.verify(&bytes, 0x2008), "at a wrong place");
    assert_eq!(Frame::peek(&bytes, 0xaabb_ccde), None, "another life of the segment");
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    let frame = Frame {
        kind: KIND_RECORD,
        flags: 0,
        length: 300,
        group: 3,
        stream: 2,
        sequence: 9,
        time: 1,
    };
    let mut bytes = Vec::new();
    frame.encode(7, 0, &[0x5a; 300], &mut bytes);
    let covered = frame.covered();
    for bit in 0..covered * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = Frame::peek(&flipped, 7);
        assert!(!found.is_some_and(|frame| frame.verify(&flipped, 0)), "bit {bit}");
    }
}

#[test]
fn a_group_frame_is_verified_without_its_frames() {
    let frame = Frame {
        kind: KIND_GROUP,
        flags: 0,
        length: 4096,
        group: 1,
        stream: 2,
        sequence: 1,
        time: 1,
    };
    let mut place = [0; 40];
    frame.encode_over(7, 0, &mut place);
    assert!(frame.verify(&place, 0));
    assert_eq!(frame.span(), 40);
}

#[test]
fn a_segment_header() {
    let header = SegmentHeader {
        ordinal: 5,
        tag: 0x0102_0304,
        capacity: 1 << 26,
        previous_ordinal: 4,
        previous_end: DATA_START,
    };
    let sector = header.encode();
    let expected = "\
46 41 52 53 48 4a 52 4e 01 00 00 00 b6 bf 9b e1
05 00 00 00 00 00 00 00 04 03 02 01 00 00 00 00
00 00 00 04 00 00 00 00 04 00 00 00 00 00 00 00
00 20 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    assert_eq!(hex(&sector[..64]), expected);
    assert!(sector[64..].iter().all(|byte| *byte == 0));
    assert_eq!(SegmentHeader::decode(&sector), HeaderState::Valid(header));
    assert_eq!(SegmentHeader::decode(&[0; 512]), HeaderState::Blank);
}

#[test]
fn only_a_header_with_a_right_crc_is_believed_to_be_newer() {
    let header = SegmentHeader {
        ordinal: 5,
        tag: 1,
        capacity: 1 << 26,
        previous_ordinal: 4,
        previous_end: DATA_START,
    };
    let mut sector = header.encode();
    sector[8] = 2;
    assert_eq!(SegmentHeader::decode(&sector), HeaderState::Damaged, "a flipped bit");
    sector[12..16].fill(0);
    let crc = checksum(&sector);
    sector[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&sector), HeaderState::Newer(VERSION + 1));
}

#[test]
fn a_stream_entry() {
    let entry = StreamEntry {
        id: 3,
        oldest: 10,
        next: 20,
        lost: 1,
        retain_bytes: 1 << 30,
        retain_milliseconds: 60_000,
        name: "telemetry/0".to_owned(),
    };
    let mut bytes = Vec::new();
    entry.encode(9, 1, 512, &mut bytes);
    let frame = Frame::peek(&bytes, 9).expect("a frame");
    assert!(frame.verify(&bytes, 512));
    assert_eq!(StreamEntry::decode(&frame, &bytes[40..frame.covered()]), Some(entry));
    assert_eq!(StreamEntry::decode(&frame, &bytes[40..60]), None);
}
