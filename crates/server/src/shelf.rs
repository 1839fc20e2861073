//! The log, as the daemon shows it: what its anchored head covers, checked on every reading, beside the writer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_ledger::{Checkpoints, LogTip, LogView};
use portcullis_protocol::ReasonCode;
use portcullis_verify::{LogKeys, LogPath};
use tokio::sync::Semaphore;

use crate::auditors::Auditors;
use crate::config::ArbiterConfig;
use crate::cosigning::{newest_cosigned, under};

/// Readings at once; more are shed. Each has a connection to the database of its own.
const READINGS: usize = 4;

/// What is shown of a log, and to whom.
#[derive(Debug)]
pub(crate) struct Shelf {
    data: PathBuf,
    anchor: PathBuf,
    keys: LogKeys,
    minimum_index: u64,
    /// The log under its newest cosigned checkpoint, if that is to be shown.
    cosigned: Option<Box<ArbiterConfig>>,
    checkpoints: Checkpoints,
    /// Whether anybody may read.
    pub(crate) public: bool,
    /// Who may, otherwise.
    pub(crate) auditors: Auditors,
    /// The newest head that was shown: the log is never shown at an older one.
    tip: Mutex<Option<LogTip>>,
    places: Arc<Semaphore>,
}

impl Shelf {
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        Self {
            data: config.data.clone(),
            anchor: config.anchor.clone(),
            keys: config.log_keys.clone(),
            minimum_index: config.log.minimum_index,
            cosigned: config.log.cosigned.then(|| Box::new(config.clone())),
            checkpoints: Checkpoints::of(&config.data, config.log_keys.clone()),
            public: config.log.public,
            auditors: Auditors::new(&config.log.auditors),
            tip: Mutex::new(None),
            places: Arc::new(Semaphore::new(READINGS)),
        }
    }

    /// The bytes of a resource; `None` if the log has no such thing, or it is pruned.
    ///
    /// # Errors
    /// The reason why that cannot be told. Bytes that the head does not prove are never returned.
    pub(crate) async fn read(self: Arc<Self>, path: LogPath) -> Result<Option<Vec<u8>>, ReasonCode> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ReasonCode::OverloadShed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let read = self.read_now(path);
            drop(place);
            read
        });
        reading.await.map_err(|_| ReasonCode::StateUnreachable)?
    }

    /// The log under the newest checkpoint that was cosigned. Before there is one, there is nothing to be shown.
    fn read_cosigned(&self, config: &ArbiterConfig, path: LogPath) -> Result<Option<Vec<u8>>, ReasonCode> {
        let Some(head) = newest_cosigned(config) else { return Ok(None) };
        let size = head.size();
        if path.is_prunable(self.minimum_index.min(size)) {
            return Ok(None);
        }
        let view = LogView::open(&self.data, &self.anchor, &self.keys, self.known().as_ref());
        let view = view.map_err(|error| error.code())?;
        let cosigned = under(&self.data, &view, head).map_err(|error| error.code())?;
        let bytes = cosigned.resource(path).map_err(|error| error.code())?;
        self.saw(view);
        Ok(bytes)
    }

    fn known(&self) -> Option<LogTip> {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another reading may have seen a newer head meanwhile.
    fn saw(&self, view: LogView) {
        let mut tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
        if tip.as_ref().is_none_or(|tip| tip.size() < view.head().size()) {
            *tip = Some(view.into_tip());
        }
    }

    fn read_now(&self, path: LogPath) -> Result<Option<Vec<u8>>, ReasonCode> {
        if let Some(config) = &self.cosigned {
            return self.read_cosigned(config, path);
        }
        let view = LogView::open(&self.data, &self.anchor, &self.keys, self.known().as_ref());
        let view = view.map_err(|error| error.code())?;
        let size = view.head().size();
        // A minimum beyond the log's end is taken for its end: the growing tiles are always there.
        let pruned = path.is_prunable(self.minimum_index.min(size));
        let bytes = if pruned { None } else { view.resource(path).map_err(|error| error.code())? };
        // The same checkpoint with the cosignatures that it got since.
        let kept = (path == LogPath::Checkpoint).then(|| self.checkpoints.at(size)).flatten();
        let kept = kept.filter(|kept| kept.checkpoint() == view.head().checkpoint());
        let bytes = kept.map(|kept| kept.note_bytes().to_vec()).or(bytes);
        self.saw(view);
        Ok(bytes)
    }
}
