//! Dead letters: messages that no further attempt would deliver, kept with the reason for whoever
//! looks into it.
//!
//! They lie in a stream of their own, the newest [`BYTES_MAX`] of them. A letter that was sent
//! again or dropped is noted in the database, because a journal forgets from the front only.
//!
//! ```text
//! letter     0xd1 reason queue record (`record.rs`)
//! reason, queue   length (2, big endian), UTF-8
//! ```
//!
//! A letter of an earlier version is a record alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use journal::{From, Retention, StreamId};
use tokio::sync::Mutex;

use super::record::{self, Record};
use super::{DEAD, ParkError, append, make_stream};
use crate::core::Core;
use crate::routing::Queue;
use crate::state::StateError;

/// The dead letters.
#[derive(Default)]
pub(crate) struct DeadLetters {
    /// One change at a time; what is in it are the letters that are gone, once they were read.
    gone: Mutex<Option<BTreeSet<u64>>>,
}

/// A message that can never be delivered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) number: u64,
    /// When it came here.
    pub(crate) buried: Timestamp,
    pub(crate) reason: String,
    /// The queue that it was in; empty in letters of an earlier version.
    pub(crate) queue: String,
    pub(crate) record: Record,
}

/// Why something cannot be done with letters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LetterError {
    #[error("there is no dead letter {0}; list them with: iotedge dead-letter list")]
    Unknown(u64),
    #[error(
        "no route leads to {0:?} any more, where this message was to go; drop it, or set a route"
    )]
    NoQueue(String),
    #[error("the store refuses")]
    Store(#[from] ParkError),
    #[error("the database refuses")]
    State(#[from] StateError),
}

impl DeadLetters {
    /// Keeps a message, durably.
    pub(super) async fn bury(
        &self,
        core: &Core,
        queue: &str,
        reason: &str,
        record: &[u8],
    ) -> Result<(), ParkError> {
        let stream = stream(core).await?;
        append(core, stream, vec![encode(queue, reason, record)]).await?;
        core.counters.dead.inc();
        Ok(())
    }

    /// How many there are, about.
    pub(crate) async fn count(&self, core: &Core) -> u64 {
        let Some(stream) = known_stream(core) else { return 0 };
        let gone = self.gone.lock().await;
        let Ok(info) = core.journal.stream_info(stream) else { return 0 };
        let all = info.next.saturating_sub(info.oldest);
        let gone = gone.as_ref().map_or(0, |gone| gone.range(info.oldest..).count() as u64);
        all.saturating_sub(gone)
    }

    /// The letters from `from` on, oldest first; as many as may be shown at once.
    pub(crate) async fn list(&self, core: &Core, from: u64) -> Result<Vec<Letter>, LetterError> {
        self.read(core, from, LISTED_MAX).await
    }

    async fn read(&self, core: &Core, from: u64, max: usize) -> Result<Vec<Letter>, LetterError> {
        let mut gone = self.gone.lock().await;
        read(known(&mut gone, core).await?, core, from, max)
    }

    /// One of them.
    pub(crate) async fn show(&self, core: &Core, number: u64) -> Result<Letter, LetterError> {
        let mut gone = self.gone.lock().await;
        one(known(&mut gone, core).await?, core, number)
    }

    /// Puts one at the end of its queue again; its life begins anew. Whoever asks for the same one
    /// meanwhile hears that it is not there any more.
    pub(crate) async fn retry(&self, core: &Arc<Core>, number: u64) -> Result<(), LetterError> {
        let mut gone = self.gone.lock().await;
        let letter = one(known(&mut gone, core).await?, core, number)?;
        let Ok(queue) = letter.queue.parse::<Queue>() else {
            return Err(LetterError::NoQueue(letter.queue));
        };
        let Some(stream) = core.routes.active().streams.get(&queue).copied() else {
            return Err(LetterError::NoQueue(letter.queue));
        };
        let Record { sender, time_to_live, message } = &letter.record;
        append(core, stream, vec![record::encode(sender, *time_to_live, message)]).await?;
        forget(&mut gone, core, number).await
    }

    /// Forgets one.
    pub(crate) async fn drop_one(&self, core: &Core, number: u64) -> Result<(), LetterError> {
        let mut gone = self.gone.lock().await;
        one(known(&mut gone, core).await?, core, number)?;
        forget(&mut gone, core, number).await
    }
}

/// The letters from `from` on that are not gone.
fn read(
    gone: &BTreeSet<u64>,
    core: &Core,
    from: u64,
    max: usize,
) -> Result<Vec<Letter>, LetterError> {
    let Some(stream) = known_stream(core) else { return Ok(Vec::new()) };
    let Ok(mut reader) = core.journal.reader(stream, From::Sequence(from)) else {
        return Ok(Vec::new());
    };
    let mut letters = Vec::new();
    let mut bytes = 0;
    while letters.len() < max
        && bytes < READ_BYTES_MAX
        && let Ok(entries) = reader.try_next_batch(max.min(READ_MAX), READ_BYTES_MAX)
        && !entries.is_empty()
    {
        // What is gone does not count: an empty answer says that there are no more.
        for entry in entries.into_iter().filter(|entry| !gone.contains(&entry.sequence)) {
            bytes += entry.body.len();
            match decode(&entry.body) {
                Some((queue, reason, record)) => letters.push(Letter {
                    number: entry.sequence,
                    buried: core.store_time.on_the_wall(entry.enqueued),
                    reason,
                    queue,
                    record,
                }),
                None => {
                    tracing::error!(number = entry.sequence, "dead letter cannot be read");
                }
            }
        }
    }
    letters.truncate(max);
    Ok(letters)
}

fn one(gone: &BTreeSet<u64>, core: &Core, number: u64) -> Result<Letter, LetterError> {
    let first = read(gone, core, number, 1)?.into_iter().next();
    first.filter(|letter| letter.number == number).ok_or(LetterError::Unknown(number))
}

/// Notes that a letter is gone.
async fn forget(
    known_gone: &mut Option<BTreeSet<u64>>,
    core: &Core,
    number: u64,
) -> Result<(), LetterError> {
    let mut gone = known(known_gone, core).await?.clone();
    gone.insert(number);
    let Some(stream) = known_stream(core) else { return Ok(()) };
    // What lies before the first that is still there is trimmed away.
    let mut oldest = core.journal.stream_info(stream).map_or(0, |info| info.oldest);
    gone.retain(|number| *number >= oldest);
    while gone.remove(&oldest) {
        oldest += 1;
    }
    // Fails only for streams of another journal.
    let _ = core.journal.trim(stream, oldest);
    // A trim may be undone by a crash: then they are there again, which does no harm.
    let text = serde_json::to_string(&gone).unwrap_or_default();
    core.state.set_meta(GONE, text).await?;
    *known_gone = Some(gone);
    Ok(())
}

/// The letters that are gone, as far as they are not trimmed away.
async fn known<'g>(
    gone: &'g mut Option<BTreeSet<u64>>,
    core: &Core,
) -> Result<&'g BTreeSet<u64>, StateError> {
    if gone.is_none() {
        let text = core.state.meta(GONE).await?;
        *gone = text.and_then(|text| serde_json::from_str(&text).ok());
    }
    Ok(gone.get_or_insert_default())
}

async fn stream(core: &Core) -> Result<StreamId, ParkError> {
    make_stream(core, DEAD.to_owned(), Retention { bytes: Some(BYTES_MAX), age: None }).await
}

fn known_stream(core: &Core) -> Option<StreamId> {
    let names = core.journal.stream_names();
    names.into_iter().find(|(_, name)| name == DEAD).map(|(stream, _)| stream)
}

fn encode(queue: &str, reason: &str, record: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(record.len() + queue.len() + reason.len() + 5);
    out.put_u8(LETTER);
    for text in [reason, queue] {
        let text: String = text.chars().take(TEXT_MAX).collect();
        // At most four bytes each: it fits.
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        out.put_slice(text.as_bytes());
    }
    out.put_slice(record);
    out.freeze()
}

fn decode(input: &Bytes) -> Option<(String, String, Record)> {
    let mut rest = input.clone();
    let (mut reason, mut queue) = (String::new(), String::new());
    if rest.first() == Some(&LETTER) {
        let _ = rest.split_to(1);
        for text in [&mut reason, &mut queue] {
            let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
            let bytes = rest.get(2..2 + length)?;
            *text = std::str::from_utf8(bytes).ok()?.to_owned();
            rest = rest.slice(2 + length..);
        }
    }
    Some((queue, reason, record::decode(&rest).ok()?))
}

/// No record's version.
const LETTER: u8 = 0xd1;
const TEXT_MAX: usize = 1000;
/// What is kept of them.
const BYTES_MAX: u64 = 16 << 20;
/// Letters that are shown at once.
const LISTED_MAX: usize = 100;
const READ_MAX: usize = 32;
const READ_BYTES_MAX: usize = 1 << 20;
/// The name under which those that are gone are stored.
const GONE: &str = "dead-letters-gone";

#[cfg(test)]
mod tests {
    use model::message::Message;

    use super::*;

    #[test]
    fn a_letter_reads_back_and_damage_does_not_panic() {
        let sender = "edge1/a".parse().unwrap();
        let plain = record::encode(&sender, None, &Message::from_body("x"));
        let letter = encode("last/upstream", "too long", &plain);
        let (queue, reason, read) = decode(&letter).unwrap();
        assert_eq!((queue.as_str(), reason.as_str()), ("last/upstream", "too long"));
        assert_eq!(read, record::decode(&plain).unwrap());
        // As earlier versions wrote it.
        assert_eq!(decode(&plain).unwrap(), (String::new(), String::new(), read));
        for length in 0..letter.len() {
            let _ = decode(&letter.slice(..length));
        }
    }
}
