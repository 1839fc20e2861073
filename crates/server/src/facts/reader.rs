//! A source of facts that is a file, looked at and read by a thread of its own.
//!
//! A file system may answer late, or never. Then this thread hangs and nobody else: whoever asks it waits for a while, and
//! where it has been at one thing for longer than that, not at all. What does not come in time is nothing given.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_policy::{FactError, FactFile, FactSnapshot, FileLook, STACK};
use portcullis_protocol::{Digest, SourceName};
use tokio::sync::oneshot;

/// How often a file is tried to be read that is replaced meanwhile.
const READINGS: u32 = 3;
/// How long a call waits for what a file gives.
pub(super) const DECIDING: Duration = Duration::from_secs(1);
/// How long the ledger's writer waits to hear whether a file is still what was read: nothing else is settled meanwhile.
pub(super) const SETTLING: Duration = Duration::from_millis(100);
/// Questions that may wait. Those of callers that have given up are among them.
const WAITING: usize = 1_024;

const SILENT: &str = "its file system does not answer";
const ENDED: &str = "nothing reads it";

pub(super) type Document = Result<Arc<FactSnapshot>, FactError>;
/// What a file gives. Nothing to who settles, if it is not what was read last.
pub(super) type Answer = Result<Option<Document>, String>;
type Reply = Box<dyn FnOnce(Answer) + Send>;

/// For whom it is looked. It matters where a file may have changed and looks the same.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    /// Who began to decide then takes what was read since.
    Deciding(Instant),
    /// Who settles compares what is there now.
    Settling,
}

struct Question {
    whom: For,
    reply: Reply,
}

/// The thread that reads a file. It ends after the value, as soon as its file system lets it.
#[derive(Debug)]
pub(super) struct Reader {
    questions: Option<SyncSender<Question>>,
    busy: Arc<Busy>,
}

/// Since when the thread has been at what it is at.
#[derive(Debug, Default)]
struct Busy(Mutex<Option<Instant>>);

impl Busy {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn is_for(&self, time: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= time)
    }
}

impl Reader {
    pub(super) fn of(name: &SourceName, file: FactFile) -> Self {
        let busy = Arc::<Busy>::default();
        let (questions, asked) = sync_channel(WAITING);
        let at = Arc::clone(&busy);
        let thread = std::thread::Builder::new().name(format!("facts {name}")).stack_size(STACK);
        // Without a thread the source gives nothing.
        let questions = thread.spawn(move || answer(&file, &asked, &at)).is_ok().then_some(questions);
        Self { questions, busy }
    }

    fn ask(&self, whom: For, patience: Duration, reply: Reply) -> Result<(), String> {
        let Some(questions) = &self.questions else { return Err(ENDED.to_owned()) };
        // Nobody waits once more for what somebody has waited for in vain.
        if self.busy.is_for(patience) {
            return Err(SILENT.to_owned());
        }
        questions.try_send(Question { whom, reply }).map_err(|error| match error {
            TrySendError::Full(_) => SILENT.to_owned(),
            TrySendError::Disconnected(_) => ENDED.to_owned(),
        })
    }

    /// Asks what the file gives, read if it was not since then.
    pub(super) fn given(&self, since: Instant) -> Result<oneshot::Receiver<Answer>, String> {
        let (reply, answer) = oneshot::channel();
        // Who asked may have given up.
        let reply = Box::new(move |given| drop(reply.send(given)));
        self.ask(For::Deciding(since), DECIDING, reply)?;
        Ok(answer)
    }

    /// Asks whether the file is still what was read last.
    pub(super) fn still(&self) -> Result<Receiver<Answer>, String> {
        let (reply, answer) = sync_channel(1);
        let reply = Box::new(move |given| drop(reply.send(given)));
        self.ask(For::Settling, SETTLING, reply)?;
        Ok(answer)
    }
}

/// Waits for what a file gives.
pub(super) async fn awaited(answer: oneshot::Receiver<Answer>, until: Instant) -> Answer {
    match tokio::time::timeout_at(until.into(), answer).await {
        Ok(Ok(given)) => given,
        Ok(Err(_)) => Err(ENDED.to_owned()),
        Err(_) => Err(SILENT.to_owned()),
    }
}

/// Waits to hear whether a file is still what was read.
pub(super) fn heard(answer: &Receiver<Answer>, until: Instant) -> Answer {
    let left = until.saturating_duration_since(Instant::now());
    answer.recv_timeout(left).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(SILENT.to_owned()),
        RecvTimeoutError::Disconnected => Err(ENDED.to_owned()),
    })
}

/// What was read of a file.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) look: FileLook,
    /// When its reading began.
    pub(super) since: Instant,
    /// Digest of its bytes.
    pub(super) digest: Digest,
    pub(super) document: Document,
}

impl Read {
    /// Whether a file that looks like this is still what was read.
    pub(super) fn is_still(&self, file: &FactFile, whom: For) -> bool {
        self.look.is_settled()
            || match whom {
                For::Deciding(since) => self.since >= since,
                For::Settling => file
                    .read()
                    .is_ok_and(|(bytes, look)| look == self.look && Digest::sha256(&bytes) == self.digest),
            }
    }
}

/// The thread: one question after the other.
fn answer(file: &FactFile, questions: &Receiver<Question>, busy: &Busy) {
    let mut last = None;
    for Question { whom, reply } in questions {
        busy.set(Some(Instant::now()));
        reply(look(file, &mut last, whom));
        busy.set(None);
    }
}

fn look(file: &FactFile, last: &mut Option<Read>, whom: For) -> Answer {
    let look = file.look().map_err(|error| error.to_string())?;
    let same = last.as_ref().filter(|read| look == read.look && read.is_still(file, whom));
    match (same, whom) {
        (Some(read), _) => Ok(Some(read.document.clone())),
        (None, For::Settling) => Ok(None),
        (None, For::Deciding(_)) => {
            let earlier = last.take();
            let read = read(file, earlier.as_ref()).map_err(|error| error.to_string())?;
            Ok(Some(last.insert(read).document.clone()))
        }
    }
}

fn read(file: &FactFile, earlier: Option<&Read>) -> std::io::Result<Read> {
    let since = Instant::now();
    let mut read = file.read();
    // One that was replaced meanwhile is there again.
    for _ in 1..READINGS {
        read = read.or_else(|_| file.read());
    }
    let (bytes, look) = read?;
    let digest = Digest::sha256(&bytes);
    let document = match earlier.filter(|read| read.digest == digest) {
        Some(same) => same.document.clone(),
        None => FactSnapshot::parse(&bytes).map(Arc::new),
    };
    Ok(Read { look, since, digest, document })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
