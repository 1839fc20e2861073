//! A source of facts that is a service: asked now and then, beside everything else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_ledger::{Clocks, SystemClocks};
use portcullis_policy::FactSnapshot;
use portcullis_protocol::Millis;
use portcullis_sdk::HttpClient;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::FactsService;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far a source's clock may be ahead of this machine's. What says to be from later than that is not taken: it would
/// keep every answer out that comes before its time has come.
const AHEAD: Duration = Duration::from_secs(5);

/// What a service gave.
#[derive(Debug, Default)]
struct Told {
    newest: Option<Arc<FactSnapshot>>,
    /// Why the last question had no answer that can be used.
    failure: Option<String>,
}

/// The rounds of questions to a service. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Fetching {
    told: Arc<Mutex<Told>>,
    /// Notified of each answer.
    heard: Arc<Notify>,
    rounds: JoinHandle<()>,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.rounds.abort();
    }
}

impl Fetching {
    pub(super) fn follow(service: FactsService) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let heard = Arc::<Notify>::default();
        let rounds = tokio::spawn(rounds(service, Arc::clone(&told), Arc::clone(&heard)));
        Self { told, heard, rounds }
    }

    /// Waits until it was asked once, whatever came of that.
    pub(super) async fn answered(&self) {
        let heard = self.heard.notified();
        let asked = {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.newest.is_some() || told.failure.is_some()
        };
        if !asked {
            heard.await;
        }
    }

    /// What it gave last.
    pub(super) fn newest(&self) -> Result<Arc<FactSnapshot>, String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = || told.failure.clone().unwrap_or_else(|| "it has not been asked yet".to_owned());
        told.newest.clone().ok_or_else(nothing)
    }

    /// Why it gave nothing when it was asked last, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }
}

async fn rounds(service: FactsService, told: Arc<Mutex<Told>>, heard: Arc<Notify>) {
    let client = HttpClient::new(service.endpoint.clone(), service.token.clone());
    loop {
        let answer = ask(&client, &service.path).await;
        told.lock().unwrap_or_else(PoisonError::into_inner).hear(answer, SystemClocks.wall());
        heard.notify_waiters();
        tokio::time::sleep(service.interval).await;
    }
}

async fn ask(client: &HttpClient, path: &str) -> Result<FactSnapshot, String> {
    let answer = client.get(path, FactSnapshot::MAX_BYTES, PATIENCE).await;
    let (status, body) = answer.map_err(|refusal| {
        let detail = refusal.reason().detail.map_or_else(String::new, |detail| format!(": {detail}"));
        format!("{}{detail}", refusal.code().as_str())
    })?;
    if status != 200 {
        return Err(format!("it answers with status {status}"));
    }
    // Megabytes of JSON: not where calls are waited for.
    let parsed = tokio::task::spawn_blocking(move || FactSnapshot::parse(&body)).await;
    parsed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn is_ahead(snapshot: &FactSnapshot, now: Option<Millis>) -> bool {
    let ahead = u64::try_from(AHEAD.as_millis()).map_or(0, |ahead| ahead);
    now.is_none_or(|now| snapshot.as_of() > now.plus(ahead))
}

fn in_time(snapshot: FactSnapshot, now: Option<Millis>) -> Result<FactSnapshot, String> {
    if is_ahead(&snapshot, now) {
        return Err(format!("it says to be from more than {} s after now", AHEAD.as_secs()));
    }
    Ok(snapshot)
}

impl Told {
    fn hear(&mut self, answer: Result<FactSnapshot, String>, now: Option<Millis>) {
        let newest = match answer.and_then(|newest| in_time(newest, now)) {
            Ok(newest) => newest,
            Err(failure) => {
                self.failure = Some(failure);
                return;
            }
        };
        // What was taken while this machine's clock was wrong is no newest once that is right.
        let held = self.newest.as_ref().filter(|held| !is_ahead(held, now));
        match held {
            Some(held) if newest.as_of() < held.as_of() => {
                // Somebody in between could give an old answer again: nobody belongs to a group twice.
                self.failure = Some("it gives what is older than what it gave before".to_owned());
            }
            Some(held) if **held == newest => self.failure = None,
            Some(_) | None => (self.newest, self.failure) = (Some(Arc::new(newest)), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(as_of: &str, entities: &str) -> FactSnapshot {
        let document = format!(r#"{{"v":1,"as_of":"{as_of}","entities":{entities}}}"#);
        FactSnapshot::parse(document.as_bytes()).unwrap()
    }

    /// 2026-01-01T00:00:10Z
    const NOW: Option<Millis> = Some(Millis(1_767_225_610_000));

    const GROUP: &str = r#"[{"uid":{"type":"Group","id":"g"},"attrs":{},"parents":[]}]"#;

    #[test]
    fn an_old_answer_given_again_took_the_place_of_a_newer_one() {
        let mut told = Told::default();
        told.hear(Ok(given("2026-01-01T00:00:02Z", GROUP)), NOW);
        told.hear(Ok(given("2026-01-01T00:00:01Z", "[]")), NOW);
        assert_eq!(*told.newest.clone().unwrap(), given("2026-01-01T00:00:02Z", GROUP));
        assert_eq!(told.failure.as_deref(), Some("it gives what is older than what it gave before"));
        told.hear(Ok(given("2026-01-01T00:00:03Z", "[]")), NOW);
        assert_eq!(*told.newest.unwrap(), given("2026-01-01T00:00:03Z", "[]"));
        assert_eq!(told.failure, None);
    }

    #[test]
    fn a_failure_is_told_and_changes_nothing_that_was_given() {
        let mut told = Told::default();
        told.hear(Err("down".to_owned()), NOW);
        assert_eq!((told.newest.clone(), told.failure.as_deref()), (None, Some("down")));
        told.hear(Ok(given("2026-01-01T00:00:02Z", GROUP)), NOW);
        assert_eq!(told.failure, None);
        told.hear(Err("down again".to_owned()), NOW);
        assert!(told.newest.is_some() && told.failure.is_some());
    }

    #[test]
    fn an_answer_from_the_future_kept_every_later_answer_out() {
        let mut told = Told::default();
        told.hear(Ok(given("2026-01-01T00:00:02Z", GROUP)), NOW);
        for (ahead, now) in [
            ("9999-12-31T23:59:59Z", NOW),
            ("2026-01-01T00:00:15.001Z", NOW),
            // What time it is, is not known.
            ("2026-01-01T00:00:03Z", None),
        ] {
            told.hear(Ok(given(ahead, "[]")), now);
            assert_eq!(
                told.failure.as_deref(),
                Some("it says to be from more than 5 s after now"),
                "{ahead}"
            );
            assert_eq!(*told.newest.clone().unwrap(), given("2026-01-01T00:00:02Z", GROUP), "{ahead}");
        }
        told.hear(Ok(given("2026-01-01T00:00:04Z", "[]")), NOW);
        assert_eq!((told.newest.unwrap().as_of(), told.failure), (Millis(1_767_225_604_000), None));
    }

    #[test]
    fn what_was_taken_by_a_clock_that_was_ahead_kept_every_later_answer_out() {
        let mut told = Told::default();
        told.hear(Ok(given("2030-01-01T00:00:00Z", GROUP)), Some(Millis(1_900_000_000_000)));
        told.hear(Ok(given("2026-01-01T00:00:09Z", "[]")), NOW);
        assert_eq!((told.newest.clone().unwrap().as_of(), told.failure), (Millis(1_767_225_609_000), None));
    }
}
