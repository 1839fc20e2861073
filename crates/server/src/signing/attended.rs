//! A signer that may hang: asked on a thread of its own, and waited for until a deadline.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_ledger::{SignError, Signer};
use portcullis_sdk::BootInstant;
use portcullis_verify::VerifierKey;

/// How often a device is looked at while nothing is to be signed.
const WATCH: Duration = Duration::from_millis(200);
/// After a failure nothing is asked of the device for as long as the failure took, within these bounds: a signer
/// that hangs must not hold up the ledger's thread, which has others to answer, with every call.
const SHORTEST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What makes signatures, and may take any time to do so.
pub(super) trait Device {
    /// Looks whether a signature could be made, without making one.
    fn watch(&mut self) -> Result<(), SignError>;

    /// A signature over a text. One that comes after `until` is not used, so there is no need to wait longer.
    fn sign(&mut self, text: &[u8], until: BootInstant) -> Result<[u8; 64], SignError>;
}

struct Job {
    text: Vec<u8>,
    until: BootInstant,
    answer: SyncSender<Result<[u8; 64], SignError>>,
}

/// What is known of the device.
#[derive(Default)]
struct Known {
    /// Since when the thread is with the device, if it is.
    since: Option<BootInstant>,
    /// What the last look at the device said, if something was wrong.
    watched: Option<SignError>,
    /// The last failure to sign, and until when the device is left in peace after it.
    failed: Option<(SignError, BootInstant)>,
}

/// A device with a thread of its own. There is never more than one thread: while it hangs, nothing is signed.
pub(super) struct Attended {
    verifier: VerifierKey,
    deadline: Duration,
    jobs: SyncSender<Job>,
    known: Arc<Mutex<Known>>,
}

impl Attended {
    /// `make` is called on the new thread, for it may hang too.
    pub(super) fn new<D: Device>(
        verifier: VerifierKey,
        deadline: Duration,
        make: impl FnOnce() -> D + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(1);
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        std::thread::Builder::new().name("signer".into()).spawn(move || {
            let mut device = with_device(&shared, make);
            attend(&mut device, &queue, &shared);
        })?;
        Ok(Self { verifier, deadline, jobs, known })
    }

    fn asked(&self, text: &[u8], began: BootInstant) -> Result<[u8; 64], SignError> {
        let (answer, answered) = sync_channel(1);
        let job = Job { text: text.to_vec(), until: began.plus(self.deadline), answer };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            // The question before this one is not even taken up yet.
            Err(TrySendError::Full(_)) => return Err(SignError::Timeout),
            Err(TrySendError::Disconnected(_)) => return Err(gone()),
        }
        match answered.recv_timeout(self.deadline) {
            // Whoever waits is behind the deadline, too, if this thread was kept from running until now.
            Ok(result) if BootInstant::now() <= began.plus(self.deadline) => result,
            Ok(_) | Err(RecvTimeoutError::Timeout) => Err(SignError::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Signer for Attended {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn ready(&mut self) -> Result<(), SignError> {
        let now = BootInstant::now();
        let known = lock(&self.known);
        if known.since.is_some_and(|since| now.since(since) > self.deadline) {
            return Err(SignError::Timeout);
        }
        if let Some(error) = &known.watched {
            return Err(error.clone());
        }
        match &known.failed {
            Some((error, until)) if now < *until => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    fn sign(&mut self, text: &[u8]) -> Result<[u8; 64], SignError> {
        let began = BootInstant::now();
        let result = self.asked(text, began);
        let ended = BootInstant::now();
        let rest = ended.since(began).clamp(SHORTEST_REST, LONGEST_REST);
        lock(&self.known).failed = result.as_ref().err().map(|error| (error.clone(), ended.plus(rest)));
        result
    }
}

/// The thread: signs what is asked for, and looks at the device in between. Ends with the [`Attended`].
fn attend<D: Device>(device: &mut D, queue: &Receiver<Job>, known: &Mutex<Known>) {
    loop {
        match queue.recv_timeout(WATCH) {
            // Nobody waits for it any more.
            Ok(job) if BootInstant::now() > job.until => {}
            Ok(Job { text, until, answer }) => {
                let result = with_device(known, || device.sign(&text, until));
                // Whoever asked may have given up; then the signature is dropped here, unseen.
                drop(answer.try_send(result));
            }
            Err(RecvTimeoutError::Timeout) => {
                let watched = with_device(known, || device.watch());
                lock(known).watched = watched.err();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Notes since when the thread is with the device.
fn with_device<T>(known: &Mutex<Known>, work: impl FnOnce() -> T) -> T {
    lock(known).since = Some(BootInstant::now());
    let done = work();
    lock(known).since = None;
    done
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> SignError {
    SignError::Unavailable("the signer's thread has ended".into())
}

#[cfg(test)]
#[path = "attended_tests.rs"]
mod tests;
