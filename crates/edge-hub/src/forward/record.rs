//! How a message lies in a queue: a compact binary form.
//!
//! ```text
//! version(1) time-to-live device module generation count { property(1) text } count { text text } body (the rest)
//! text       length, UTF-8; lengths, counts and the time to live (seconds, 0: for ever) are LEB128
//! ```
//!
//! The time of arrival is the journal's. Decoding never panics on damaged input, and never
//! allocates more than the input is long. A new form is a new version; old ones stay readable.

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use model::IdentityId;
use model::message::{Message, SystemProperty};

/// A message with its sender.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) sender: IdentityId,
    /// None: it waits for ever.
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) message: Message,
}

/// Why stored bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    #[error("record format {0} is newer than this program")]
    Version(u8),
    #[error("record is cut off or damaged")]
    Damaged,
}

/// When a message that arrived then is past its time.
pub(crate) fn expiry(enqueued: Timestamp, time_to_live: Option<Duration>) -> Option<Timestamp> {
    let time_to_live = SignedDuration::try_from(time_to_live?).ok()?;
    enqueued.checked_add(time_to_live).ok()
}

/// Encodes a message.
pub(crate) fn encode(
    sender: &IdentityId,
    time_to_live: Option<Duration>,
    message: &Message,
) -> Bytes {
    let module = sender.module.as_ref().map_or("", |module| module.as_str());
    let mut out =
        Vec::with_capacity(HEAD_BYTES + message.size_bytes() + 2 * message.properties.len());
    out.push(VERSION);
    // A life shorter than a second is one.
    let seconds = time_to_live.map_or(0, |time| time.as_secs().max(1));
    put_number(&mut out, seconds);
    put_text(&mut out, sender.device.as_str());
    put_text(&mut out, module);
    put_number(&mut out, message.system.len() as u64);
    for (property, value) in &message.system {
        out.push(*property as u8);
        put_text(&mut out, value);
    }
    put_number(&mut out, message.properties.len() as u64);
    for (name, value) in &message.properties {
        put_text(&mut out, name);
        put_text(&mut out, value);
    }
    out.extend_from_slice(&message.body);
    Bytes::from(out)
}

/// Decodes a message; its body shares the input's memory.
pub(crate) fn decode(input: &Bytes) -> Result<Record, RecordError> {
    let mut rest: &[u8] = input;
    match take_byte(&mut rest)? {
        VERSION => {}
        version => return Err(RecordError::Version(version)),
    }
    let seconds = take_number(&mut rest)?;
    let device = take_text(&mut rest)?.parse().map_err(|_| RecordError::Damaged)?;
    let module = match take_text(&mut rest)? {
        "" => None,
        text => Some(text.parse().map_err(|_| RecordError::Damaged)?),
    };
    let mut message = Message::default();
    for _ in 0..take_number(&mut rest)? {
        let property = SystemProperty::from_number(take_byte(&mut rest)?);
        let property = property.ok_or(RecordError::Damaged)?;
        message.system.push((property, take_text(&mut rest)?.to_owned()));
    }
    for _ in 0..take_number(&mut rest)? {
        let name = take_text(&mut rest)?.to_owned();
        message.properties.push((name, take_text(&mut rest)?.to_owned()));
    }
    message.body = input.slice_ref(rest);
    let time_to_live = (seconds > 0).then(|| Duration::from_secs(seconds));
    Ok(Record { sender: IdentityId { device, module }, time_to_live, message })
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, RecordError> {
    let (first, after) = rest.split_first().ok_or(RecordError::Damaged)?;
    *rest = after;
    Ok(*first)
}

fn take_number(rest: &mut &[u8]) -> Result<u64, RecordError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(RecordError::Damaged)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    let length = usize::try_from(take_number(rest)?).map_err(|_| RecordError::Damaged)?;
    let (text, after) = rest.split_at_checked(length).ok_or(RecordError::Damaged)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| RecordError::Damaged)
}

const VERSION: u8 = 1;
/// Room for the head and two ids of usual length.
const HEAD_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let mut message = Message::from_body("{\"a\":1}")
            .with_system(SystemProperty::OutputName, "out")
            .with_system(SystemProperty::ContentType, "application/json");
        message.set_property("alert", "true");
        message.set_property("empty", "");
        let time_to_live = Some(Duration::from_secs(7200));
        Record { sender: "edge1/sensor".parse().unwrap(), time_to_live, message }
    }

    #[test]
    fn a_record_reads_back() {
        let full = sample();
        let bare = Record {
            sender: "leaf".parse().unwrap(),
            time_to_live: None,
            message: Message::from_body(Bytes::new()),
        };
        for record in [full, bare] {
            let bytes = encode(&record.sender, record.time_to_live, &record.message);
            assert_eq!(decode(&bytes).unwrap(), record);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic() {
        let record = sample();
        let bytes = encode(&record.sender, record.time_to_live, &record.message);
        for length in 0..bytes.len() {
            // A cut in the body cannot be seen here; the journal's checksum does.
            if let Ok(cut) = decode(&bytes.slice(..length)) {
                assert!(cut.message.body.len() < record.message.body.len());
            }
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 0xff;
            let _ = decode(&Bytes::from(damaged));
        }
        assert_eq!(decode(&Bytes::from_static(&[9])), Err(RecordError::Version(9)));
        let endless = Bytes::from_static(&[
            1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ]);
        assert_eq!(decode(&endless), Err(RecordError::Damaged));
    }

    /// The bytes that version 1 wrote must be readable for ever.
    #[test]
    fn version_1_is_readable_for_ever() {
        let bytes = Bytes::from_static(
            b"\x01\xa0\x38\x05edge1\x06sensor\x02\x08\x03out\x06\x10application/json\x02\x05alert\x04true\x05empty\x00{\"a\":1}",
        );
        assert_eq!(decode(&bytes).unwrap(), sample());
        assert_eq!(expiry(Timestamp::UNIX_EPOCH, None), None);
        let end = expiry(Timestamp::UNIX_EPOCH, Some(Duration::from_secs(7200))).unwrap();
        assert_eq!(end.as_second(), 7200);
    }
}
