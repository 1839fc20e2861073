use super::*;
use crate::incoming::Sink;

#[path = "../tests/mcp/web.rs"]
#[expect(dead_code, reason = "the tests of a whole gate use all of it")]
mod web;

/// How long it is seen that something does not happen.
const WHILE: Duration = Duration::from_millis(300);

struct Far {
    web: web::Web,
    remote: Arc<Remote>,
    sink: RemoteSink,
    said: mpsc::Receiver<Incoming>,
}

impl Far {
    /// A server that may say four megabytes at once.
    async fn start() -> Self {
        let web = web::Web::start().await;
        let server = RemoteServer {
            url: web.url.parse().unwrap(),
            trust: Trust::System,
            credential: None,
            slots: None,
        };
        let notes = Notes::start(|_| {}).unwrap();
        let (remote, sink, said) = Remote::start(server, notes, Rooms::of_one(32)).unwrap();
        Self { web, remote, sink, said }
    }

    /// Calls a tool, and waits until the server has heard that.
    async fn call(&mut self, number: usize, tool: &str) {
        let params = format!(r#"{{"name":"{tool}"}}"#);
        let call = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{params}}}"#);
        assert!(self.sink.ready().await);
        self.sink.send(call.into_bytes(), None).await.unwrap();
        while self.web.calls().len() < number {
            tokio::task::yield_now().await;
        }
    }

    async fn answered(&mut self) -> bool {
        match timeout(WHILE, self.said.recv()).await {
            Ok(Some(Incoming::Message(..))) => true,
            Ok(other) => panic!("{other:?}"),
            Err(_) => false,
        }
    }
}

#[tokio::test]
async fn what_a_server_by_url_said_was_held_as_messages_and_not_as_bytes() {
    let mut far = Far::start().await;
    for (number, tool) in (1..).zip(["huge", "huge_events", "huge"]) {
        far.call(number, tool).await;
    }
    // A message of one megabyte weighs four.
    for (many, within, come) in [(1, Duration::from_secs(30), true), (2, Duration::from_secs(2), false)] {
        let said = async {
            while far.said.len() < many {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(timeout(within, said).await.is_ok(), come, "{many}");
    }
    for _ in 0..3 {
        let message = timeout(Duration::from_secs(30), far.said.recv()).await.unwrap().unwrap();
        assert!(matches!(message, Incoming::Message(_, _, Some(_))));
        assert!(!far.answered().await, "it is still held");
        drop(message);
    }
}

#[tokio::test]
async fn a_long_event_that_broke_off_kept_its_place_until_the_stream_was_taken_up_again() {
    let mut far = Far::start().await;
    far.call(1, "cut_long").await;
    let has = async |far: &Far, places: usize| {
        let has = async {
            while far.remote.long.available_permits() != places {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), has).await.is_ok()
    };
    assert!(has(&far, LONG - 1).await);
    web::CUT.notify_one();
    assert!(has(&far, LONG).await);
}

#[tokio::test]
async fn of_each_of_many_long_answers_all_was_read_at_once() {
    for tool in ["huge", "huge_events"] {
        let mut far = Far::start().await;
        let mut places = Vec::new();
        for _ in 0..LONG {
            places.push(Arc::clone(&far.remote.long).acquire_owned().await.unwrap());
        }
        far.call(1, tool).await;
        assert!(!far.answered().await, "{tool}");
        far.call(2, "read").await;
        let short = timeout(Duration::from_secs(30), far.said.recv()).await.unwrap();
        assert!(matches!(short, Some(Incoming::Message(_, Answers::Only(2), _))), "{tool}: {short:?}");
        drop((short, places.pop()));
        let long = timeout(Duration::from_secs(30), far.said.recv()).await.unwrap();
        assert!(matches!(long, Some(Incoming::Message(_, Answers::Only(1), _))), "{tool}: {long:?}");
        drop(long);
        // The place is given back with it.
        while far.remote.long.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
    }
}
