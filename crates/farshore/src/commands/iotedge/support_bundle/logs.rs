//! The newest part of a log, as much as there is room for.

use std::collections::VecDeque;

use bytes::Bytes;
use client::edge::{EdgeError, ManagementClient};
use iot_proto::management::LogsQuery;

/// The end of a log.
pub(super) struct Kept {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    room: usize,
    /// How much of its beginning is gone.
    cut_bytes: usize,
    /// Whether what is gone ends with a line's end.
    ends_line: bool,
}

impl Kept {
    pub(super) fn new(room: usize) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, room, cut_bytes: 0, ends_line: true }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        // A slice would hold on to a larger buffer.
        self.pieces.push_back(Bytes::copy_from_slice(&piece));
        while self.bytes > self.room {
            let Some(oldest) = self.pieces.pop_front() else { break };
            self.bytes -= oldest.len();
            self.cut_bytes += oldest.len();
            self.ends_line = oldest.last() == Some(&b'\n');
        }
    }

    /// The text, and how many bytes of the log's beginning are not in it. What is left of a line that
    /// lost its beginning goes, too: it may be the rest of a secret that nobody recognises any more.
    pub(super) fn into_text(self) -> (String, usize) {
        let mut bytes = Vec::with_capacity(self.bytes);
        for piece in self.pieces {
            bytes.extend_from_slice(&piece);
        }
        let rest = match self.ends_line {
            true => 0,
            false => bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1),
        };
        let text = String::from_utf8_lossy(&bytes[rest..]).into_owned();
        (text, self.cut_bytes + rest)
    }
}

/// Reads a module's log to its end; what came before an error is kept.
pub(super) async fn fill(
    kept: &mut Kept,
    management: &ManagementClient,
    module: &str,
    query: &LogsQuery,
) -> Result<(), EdgeError> {
    let mut log = management.logs(module, query).await?;
    while let Some(chunk) = log.next().await? {
        kept.push(chunk.bytes);
    }
    Ok(())
}
