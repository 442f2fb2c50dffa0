//! Reading a queue: entries of the journal become messages, and damage is counted and told.

use host::clock::Clock;
use jiff::Timestamp;
use journal::{Entry, GapCause, ReadError, Reader};

use super::record::{self, Record};
use crate::counters::Counters;

/// A message as it was read.
pub(crate) struct Read {
    pub(crate) sequence: u64,
    pub(crate) record: Record,
    /// When it came.
    pub(crate) taken: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// The journal is closed.
pub(super) struct Closed;

/// The messages in what a reader gave. What cannot be read is left out; a disk that does not read
/// is waited for.
pub(super) async fn messages(
    reader: &mut Reader,
    read: Result<Vec<Entry>, ReadError>,
    counters: &Counters,
    clock: &Clock,
) -> Result<Vec<Read>, Closed> {
    let entries = match read {
        Ok(entries) => entries,
        Err(ReadError::Closed) => return Err(Closed),
        Err(error) => {
            let error = host::logs::chain(&error);
            tracing::error!(%error, "cannot read a queue; it is tried again");
            clock.sleep(READ_AGAIN).await;
            return Ok(Vec::new());
        }
    };
    for gap in reader.take_gaps().iter().filter(|gap| gap.cause == GapCause::Lost) {
        let lost = gap.to - gap.from;
        counters.lost.inc_by(lost);
        tracing::error!(lost, "stored messages are lost to damage on the disk");
    }
    let decode = |Entry { sequence, enqueued, body }: Entry| match record::decode(&body) {
        Ok(record) => {
            let expires = record::expiry(enqueued, record.time_to_live);
            Some(Read { sequence, record, taken: enqueued, expires })
        }
        Err(error) => {
            counters.lost.inc();
            tracing::error!(%error, sequence, "stored message cannot be read");
            None
        }
    };
    Ok(entries.into_iter().filter_map(decode).collect())
}

/// A disk that fails is not asked in a loop.
pub(super) const READ_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
