//! Lines of bounded length.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// The beginning of a line that is longer than the limit; the rest was discarded.
    Cut(Vec<u8>),
}

impl Line {
    /// The bytes that were kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Cut(bytes) => bytes,
        }
    }
}

/// Reads lines. Holds at most one limit's worth of a line, however long it is.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    limit: usize,
    // What is known of the current line lives here, so that a dropped `next` loses nothing.
    partial: Vec<u8>,
    cut: bool,
    begun: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        let reader = BufReader::with_capacity(BUFFER, reader);
        Self { reader, limit, partial: Vec::new(), cut: false, begun: false }
    }

    /// The next line; `None` at the end. What precedes the end without a newline is a line too.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok(self.begun.then(|| self.finish()));
            }
            self.begun = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end);
            let room = self.limit.saturating_sub(self.partial.len());
            self.cut |= length > room;
            self.partial.extend(buffer.iter().take(length.min(room)));
            self.reader.consume(length.saturating_add(usize::from(end.is_some())));
            if end.is_some() {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn finish(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.partial);
        let cut = std::mem::take(&mut self.cut);
        self.begun = false;
        if cut {
            return Line::Cut(bytes);
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line::Whole(bytes)
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
