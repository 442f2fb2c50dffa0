//! The newest part of a log, as much as there is room for.

use std::collections::VecDeque;

use client::edge::{EdgeError, ManagementClient};
use host::process::Program;
use iot_proto::management::LogsQuery;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::commands::{FAILED, Failure};

/// The end of a log.
pub(super) struct Kept {
    pieces: VecDeque<Box<[u8]>>,
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

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        // A slice would hold on to a larger buffer.
        self.pieces.push_back(piece.into());
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
        kept.push(&chunk.bytes);
    }
    Ok(())
}

/// Reads what a program writes, to its end; what came before an error is kept.
pub(super) async fn fill_from(kept: &mut Kept, program: Program) -> Result<(), Failure> {
    let mut child = program.spawn().await?;
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
    let mut said = Kept::new(ERROR_BYTES_MAX);
    // Both at once: a program that is not read stands still.
    let (output, errors) = tokio::join!(read(kept, stdout), read(&mut said, stderr));
    output.and(errors)?;
    match child.wait().await?.code() {
        0 => Ok(()),
        code => Err(Failure::new(FAILED, format!("it ended with {code}: {}", said.into_text().0))),
    }
}

async fn read(kept: &mut Kept, stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => kept.push(buffer.get(..length).unwrap_or_default()),
        }
    }
}

const PIECE_BYTES: usize = 16 * 1024;
/// Of what a program complains of.
const ERROR_BYTES_MAX: usize = 4 * 1024;
