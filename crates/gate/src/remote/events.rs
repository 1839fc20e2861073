//! Server-sent events, as a stream of bytes has them (WHATWG HTML, section 9.2.6): the data of each, in order.

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its data; of several lines with line feeds between them.
    pub(crate) data: Vec<u8>,
}

/// A line or an event is longer than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What is read of a stream so far. Holds at most two limits' worth of it.
#[derive(Debug)]
pub(crate) struct Events {
    limit: usize,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    /// The id that the next event will make the last.
    id: Option<String>,
    last_id: Option<String>,
    retry_ms: Option<u64>,
    /// The byte before was a carriage return: a line feed now ends nothing more.
    returned: bool,
    first: bool,
}

impl Events {
    /// Reads a stream of events of at most `limit` bytes each.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: None,
            id: None,
            last_id: None,
            retry_ms: None,
            returned: false,
            first: true,
        }
    }

    /// The last event's id, to go on from.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// After how many milliseconds the server asks to be asked again.
    pub(crate) const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// How many bytes are held of what has not ended.
    pub(crate) fn held(&self) -> usize {
        self.line.len().saturating_add(self.data.as_ref().map_or(0, Vec::len))
    }

    /// The same stream, taken up again behind its last event.
    pub(crate) fn resumed(&self) -> Self {
        Self { last_id: self.last_id.clone(), retry_ms: self.retry_ms, ..Self::new(self.limit) }
    }

    /// Takes the next bytes, and gives the events that they end.
    ///
    /// # Errors
    /// [`TooLong`]; what follows is not to be read.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.line()?),
                _ if self.line.len() >= self.limit => return Err(TooLong),
                byte => self.line.push(*byte),
            }
        }
        Ok(events)
    }

    fn line(&mut self) -> Result<Option<Event>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let line = if std::mem::take(&mut self.first) {
            line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line)
        } else {
            &line
        };
        if line.is_empty() {
            if let Some(id) = self.id.take() {
                self.last_id = Some(id);
            }
            return Ok(self.data.take().map(|data| Event { data }));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = colon.map_or((line, &[][..]), |colon| {
            let (field, rest) = line.split_at(colon);
            let value = rest.strip_prefix(b":").unwrap_or(rest);
            (field, value.strip_prefix(b" ").unwrap_or(value))
        });
        match field {
            b"data" => self.data(value)?,
            b"id" if !value.contains(&0) => self.id = String::from_utf8(value.to_vec()).ok(),
            b"retry" => {
                let digits =
                    std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                self.retry_ms = digits.and_then(|digits| digits.parse().ok()).or(self.retry_ms);
            }
            // The name of an event, a comment, and what nobody knows.
            _ => {}
        }
        Ok(None)
    }

    fn data(&mut self, value: &[u8]) -> Result<(), TooLong> {
        let data = match &mut self.data {
            None => self.data.insert(Vec::new()),
            Some(data) => {
                data.push(b'\n');
                data
            }
        };
        if data.len().saturating_add(value.len()) > self.limit {
            return Err(TooLong);
        }
        data.extend_from_slice(value);
        Ok(())
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
