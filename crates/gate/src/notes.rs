//! Lines for people. They are handed to a thread of their own: whoever reads them slowly, or not at all, does
//! not hold up the gate.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio::sync::oneshot;

use crate::credential::{Given, LONGEST};
use crate::line::Lines;

/// Lines that wait for a slow reader.
const WAITING: usize = 1024;
/// Lines a second that one source may report.
const A_SECOND: u32 = 200;
/// Bytes of a line of the tool server's stderr that are kept.
const STDERR_LINE: usize = 4096;

#[derive(Debug)]
enum Note {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// Where lines for people go.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    sender: SyncSender<Note>,
    lost: Arc<AtomicU64>,
    /// Of which of several servers it is.
    about: Option<Arc<str>>,
}

impl Notes {
    pub(crate) fn start(report: impl Fn(String) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("gate-notes".into())
            .spawn(move || pass_on(&receiver, &counter, report))?;
        Ok(Self { sender, lost, about: None })
    }

    /// The same for what concerns one of several servers.
    pub(crate) fn about(&self, server: &str) -> Self {
        Self { about: Some(server.into()), ..self.clone() }
    }

    /// Says one line.
    pub(crate) fn say(&self, line: impl Into<String>) {
        let line = line.into();
        let line = self.about.as_ref().map_or_else(|| line.clone(), |server| format!("{server}: {line}"));
        if self.sender.try_send(Note::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, at most so long, until everything said so far has been passed on.
    pub(crate) async fn flush(&self, at_most: Duration) {
        let (done, flushed) = oneshot::channel();
        if self.sender.try_send(Note::Flush(done)).is_ok() {
            drop(tokio::time::timeout(at_most, flushed).await);
        }
    }
}

fn pass_on(receiver: &Receiver<Note>, lost: &AtomicU64, report: impl Fn(String)) {
    while let Ok(note) = receiver.recv() {
        match note {
            Note::Line(line) => report(line),
            Note::Flush(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            report(format!("{lost} lines were dropped, because they came faster than they were read"));
        }
    }
}

/// Lets so many lines a second through, and counts the others.
#[derive(Debug)]
pub(crate) struct Flow {
    since: Instant,
    passed: u32,
    skipped: u64,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), passed: 0, skipped: 0 }
    }

    /// Says the line that `text` makes, if its turn is within the bound.
    pub(crate) fn say(&mut self, notes: &Notes, source: &str, text: impl FnOnce() -> String) {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.sum_up(notes, source);
            (self.since, self.passed) = (Instant::now(), 0);
        }
        if self.passed < A_SECOND {
            self.passed = self.passed.saturating_add(1);
            notes.say(text());
        } else {
            self.skipped = self.skipped.saturating_add(1);
        }
    }

    /// Says how many lines were left out.
    pub(crate) fn sum_up(&mut self, notes: &Notes, source: &str) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            notes.say(format!("{source}: {skipped} more lines"));
        }
    }
}

/// Passes the tool server's stderr on, without what the server was given.
pub(crate) async fn stderr<R: AsyncRead + Unpin>(stderr: R, notes: Notes, given: Option<Given>) {
    // What is left of a line that is cut is shorter by that.
    let more = given.as_ref().map_or(0, |_| LONGEST);
    let mut lines = Lines::new(stderr, STDERR_LINE.saturating_add(more));
    let mut flow = Flow::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(1), lines.next());
        match next.await {
            Ok(Ok(Some(line))) => {
                let line = given.as_ref().map_or_else(|| line.bytes().to_vec(), |it| it.words(&line));
                flow.say(&notes, "stderr", || format!("stderr: {}", escape(&line, STDERR_LINE)));
            }
            Ok(Ok(None) | Err(_)) => return flow.sum_up(&notes, "stderr"),
            Err(_) => flow.sum_up(&notes, "stderr"),
        }
    }
}

/// At most `longest` characters of a text that somebody else made, without any that would steer a terminal.
pub(crate) fn escape(bytes: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = String::new();
    for c in text.chars().take(longest) {
        if steers(c) { escaped.extend(c.escape_unicode()) } else { escaped.push(c) }
    }
    if text.chars().nth(longest).is_some() {
        escaped.push('…');
    }
    escaped
}

fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    (c.is_control() && c != '\t') || turns
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
