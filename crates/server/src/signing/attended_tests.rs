use super::*;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use portcullis_protocol::ReasonCode;

use crate::signing::tests::{code, signed};

/// A device that does what the test tells it, and only then.
struct Told {
    answers: Receiver<Result<[u8; 64], SignError>>,
    watched: Arc<Mutex<Option<SignError>>>,
    asked: Sender<Vec<u8>>,
}

impl Device for Told {
    fn watch(&mut self) -> Result<(), SignError> {
        self.watched.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn sign(&mut self, text: &[u8], _until: BootInstant) -> Result<[u8; 64], SignError> {
        self.asked.send(text.to_vec()).unwrap();
        self.answers.recv().unwrap()
    }
}

struct Scene {
    signer: Attended,
    answers: Sender<Result<[u8; 64], SignError>>,
    watched: Arc<Mutex<Option<SignError>>>,
    asked: Receiver<Vec<u8>>,
}

fn scene(deadline: Duration) -> Scene {
    let (answer, answers) = channel();
    let (ask, asked) = channel();
    let watched = Arc::new(Mutex::new(None));
    let told = Told { answers, watched: Arc::clone(&watched), asked: ask };
    let signer = Attended::new(signed().0, deadline, move || told).unwrap();
    Scene { signer, answers: answer, watched, asked }
}

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn until_ready(signer: &mut Attended) {
    let end = Instant::now() + LONG;
    while let Err(error) = signer.ready() {
        assert!(Instant::now() < end, "{error}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_signer_that_hangs_holds_nobody_up_and_its_late_answer_is_not_taken_for_another() {
    let mut scene = scene(SHORT);
    let began = Instant::now();
    assert_eq!(code(scene.signer.sign(b"first")), Some(ReasonCode::SignerTimeout));
    assert!(began.elapsed() < LONG / 4, "{:?}", began.elapsed());
    assert_eq!(code(scene.signer.ready()), Some(ReasonCode::SignerTimeout));
    assert_eq!(scene.asked.recv().unwrap(), b"first");
    // It hangs for longer than the rest after a failure: it is still not ready, and asking it again is a timeout.
    assert_eq!(code(scene.signer.sign(b"second")), Some(ReasonCode::SignerTimeout));
    assert_eq!(code(scene.signer.sign(b"third")), Some(ReasonCode::SignerTimeout));
    assert_eq!(code(scene.signer.ready()), Some(ReasonCode::SignerTimeout));
    scene.answers.send(Ok([1; 64])).unwrap();
    scene.answers.send(Ok([4; 64])).unwrap();
    until_ready(&mut scene.signer);
    assert_eq!(scene.signer.sign(b"fourth").unwrap(), [4; 64], "the late answer is for the first question");
    assert_eq!(scene.asked.try_iter().collect::<Vec<_>>(), [b"fourth"], "what nobody waits for is not asked");
}

#[test]
fn a_signer_that_failed_is_left_in_peace_for_a_moment_and_then_asked_again() {
    let mut scene = scene(LONG);
    scene.answers.send(Err(SignError::Failed)).unwrap();
    assert_eq!(code(scene.signer.sign(b"text")), Some(ReasonCode::SignerFailed));
    assert_eq!(code(scene.signer.ready()), Some(ReasonCode::SignerFailed));
    until_ready(&mut scene.signer);
    scene.answers.send(Ok([2; 64])).unwrap();
    assert_eq!(scene.signer.sign(b"text").unwrap(), [2; 64]);
    assert!(scene.signer.ready().is_ok());
}

#[test]
fn a_device_that_was_pulled_is_noticed_without_a_signature() {
    let mut scene = scene(LONG);
    assert!(scene.signer.ready().is_ok());
    *scene.watched.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    let end = Instant::now() + LONG;
    while scene.signer.ready().is_ok() {
        assert!(Instant::now() < end, "not noticed");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert_eq!(code(scene.signer.ready()), Some(ReasonCode::SignerUnavailable));
    *scene.watched.lock().unwrap() = None;
    until_ready(&mut scene.signer);
    assert!(scene.asked.try_iter().next().is_none(), "nothing was signed");
}

#[test]
fn a_signer_whose_making_hangs_is_not_ready() {
    struct Never;
    impl Device for Never {
        fn watch(&mut self) -> Result<(), SignError> {
            Ok(())
        }
        fn sign(&mut self, _text: &[u8], _until: BootInstant) -> Result<[u8; 64], SignError> {
            Ok([0; 64])
        }
    }
    let (go, gone) = channel::<()>();
    let mut signer = Attended::new(signed().0, SHORT, move || {
        gone.recv().unwrap_err();
        Never
    })
    .unwrap();
    // Known by how long it hangs alone: nothing was asked of it yet.
    let began = BootInstant::now();
    while code(signer.ready()) != Some(ReasonCode::SignerTimeout) {
        assert!(BootInstant::now().since(began) < Duration::from_secs(10), "it counts as ready");
        std::thread::yield_now();
    }
    assert_eq!(code(signer.sign(b"text")), Some(ReasonCode::SignerTimeout));
    assert_eq!(code(signer.ready()), Some(ReasonCode::SignerTimeout));
    drop(go);
    until_ready(&mut signer);
    assert!(signer.sign(b"text").is_ok());
}
