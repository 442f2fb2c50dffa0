//! A module's log as the daemon sends it: frames of standard output and standard error.
//!
//! Each frame has a header of 8 bytes: the stream's number, three zeros, and the length as 32 bits
//! with the high end first (`edge-runtime.md` §2.1). Frames may be cut anywhere by the transport.

use bytes::{Buf, Bytes, BytesMut};
use host::http::StreamingResponse;

use super::{EdgeError, Socket};

/// Where a piece of a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A piece of a log; lines may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it came from.
    pub source: Source,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The stream is not made of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogFrameError {
    /// The header is none.
    #[error("log stream has a frame of unknown kind {0}")]
    Kind(u8),
    /// It ends within a frame.
    #[error("log stream ends within a frame")]
    Truncated,
}

/// Takes frames apart. Pure; holds at most a header, because a frame's bytes are handed on as they
/// come.
#[derive(Debug, Default)]
pub struct LogDemultiplexer {
    buffer: BytesMut,
    /// The frame that is being read: its source and how many bytes are missing.
    frame: Option<(Source, usize)>,
}

impl LogDemultiplexer {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, if there is one.
    pub fn next_chunk(&mut self) -> Result<Option<LogChunk>, LogFrameError> {
        loop {
            match self.frame.take() {
                Some((_, 0)) => {}
                Some((source, missing)) => {
                    let count = missing.min(self.buffer.len());
                    self.frame = Some((source, missing - count));
                    if count == 0 {
                        return Ok(None);
                    }
                    let bytes = self.buffer.split_to(count).freeze();
                    return Ok(Some(LogChunk { source, bytes }));
                }
                None => {}
            }
            let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let [kind, _, _, _, length @ ..] = *header;
            let source = match kind {
                // 0 is standard input, which engines use for what they echo.
                0 | 1 => Source::Output,
                2 => Source::Error,
                other => return Err(LogFrameError::Kind(other)),
            };
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.buffer.advance(HEADER_BYTES);
            self.frame = Some((source, length));
        }
    }

    /// Checks that the stream ended where a frame did.
    pub fn finish(&self) -> Result<(), LogFrameError> {
        let between_frames = matches!(self.frame, None | Some((_, 0)));
        if between_frames && self.buffer.is_empty() {
            Ok(())
        } else {
            Err(LogFrameError::Truncated)
        }
    }
}

/// A log as it comes.
#[derive(Debug)]
pub struct LogStream {
    socket: Socket,
    response: StreamingResponse,
    frames: LogDemultiplexer,
}

impl LogStream {
    pub(super) fn new(socket: Socket, response: StreamingResponse) -> Self {
        Self { socket, response, frames: LogDemultiplexer::default() }
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, EdgeError> {
        loop {
            if let Some(chunk) = self.frames.next_chunk().map_err(malformed)? {
                return Ok(Some(chunk));
            }
            match self.response.chunk().await.map_err(|error| self.socket.broken(error))? {
                Some(bytes) => self.frames.push(&bytes),
                None => {
                    self.frames.finish().map_err(malformed)?;
                    return Ok(None);
                }
            }
        }
    }
}

fn malformed(error: LogFrameError) -> EdgeError {
    EdgeError::Malformed(error.to_string())
}

const HEADER_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Whatever the pieces, the same text comes out for each source.
    fn check(stream: &[u8], piece: usize) -> Result<(String, String), LogFrameError> {
        let mut frames = LogDemultiplexer::default();
        let (mut output, mut error) = (Vec::new(), Vec::new());
        for bytes in stream.chunks(piece) {
            frames.push(bytes);
            while let Some(chunk) = frames.next_chunk()? {
                match chunk.source {
                    Source::Output => output.extend_from_slice(&chunk.bytes),
                    Source::Error => error.extend_from_slice(&chunk.bytes),
                }
            }
            assert!(frames.buffer.len() < HEADER_BYTES, "nothing is held but a header");
        }
        frames.finish()?;
        Ok((String::from_utf8(output).unwrap(), String::from_utf8(error).unwrap()))
    }

    #[test]
    fn frames_cut_anywhere_give_the_same_text() {
        let mut stream = frame(1, "one\n");
        stream.extend(frame(2, "bad\n"));
        stream.extend(frame(1, ""));
        stream.extend(frame(1, "two\n"));
        for piece in 1..=stream.len() {
            let text = ("one\ntwo\n".to_owned(), "bad\n".to_owned());
            assert_eq!(check(&stream, piece), Ok(text), "{piece}");
        }
        let end = stream.len() - 1;
        assert_eq!(check(&stream[..end], 3), Err(LogFrameError::Truncated));
        assert_eq!(check(&stream[..3], 3), Err(LogFrameError::Truncated));
        assert_eq!(check(b"hello world", 4), Err(LogFrameError::Kind(b'h')));
        assert_eq!(check(b"", 1), Ok((String::new(), String::new())));
    }

    #[test]
    fn a_length_of_four_gigabytes_reserves_nothing() {
        let mut frames = LogDemultiplexer::default();
        frames.push(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']);
        assert_eq!(frames.next_chunk().unwrap().unwrap().bytes, "x");
        assert_eq!(frames.next_chunk(), Ok(None));
    }
}
