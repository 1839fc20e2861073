//! The sources of facts that a bundle declares: what each gives now, read beside the decisions.
//!
//! There is no last-known-good. Of a file it is looked at for every decision whether it is still the one that was read; one
//! that is gone or broken, or whose file system does not answer, gives nothing from then on, and one whose times do not tell
//! every change is read for each look. A service that does not answer any more has given what it gave last, and that counts
//! until it is as old as the bundle allows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use portcullis_arbiter::{Fact, Heard};
use portcullis_policy::{Bundle, FactFile, FactSnapshot, Gathered, Given, Ungathered};
use portcullis_protocol::{BundleDigest, Millis, Snapshots, SourceName};

use crate::config::{ArbiterConfig, FactsConfig};
use crate::remote::FactsHealth;

mod fetching;
use fetching::Fetching;
mod reader;
use reader::{DECIDING, Document, Reader, SETTLING, awaited, heard};

/// A file in the data directory that is touched to see what time it is there.
const CLOCK: &str = "facts.clock";
/// How long the first answer of a service is waited for by who asks whether a bundle could decide.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

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
    File(Reader),
    Service(Fetching),
}

/// A source that was asked.
enum Asked<R> {
    /// It is known what it gives.
    Told(Arc<FactSnapshot>),
    /// It is still to answer.
    Awaited(R),
}

/// What each source answered.
type Answers = BTreeMap<SourceName, Result<Arc<FactSnapshot>, Nothing>>;

/// What was gathered last.
#[derive(Debug)]
struct Last {
    bundle: BundleDigest,
    given: Given,
    gathered: Result<Arc<Gathered>, Nothing>,
}

#[derive(Debug, Default)]
struct State {
    /// What each source answered last to who decides.
    answers: Answers,
    last: Option<Last>,
}

/// The sources of a deployment.
#[derive(Debug)]
pub(crate) struct Facts {
    sources: BTreeMap<SourceName, Source>,
    /// Never held while a file is looked at.
    state: Mutex<State>,
    /// Held by the one who gathers.
    gathering: tokio::sync::Mutex<()>,
}

impl Facts {
    /// The sources of a configuration. Services are asked from now on.
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        let probe = config.data.join(CLOCK);
        let source = |name: &SourceName, config: &FactsConfig| match config {
            FactsConfig::File(path) => {
                Source::File(Reader::of(name, FactFile::new(path.clone()).with_probe(probe.clone())))
            }
            FactsConfig::Service(service) => Source::Service(Fetching::follow(service.clone())),
        };
        let sources = config.facts.iter().map(|(name, config)| (name.clone(), source(name, config)));
        Self { sources: sources.collect(), state: Mutex::default(), gathering: tokio::sync::Mutex::new(()) }
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
    pub(crate) async fn of(&self, bundle: &Arc<Bundle>) -> Result<Option<Arc<Gathered>>, Nothing> {
        if bundle.sources().is_empty() {
            return Ok(None);
        }
        let given = self.given(bundle).await?;
        if let Some(gathered) = self.gathered(bundle, &given) {
            return gathered.map(Some);
        }
        let _gathering = self.gathering.lock().await;
        // Whoever gathered before may have gathered it.
        if let Some(gathered) = self.gathered(bundle, &given) {
            return gathered.map(Some);
        }
        let earlier = self.state().last.as_ref().and_then(|last| last.gathered.clone().ok());
        let (of, from) = (Arc::clone(bundle), given.clone());
        let gather = move || Ok(Arc::new(of.gather(&from, earlier.as_deref())?));
        let gathered = tokio::task::spawn_blocking(gather).await.map_err(|_| Nothing::Unread)?;
        let (bundle, result) = (bundle.reference().digest, gathered.clone());
        self.state().last = Some(Last { bundle, given, gathered: result });
        gathered.map(Some)
    }

    /// What the sources of the bundle in force say now, by a look for which nobody waits long. Unknown if that is not what was
    /// gathered last.
    pub(crate) fn now(&self, bundle: &Bundle) -> Fact<Snapshots> {
        if bundle.sources().is_empty() {
            return Fact::Known(Snapshots::new());
        }
        match self.still(bundle).map(|given| self.gathered(bundle, &given)) {
            Ok(Some(Ok(gathered))) => Fact::Known(gathered.used().clone()),
            Ok(Some(Err(_)) | None) | Err(_) => Fact::Unknown,
        }
    }

    /// What was gathered for a bundle, if it was from this.
    fn gathered(&self, bundle: &Bundle, given: &Given) -> Option<Result<Arc<Gathered>, Nothing>> {
        let state = self.state();
        let last = state.last.as_ref().filter(|last| last.bundle == bundle.reference().digest)?;
        let same = last.given.len() == given.len()
            && last
                .given
                .iter()
                .all(|(name, it)| given.get(name).is_some_and(|other| Arc::ptr_eq(it, other)));
        same.then(|| last.gathered.clone())
    }

    /// What the sources of a bundle give to who decides.
    async fn given(&self, bundle: &Bundle) -> Result<Given, Nothing> {
        let answers = self.answers(bundle).await;
        self.state().answers.clone_from(&answers);
        answers.into_iter().map(|(name, answer)| Ok((name, answer?))).collect()
    }

    async fn answers(&self, bundle: &Bundle) -> Answers {
        let since = Instant::now();
        let until = since.checked_add(DECIDING).map_or(since, |until| until);
        let asked = self.ask(bundle, |file| file.given(since));
        let mut answers = BTreeMap::new();
        for (name, asked) in asked {
            let answer = match asked {
                Ok(Asked::Told(given)) => Ok(given),
                Ok(Asked::Awaited(answer)) => document(&name, awaited(answer, until).await),
                Err(nothing) => Err(nothing),
            };
            answers.insert(name, answer);
        }
        answers
    }

    /// How each source of a bundle would be at `now`, if that bundle were the one that decides. A service that has not answered yet is
    /// waited for. Nothing of it is kept for those who decide by the bundle in force.
    pub(crate) async fn tried(
        &self,
        bundle: &Arc<Bundle>,
        now: Option<Millis>,
        heard: &Heard,
    ) -> Vec<FactsHealth> {
        let services = bundle.sources().keys().filter_map(|name| match self.sources.get(name) {
            Some(Source::Service(service)) => Some(service.answered()),
            Some(Source::File(_)) | None => None,
        });
        for answered in services {
            // What has not answered by then gives nothing.
            drop(tokio::time::timeout(FIRST_ANSWER, answered).await);
        }
        let answers = self.answers(bundle).await;
        let gathered = tried(bundle, &answers).await;
        self.declared(bundle, (&answers, Some(&gathered)), now, heard)
    }

    /// What the sources of a bundle give to who settles: what they gave before, or nothing.
    fn still(&self, bundle: &Bundle) -> Result<Given, Nothing> {
        let asked = self.ask(bundle, Reader::still);
        let now = Instant::now();
        let until = now.checked_add(SETTLING).map_or(now, |until| until);
        let given = asked.into_iter().map(|(name, asked)| {
            let answer = match asked? {
                Asked::Told(given) => given,
                Asked::Awaited(answer) => document(&name, heard(&answer, until))?,
            };
            Ok((name, answer))
        });
        given.collect()
    }

    /// Asks each source of a bundle, before any of them is waited for.
    fn ask<R>(
        &self,
        bundle: &Bundle,
        file: impl Fn(&Reader) -> Result<R, String>,
    ) -> Vec<(SourceName, Result<Asked<R>, Nothing>)> {
        let ask = |name: &SourceName| {
            let asked = match self.sources.get(name) {
                None => return Err(Nothing::Nowhere(name.clone())),
                Some(Source::Service(service)) => service.newest().map(Asked::Told),
                Some(Source::File(reader)) => file(reader).map(Asked::Awaited),
            };
            asked.map_err(|cause| Nothing::Unreadable { name: name.clone(), cause })
        };
        bundle.sources().keys().map(|name| (name.clone(), ask(name))).collect()
    }

    /// How each source is at `now`, beside what the log has heard: of those that the bundle declares, and of the others that
    /// the configuration has.
    pub(crate) fn health(&self, bundle: &Bundle, now: Option<Millis>, heard: &Heard) -> Vec<FactsHealth> {
        let state = self.state();
        let gathered = state.last.as_ref().map(|last| &last.gathered);
        let mut all = self.declared(bundle, (&state.answers, gathered), now, heard);
        let unused = self.sources.keys().filter(|name| !bundle.sources().contains_key(*name));
        all.extend(unused.map(FactsHealth::unused));
        all
    }

    /// How each source that a bundle declares is, by what they answered and what could be gathered of that.
    fn declared(
        &self,
        bundle: &Bundle,
        (answers, gathered): (&Answers, Option<&Result<Arc<Gathered>, Nothing>>),
        now: Option<Millis>,
        heard: &Heard,
    ) -> Vec<FactsHealth> {
        let declared = bundle.sources().iter().map(|(name, source)| {
            let answer = answers.get(name);
            let given = answer.and_then(|answer| answer.as_ref().ok());
            let (usable, error) = self.standing(name, answer, gathered);
            let is_past = |it: &Arc<FactSnapshot>, now| {
                heard.get(name).is_some_and(|newest| newest.is_after(it.as_of(), it.digest(), now))
            };
            let is_past = given.zip(now).is_some_and(|(it, now)| is_past(it, now));
            let as_of = given.map(|it| it.as_of());
            FactsHealth::of(name, as_of, source.max_age_ms, (usable, is_past), (error, now))
        });
        declared.collect()
    }

    /// Whether what a source gave can be used, and what is wrong with it: a service may have failed since.
    fn standing(
        &self,
        name: &SourceName,
        answer: Option<&Result<Arc<FactSnapshot>, Nothing>>,
        gathered: Option<&Result<Arc<Gathered>, Nothing>>,
    ) -> (bool, Option<String>) {
        let failure = match self.sources.get(name) {
            Some(Source::Service(fetching)) => fetching.failure(),
            Some(Source::File(_)) | None => None,
        };
        match (answer, gathered) {
            (Some(Ok(_)), Some(Ok(_))) => (true, failure),
            (Some(Err(nothing)), _) | (_, Some(Err(nothing))) => {
                (false, failure.or_else(|| Some(nothing.to_string())))
            }
            (None, _) | (_, None) => (false, failure.or_else(|| Some("it was not read yet".to_owned()))),
        }
    }
}

/// What can be gathered for a bundle of what its sources answered.
async fn tried(bundle: &Arc<Bundle>, answers: &Answers) -> Result<Arc<Gathered>, Nothing> {
    let given = answers.iter().map(|(name, answer)| Ok((name.clone(), answer.clone()?)));
    let given = given.collect::<Result<Given, Nothing>>()?;
    let of = Arc::clone(bundle);
    let gather = move || Ok(Arc::new(of.gather(&given, None)?));
    tokio::task::spawn_blocking(gather).await.map_err(|_| Nothing::Unread)?
}

/// The document of a source that answered, if it can be used.
fn document(
    name: &SourceName,
    answer: Result<Option<Document>, String>,
) -> Result<Arc<FactSnapshot>, Nothing> {
    match answer {
        Ok(Some(document)) => {
            let unfit = |error| Nothing::Unfit(Ungathered::Source { name: name.clone(), error });
            document.map_err(unfit)
        }
        // What is there is to be read before anybody settles by it.
        Ok(None) => Err(Nothing::Unread),
        Err(cause) => Err(Nothing::Unreadable { name: name.clone(), cause }),
    }
}
