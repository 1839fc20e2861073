//! Bundles that have to be compiled while the ledger's writer is at work: each by a thread of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_policy::{BundleSource, STACK};
use tokio::sync::watch;

/// Which bundles are being compiled, each at most once at a time. One that never ends holds up no other. Sources there are
/// as many as operators have activated.
#[derive(Debug, Default)]
pub(super) struct Loading(Arc<Mutex<Vec<UnderWay>>>);

#[derive(Debug)]
struct UnderWay {
    source: Arc<BundleSource>,
    ended: watch::Receiver<()>,
}

/// The end of a compilation. Any number of tasks wait for it, and no thread.
#[derive(Debug)]
pub(super) struct End(watch::Receiver<()>);

impl End {
    /// Waits for it. What came of it shows at the next look.
    pub(super) async fn wait(mut self) {
        // Nothing is ever sent: it ends when the one who would is gone, however that came.
        while self.0.changed().await.is_ok() {}
    }
}

impl Loading {
    /// Has a bundle compiled, unless it is being compiled.
    pub(super) fn begin(&self, source: &Arc<BundleSource>) -> End {
        // Whoever asks for it is told why there is none.
        self.begin_by(source, |source| drop(source.current()))
    }

    pub(super) fn begin_by(
        &self,
        source: &Arc<BundleSource>,
        load: impl FnOnce(&BundleSource) + Send + 'static,
    ) -> End {
        let mut all = lock(&self.0);
        if let Some(known) = all.iter().find(|known| Arc::ptr_eq(&known.source, source)) {
            return End(known.ended.clone());
        }
        let (end, ended) = watch::channel(());
        all.push(UnderWay { source: Arc::clone(source), ended: ended.clone() });
        drop(all);
        let work = Work { source: Arc::clone(source), all: Arc::clone(&self.0), _end: end };
        let load = move || load(&work.source);
        // Decisions wait for it: it does not give way to them. Without a thread it has ended, and is tried again with the
        // next look.
        drop(std::thread::Builder::new().name("bundle".to_owned()).stack_size(STACK).spawn(load));
        End(ended)
    }
}

/// However it ends, also if it never begins.
struct Work {
    source: Arc<BundleSource>,
    all: Arc<Mutex<Vec<UnderWay>>>,
    /// Goes last: who is told looks again, and has it begun again where that is needed.
    _end: watch::Sender<()>,
}

impl Drop for Work {
    fn drop(&mut self) {
        lock(&self.all).retain(|known| !Arc::ptr_eq(&known.source, &self.source));
    }
}

fn lock(all: &Mutex<Vec<UnderWay>>) -> MutexGuard<'_, Vec<UnderWay>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
