use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ed25519_dalek::SigningKey;
use portcullis_sdk::TrustedLog;
use portcullis_verify::VerifierKey;

use crate::config::{LocalServer, ToolServer};
use crate::confine::Confinement;

use super::super::absent::Absent;
use super::super::bounds::{Pool, Share};
use super::*;

fn caller(agent: &str, bounds: &Bounds) -> Caller {
    let token = Digest::sha256(agent.as_bytes());
    let share = Share::new(bounds, &Pool::new(bounds));
    let agent = agent.parse().unwrap();
    Caller { token, bearer: token, expires: None, agent, arbiter: Arc::new(Absent), share }
}

/// Sessions whose gates are never started.
fn sessions(bounds: Bounds) -> Sessions {
    let server = LocalServer {
        command: Vec::new(),
        pass_environment: Vec::new(),
        credentials: None,
        slots: None,
        supervisor: Vec::new(),
        confinement: Confinement::default(),
    };
    let gate = McpGate {
        server: "rec".into(),
        agent: "bot".parse().unwrap(),
        acts_for: None,
        gate: "gate".parse().unwrap(),
        deadline: Duration::from_secs(1),
        upstream: ToolServer::Local(server),
        beside: Vec::new(),
        spool: None,
        listed_within: McpGate::LISTED_WITHIN,
        simulation: None,
    };
    let key = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let log = TrustedLog::new(vec![VerifierKey::ed25519("gate.example/log", key).unwrap()]).unwrap();
    Sessions::new(Ground { gate, log, report: Arc::new(|_| {}) }, bounds, [0; 32])
}

fn now<T>(waiting: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    waiting.poll(&mut Context::from_waker(Waker::noop()))
}

/// While an agent's ended sessions kept their places, each new one of its own that waited for them had a place of all: nobody
/// else began any.
#[tokio::test]
async fn an_agent_that_waited_for_its_own_place_kept_those_of_others() {
    let bounds = Bounds { sessions_each: 1, sessions: 2, ..Bounds::USUAL };
    let (sessions, one, other) = (sessions(bounds), caller("one", &bounds), caller("other", &bounds));
    // As of a session that has ended, and whose server has not.
    let ended = sessions.places(&one).await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(sessions.places(&one))).collect();
    for new in &mut waiting {
        assert!(now(new.as_mut()).is_pending());
    }
    let others = now(std::pin::pin!(sessions.places(&other)));
    assert!(matches!(others, Poll::Ready(Ok(_))), "another agent's place was there");
    // The place that its own session had is for the first of them, with that of all.
    drop(ended);
    assert!(matches!(now(waiting[0].as_mut()), Poll::Ready(Ok(_))));
}

/// What is there of all when it is said that there is a place.
struct Told {
    all: Arc<Semaphore>,
    there: AtomicUsize,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.there.store(self.all.available_permits(), Ordering::SeqCst);
    }
}

/// It found none of all, and ended another of its sessions for one.
#[tokio::test]
async fn who_had_its_own_place_of_an_ended_session_finds_that_of_all() {
    let bounds = Bounds { sessions_each: 1, sessions: 1, ..Bounds::USUAL };
    let (sessions, one) = (sessions(bounds), caller("one", &bounds));
    let ended = sessions.places(&one).await.unwrap();
    let told = Arc::new(Told { all: Arc::clone(&sessions.all), there: AtomicUsize::new(0) });
    let mut waiting = std::pin::pin!(sessions.places(&one));
    let waker = Waker::from(Arc::clone(&told));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(ended);
    assert_eq!(told.there.load(Ordering::SeqCst), 1);
    assert!(matches!(now(waiting), Poll::Ready(Ok(_))));
}

/// A place of all may go to whoever waited for it before: an agent lost two sessions for a new one.
#[tokio::test]
async fn who_ended_a_session_for_a_new_one_ends_no_other() {
    let bounds = Bounds { sessions_each: 2, sessions: 2, ..Bounds::USUAL };
    let (sessions, one) = (sessions(bounds), caller("one", &bounds));
    let (_ended, _live) = (sessions.places(&one).await.unwrap(), sessions.places(&one).await.unwrap());
    let (to_gate, _lines) = mpsc::channel(1);
    let named = (Holder::new(&one), one.agent.clone());
    let times = (bounds, Duration::from_secs(4));
    let live = Conversation::new(named, Era::Session, Arc::clone(&one.share), times, to_gate);
    sessions.held().sessions.insert("live".into(), Arc::clone(&live));
    for (ended, ends) in [(true, false), (false, true)] {
        let end = Instant::now() + ENDING;
        assert!(now(std::pin::pin!(sessions.place_of_all(&one.agent, ended, end))).is_pending());
        assert_eq!(live.is_closing(), ends);
    }
}
