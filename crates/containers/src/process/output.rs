//! From a child's pipes to its log, and from the log to whoever reads it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use host::clock::Clock;
use host::disk::DiskFile;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use super::log::{End, Log, Record, decode};
use crate::{LogFrame, LogOptions, LogSource, LogStream, RuntimeError};

/// Copies one output into the log until its end. If the log cannot be written
/// (disk full), the output is still read, so that the module does not hang; the
/// loss is told once.
pub(super) async fn record(
    mut output: impl AsyncRead + Unpin,
    source: LogSource,
    log: Arc<Log>,
    clock: Clock,
) {
    let mut buffer = BytesMut::with_capacity(LINE_BYTES_MAX);
    let mut lost = false;
    loop {
        // An unreadable pipe is at its end.
        let read = output.read_buf(&mut buffer).await.unwrap_or(0);
        while let Some((text, is_full)) = next_piece(&mut buffer, read == 0) {
            let record = Record { time: clock.wall(), source, is_full, text: &text };
            match log.append(&record) {
                Ok(()) => lost = false,
                Err(error) if !lost => {
                    tracing::error!(%error, "cannot write a module's log: its output is lost until it can be written");
                    lost = true;
                }
                Err(_) => {}
            }
        }
        if read == 0 {
            return;
        }
    }
}

/// Takes a line out, or what there is of one that is too long or the last.
fn next_piece(buffer: &mut BytesMut, at_end: bool) -> Option<(Bytes, bool)> {
    let window = &buffer[..buffer.len().min(LINE_BYTES_MAX)];
    if let Some(at) = window.iter().position(|byte| *byte == b'\n') {
        let mut line = buffer.split_to(at + 1);
        line.truncate(at);
        return Some((line.freeze(), true));
    }
    if buffer.len() >= LINE_BYTES_MAX {
        return Some((buffer.split_to(LINE_BYTES_MAX).freeze(), false));
    }
    (at_end && !buffer.is_empty()).then(|| (buffer.split().freeze(), true))
}

/// What was asked of the log, as a stream.
pub(super) fn read(log: Arc<Log>, options: LogOptions) -> Result<LogStream, RuntimeError> {
    let skip = match options.tail {
        None => 0,
        Some(tail) => count(&log, &options)?.saturating_sub(tail),
    };
    let mut end = log.watch();
    // What is there at this moment, unless more is asked for.
    let stop = (!options.follow).then(|| *end.borrow_and_update());
    let reader =
        Reader { cursor: Cursor::new(log), options, end, stop, skip, continued: [false; 2] };
    let frames = stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|frame| (frame, reader)))
    });
    Ok(Box::pin(frames))
}

struct Reader {
    cursor: Cursor,
    options: LogOptions,
    end: watch::Receiver<End>,
    stop: Option<End>,
    skip: u64,
    /// Per output, whether the last record was a piece of a line.
    continued: [bool; 2],
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogFrame>, RuntimeError> {
        loop {
            let end = self.stop.unwrap_or_else(|| *self.end.borrow_and_update());
            let Some(line) = self.cursor.next_line(end)? else {
                let more = self.stop.is_none() && end.is_open && self.end.changed().await.is_ok();
                match more {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let Some(record) = decode(&line).filter(|record| is_wanted(record.time, &self.options))
            else {
                continue;
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let continued = &mut self.continued[usize::from(record.source == LogSource::Stderr)];
            let with_time = self.options.timestamps && !*continued;
            *continued = !record.is_full;
            return Ok(Some(frame(&record, with_time)));
        }
    }
}

fn frame(record: &Record<'_>, with_time: bool) -> LogFrame {
    let mut bytes = BytesMut::with_capacity(record.text.len() + 40);
    if with_time {
        bytes.put_slice(format!("{:.9} ", record.time).as_bytes());
    }
    bytes.put_slice(record.text);
    if record.is_full {
        bytes.put_u8(b'\n');
    }
    LogFrame { source: record.source, bytes: bytes.freeze() }
}

fn is_wanted(time: Timestamp, options: &LogOptions) -> bool {
    options.since.is_none_or(|since| time >= since)
        && options.until.is_none_or(|until| time < until)
}

/// How many records fit the options.
fn count(log: &Arc<Log>, options: &LogOptions) -> Result<u64, RuntimeError> {
    let mut cursor = Cursor::new(log.clone());
    let end = *log.watch().borrow();
    let mut count = 0;
    while let Some(line) = cursor.next_line(end)? {
        count += u64::from(decode(&line).is_some_and(|record| is_wanted(record.time, options)));
    }
    Ok(count)
}

/// A place in the log. Holds its segment open, so that it can be finished after
/// it was rotated away.
struct Cursor {
    log: Arc<Log>,
    segment: Option<(u64, Arc<DiskFile>)>,
    offset: u64,
    buffer: BytesMut,
}

impl Cursor {
    fn new(log: Arc<Log>) -> Self {
        Self { log, segment: None, offset: 0, buffer: BytesMut::new() }
    }

    /// The next complete line before `end`, without its line end.
    fn next_line(&mut self, end: End) -> Result<Option<Bytes>, RuntimeError> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(at + 1);
                line.truncate(at);
                return Ok(Some(line.freeze()));
            }
            if !self.read_more(end).map_err(read_failed)? {
                return Ok(None);
            }
        }
    }

    /// Reads on; `false` at the end.
    fn read_more(&mut self, end: End) -> std::io::Result<bool> {
        let (number, file) = match &self.segment {
            Some(segment) => segment.clone(),
            None => match self.log.segment(0)?.filter(|(number, _)| *number <= end.segment) {
                Some(first) => self.segment.insert(first).clone(),
                None => return Ok(false),
            },
        };
        let size = if number == end.segment { end.bytes } else { file.size()? };
        let length = size.saturating_sub(self.offset).min(READ_BYTES);
        if length > 0 {
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_at(&mut chunk, self.offset)?;
            self.buffer.extend_from_slice(&chunk);
            self.offset += length;
            return Ok(true);
        }
        if number >= end.segment {
            return Ok(false);
        }
        let next = self.log.segment(number + 1)?.filter(|(next, _)| *next <= end.segment);
        let Some(next) = next else {
            return Ok(false);
        };
        self.segment = Some(next);
        self.offset = 0;
        // A line never goes over a segment's end.
        self.buffer.clear();
        Ok(true)
    }
}

fn read_failed(source: std::io::Error) -> RuntimeError {
    RuntimeError::System { what: "cannot read the module's log".to_owned(), source }
}

/// Where docker's json-file driver cuts lines too.
const LINE_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: u64 = 64 * 1024;
