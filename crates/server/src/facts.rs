//! The sources of facts that a bundle declares: what each gives now, read beside the decisions.
//!
//! There is no last-known-good. Of a file it is looked at for every decision whether it is still the one that was read; one
//! that is gone or broken gives nothing from then on, and one whose times do not tell every change is read for each look. A service that does not answer any more has given what it gave last, and
//! that counts until it is as old as the bundle allows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use portcullis_arbiter::{Fact, Heard};
use portcullis_policy::{Bundle, FactError, FactFile, FactSnapshot, FileLook, Gathered, Given, Ungathered};
use portcullis_protocol::{BundleDigest, Digest, Millis, Snapshots, SourceName};

use crate::config::{ArbiterConfig, FactsConfig};
use crate::remote::FactsHealth;

mod fetching;
use fetching::Fetching;

/// A file in the data directory that is touched to see what time it is there.
const CLOCK: &str = "facts.clock";
/// How often a file is tried to be read that is replaced meanwhile.
const READINGS: u32 = 3;

/// Why a source gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nothing {
    /// The configuration does not say where it is.
    #[error("source of facts `{0}`: the configuration has no `[facts.{0}]`")]
    Nowhere(SourceName),
    /// The file cannot be read, or the service has not answered.
    #[error("source of facts `{name}` cannot be read: {cause}")]
    Unreadable { name: SourceName, cause: String },
    /// What it gives cannot be used.
    #[error(transparent)]
    Unfit(#[from] Ungathered),
    /// The reading did not end.
    #[error("the sources of facts could not be read")]
    Unread,
}

impl Nothing {
    /// What the caller of an agent is told: which source, and nothing out of it.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Nowhere(name) | Self::Unreadable { name, .. } => {
                format!("source of facts `{name}` gives nothing")
            }
            Self::Unfit(Ungathered::Source { name, .. }) => {
                format!("source of facts `{name}` gives what cannot be used")
            }
            Self::Unfit(Ungathered::Together(_)) => {
                "the sources of facts give what cannot be used".to_owned()
            }
            Self::Unread => "the sources of facts could not be read".to_owned(),
        }
    }
}

#[derive(Debug)]
enum Source {
    File(FactFile),
    Service(Fetching),
}

type Document = Result<Arc<FactSnapshot>, FactError>;

/// What was read of a source.
#[derive(Clone, Debug)]
struct Read {
    file: Option<ReadFile>,
    document: Document,
}

/// A file that was read.
#[derive(Clone, Debug)]
struct ReadFile {
    look: FileLook,
    /// When its reading began.
    since: Instant,
    /// Digest of its bytes.
    digest: Digest,
}

#[derive(Debug, Default)]
struct State {
    read: BTreeMap<SourceName, Read>,
    gathered: Option<(BundleDigest, Result<Arc<Gathered>, Nothing>)>,
}

/// The sources of a deployment.
#[derive(Debug)]
pub(crate) struct Facts {
    sources: BTreeMap<SourceName, Source>,
    state: Mutex<State>,
    /// Held by the one who reads.
    reading: tokio::sync::Mutex<()>,
}

/// What a look found.
enum Look {
    /// What was gathered is what is there.
    Known(Result<Arc<Gathered>, Nothing>),
    /// There is something that was not read yet.
    Unread,
}

/// For whom it is looked. It matters where a file may have changed and looks the same.
#[derive(Clone, Copy)]
enum For {
    /// Who began to decide then takes what was read since.
    Deciding(Instant),
    /// Who settles compares what is there now.
    Settling,
}

impl ReadFile {
    /// Whether a file that looks like this is still what was read.
    fn is_still(&self, file: &FactFile, whom: For) -> bool {
        self.look.is_settled()
            || match whom {
                For::Deciding(since) => self.since >= since,
                For::Settling => file
                    .read()
                    .is_ok_and(|(bytes, look)| look == self.look && Digest::sha256(&bytes) == self.digest),
            }
    }
}

impl Facts {
    /// The sources of a configuration. Services are asked from now on.
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        let probe = config.data.join(CLOCK);
        let source = |config: &FactsConfig| match config {
            FactsConfig::File(path) => Source::File(FactFile::new(path.clone()).with_probe(probe.clone())),
            FactsConfig::Service(service) => Source::Service(Fetching::follow(service.clone())),
        };
        let sources = config.facts.iter().map(|(name, config)| (name.clone(), source(config)));
        Self { sources: sources.collect(), state: Mutex::default(), reading: tokio::sync::Mutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // Somebody panicked half-way: forget what was read.
            let mut state = poisoned.into_inner();
            *state = State::default();
            self.state.clear_poison();
            state
        })
    }

    /// What the sources of a bundle give, read if it was not yet. `None` if the bundle has none.
    ///
    /// # Errors
    /// [`Nothing`], by the first source of which nothing can be used.
    pub(crate) async fn of(self: &Arc<Self>, bundle: &Arc<Bundle>) -> Result<Option<Arc<Gathered>>, Nothing> {
        if bundle.sources().is_empty() {
            return Ok(None);
        }
        let whom = For::Deciding(Instant::now());
        if let Look::Known(known) = self.look(bundle, whom) {
            return known.map(Some);
        }
        let _reading = self.reading.lock().await;
        // Whoever read before may have read it.
        if let Look::Known(known) = self.look(bundle, whom) {
            return known.map(Some);
        }
        let (facts, of) = (Arc::clone(self), Arc::clone(bundle));
        let read = tokio::task::spawn_blocking(move || facts.read(&of)).await;
        read.map_err(|_| Nothing::Unread)?.map(Some)
    }

    /// What the sources of the bundle in force say now, by a look. Unknown if that is not what was gathered last.
    pub(crate) fn now(&self, bundle: &Bundle) -> Fact<Snapshots> {
        if bundle.sources().is_empty() {
            return Fact::Known(Snapshots::new());
        }
        match self.look(bundle, For::Settling) {
            Look::Known(Ok(gathered)) => Fact::Known(gathered.used().clone()),
            Look::Known(Err(_)) | Look::Unread => Fact::Unknown,
        }
    }

    /// Looks whether what was gathered for a bundle is what is there. Reads nothing.
    fn look(&self, bundle: &Bundle, whom: For) -> Look {
        let state = self.state();
        for name in bundle.sources().keys() {
            let source = match self.sources.get(name) {
                None => return Look::Known(Err(Nothing::Nowhere(name.clone()))),
                Some(source) => source,
            };
            let read = state.read.get(name);
            match source {
                Source::Service(fetching) => match (fetching.newest(), read.map(|read| &read.document)) {
                    (Err(cause), _) => return unreadable(name, cause),
                    (Ok(newest), Some(Ok(read))) if Arc::ptr_eq(&newest, read) => {}
                    (Ok(_), _) => return Look::Unread,
                },
                Source::File(file) => match (file.look(), read.and_then(|read| read.file.as_ref())) {
                    (Err(error), _) => return unreadable(name, error.to_string()),
                    (Ok(look), Some(read)) if look == read.look && read.is_still(file, whom) => {}
                    (Ok(_), _) => return Look::Unread,
                },
            }
        }
        match &state.gathered {
            Some((of, gathered)) if *of == bundle.reference().digest => Look::Known(gathered.clone()),
            Some(_) | None => Look::Unread,
        }
    }

    /// Reads what there is, and gathers it for a bundle. Only one does at a time.
    fn read(&self, bundle: &Bundle) -> Result<Arc<Gathered>, Nothing> {
        let (earlier, gathered) = {
            let state = self.state();
            (state.read.clone(), state.gathered.clone())
        };
        let mut fresh = BTreeMap::new();
        let mut first = None;
        for name in bundle.sources().keys() {
            match self.read_one(name, earlier.get(name)) {
                Ok(read) => drop(fresh.insert(name.clone(), read)),
                Err(nothing) => drop(first.get_or_insert(nothing)),
            }
        }
        let earlier = gathered.and_then(|(_, gathered)| gathered.ok());
        let gathered = match first {
            Some(nothing) => Err(nothing),
            None => gather(bundle, &fresh, earlier.as_deref()),
        };
        let mut state = self.state();
        state.read = fresh;
        state.gathered = Some((bundle.reference().digest, gathered.clone()));
        gathered
    }

    fn read_one(&self, name: &SourceName, earlier: Option<&Read>) -> Result<Read, Nothing> {
        let cannot = |cause: String| Nothing::Unreadable { name: name.clone(), cause };
        match self.sources.get(name) {
            None => Err(Nothing::Nowhere(name.clone())),
            Some(Source::Service(fetching)) => {
                Ok(Read { file: None, document: Ok(fetching.newest().map_err(cannot)?) })
            }
            Some(Source::File(file)) => {
                let since = Instant::now();
                let mut read = file.read();
                // One that was replaced meanwhile is there again.
                for _ in 1..READINGS {
                    read = read.or_else(|_| file.read());
                }
                let (bytes, look) = read.map_err(|error| cannot(error.to_string()))?;
                let digest = Digest::sha256(&bytes);
                let same = earlier.filter(|read| read.file.as_ref().is_some_and(|it| it.digest == digest));
                let document = match same {
                    Some(same) => same.document.clone(),
                    None => FactSnapshot::parse(&bytes).map(Arc::new),
                };
                Ok(Read { file: Some(ReadFile { look, since, digest }), document })
            }
        }
    }

    /// How each source is at `now`, beside what the log has heard: of those that the bundle declares, and of the others that
    /// the configuration has.
    pub(crate) fn health(&self, bundle: &Bundle, now: Option<Millis>, heard: &Heard) -> Vec<FactsHealth> {
        let state = self.state();
        let declared = bundle.sources().iter().map(|(name, source)| {
            let document = state.read.get(name).map(|read| &read.document);
            let given = match document {
                Some(Ok(given)) => Some(given),
                Some(Err(_)) | None => None,
            };
            let (usable, error) = self.standing(name, document, state.gathered.as_ref());
            let is_past = |it: &Arc<FactSnapshot>, now| {
                heard.get(name).is_some_and(|newest| newest.is_after(it.as_of(), it.digest(), now))
            };
            let is_past = given.zip(now).is_some_and(|(it, now)| is_past(it, now));
            let as_of = given.map(|it| it.as_of());
            FactsHealth::of(name, as_of, source.max_age_ms, (usable, is_past), (error, now))
        });
        let unused = self.sources.keys().filter(|name| !bundle.sources().contains_key(*name));
        declared.chain(unused.map(FactsHealth::unused)).collect()
    }

    /// Whether what a source gave can be used, and what is wrong with it: a service may have failed since.
    fn standing(
        &self,
        name: &SourceName,
        document: Option<&Document>,
        gathered: Option<&(BundleDigest, Result<Arc<Gathered>, Nothing>)>,
    ) -> (bool, Option<String>) {
        let failure = match self.sources.get(name) {
            None => return (false, Some(Nothing::Nowhere(name.clone()).to_string())),
            Some(Source::File(file)) => match file.look() {
                Ok(_) => None,
                Err(error) => return (false, Some(error.to_string())),
            },
            Some(Source::Service(fetching)) => fetching.failure(),
        };
        match (document, gathered) {
            (Some(Ok(_)), Some((_, Ok(_)))) => (true, failure),
            (Some(Err(error)), _) => (false, Some(error.to_string())),
            (_, Some((_, Err(nothing)))) => (false, failure.or_else(|| Some(nothing.to_string()))),
            (None, _) | (_, None) => (false, failure.or_else(|| Some("it was not read yet".to_owned()))),
        }
    }
}

fn unreadable(name: &SourceName, cause: String) -> Look {
    Look::Known(Err(Nothing::Unreadable { name: name.clone(), cause }))
}

fn gather(
    bundle: &Bundle,
    read: &BTreeMap<SourceName, Read>,
    earlier: Option<&Gathered>,
) -> Result<Arc<Gathered>, Nothing> {
    let mut given = Given::new();
    for (name, read) in read {
        let unfit = |error| Nothing::Unfit(Ungathered::Source { name: name.clone(), error });
        given.insert(name.clone(), read.document.clone().map_err(unfit)?);
    }
    Ok(Arc::new(bundle.gather(&given, earlier)?))
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
