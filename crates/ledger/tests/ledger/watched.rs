//! A log that somebody outside watches, with crashes, failing signers and restored backups: two roots are never signed
//! for one size, and whoever watches sees one history.

use std::sync::{Arc, Mutex};

use portcullis_ledger::{Beside, Elsewhere, Ledger, Refutations, Seen, SignError};
use portcullis_protocol::ReasonCode;
use portcullis_verify::witness::{AddCheckpoint, NotWitnessed};
use portcullis_verify::{Checkpoint, VerifiedCheckpoint, VerifierKey};

use crate::harness::{Call, World};

/// A witness in memory, by the code that the real one runs.
#[derive(Clone, Default)]
pub(crate) struct Judge(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    key: Option<VerifierKey>,
    seen: Option<Checkpoint>,
    refused: Vec<NotWitnessed>,
    /// Whether it does not answer.
    away: bool,
}

impl Judge {
    fn of(key: VerifierKey) -> Self {
        Self(Arc::new(Mutex::new(State { key: Some(key), ..State::default() })))
    }

    fn submit(
        &self,
        old: u64,
        proof: &[portcullis_verify::Hash],
        head: &VerifiedCheckpoint,
    ) -> Result<(), NotWitnessed> {
        let mut state = self.0.lock().unwrap();
        let keys: Vec<VerifierKey> = state.key.iter().cloned().collect();
        let request = AddCheckpoint::parse(&AddCheckpoint::body(old, proof, head)).unwrap();
        let submitted = request.verify(&keys.into()).unwrap();
        submitted.extends(state.seen.as_ref())?;
        state.seen = Some(head.checkpoint().clone());
        Ok(())
    }

    /// Submits each head of a ledger as it is anchored.
    fn watch(&self, world: &World, ledger: &Ledger) {
        let (judge, beside) = (self.clone(), Beside::new(&world.data()));
        ledger.heads().listen(Box::new(move |head| {
            let old = judge.seen();
            let proof = if old == 0 || old > head.size() {
                Vec::new()
            } else {
                beside.consistency(old, head).unwrap()
            };
            if let Err(refused) = judge.submit(old.min(head.size()), &proof, head) {
                judge.0.lock().unwrap().refused.push(refused);
            }
        }));
    }

    fn seen(&self) -> u64 {
        self.0.lock().unwrap().seen.as_ref().map_or(0, |seen| seen.size)
    }
}

impl Judge {
    /// The witness, asked by the ledger of a world when it is opened.
    pub(crate) fn asked_by(&self, data: &std::path::Path) -> Box<dyn Elsewhere> {
        Box::new(Asked { judge: self.clone(), beside: Beside::new(data) })
    }
}

struct Asked {
    judge: Judge,
    beside: Beside,
}

impl Elsewhere for Asked {
    fn compare(&mut self, head: &VerifiedCheckpoint) -> Seen {
        if self.judge.0.lock().unwrap().away {
            return Seen::Unknown;
        }
        let old = self.judge.seen();
        if old > head.size() {
            return Seen::More;
        }
        // A longer history that is another one shows by its proof, as it does to a witness elsewhere.
        let proof = if old == 0 || old == head.size() {
            Vec::new()
        } else {
            self.beside.consistency(old, head).unwrap()
        };
        match self.judge.submit(old, &proof, head) {
            Ok(()) => Seen::NothingElse,
            Err(_) => Seen::More,
        }
    }
}

/// Numbers from a seed (xorshift64*), which is printed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

pub(crate) fn seed() -> u64 {
    let given = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
        u64::from_be_bytes(bytes) | 1
    })
}

#[test]
fn whatever_fails_whoever_watches_sees_one_history_and_no_size_has_two_roots() {
    let seed = seed();
    println!("PORTCULLIS_SEED={seed}");
    let mut random = Random(seed);
    let (mut refused, mut opened, mut attempt) = (0, 0, 0);
    // As many lives as it takes until backups were refused: a run without one says nothing.
    let mut lives = 0;
    while lives < 4 || (refused == 0 && lives < 64) {
        lives += 1;
        let mut world = World::new();
        let judge = Judge::of(world.verifier.clone());
        world.elsewhere = Some(judge.clone());
        let mut backups: Vec<World> = Vec::new();
        for _ in 0..8 {
            let ledger = world.start();
            judge.watch(&world, &ledger);
            let behind = world.tripped(&ledger) == Some(ReasonCode::EvidenceBehindAnchor);
            if behind {
                refused += 1
            } else {
                opened += 1
            }
            for _ in 0..random.below(4) {
                attempt += 1;
                let decided =
                    world.decide(&ledger, &Call::charge(attempt, "1.00", Some(&format!("k{attempt}"))));
                assert!(!behind || decided.verdict.reason() == Some(ReasonCode::EvidenceBehindAnchor));
                match random.below(12) {
                    0 => *world.behaviour.fails.lock().unwrap() = Some(SignError::Failed),
                    1 => *world.behaviour.fails.lock().unwrap() = None,
                    2 | 3 => backups.push(world.crashed()),
                    _ => {}
                }
            }
            // The process dies here, or is closed; then perhaps somebody puts a backup in place, of all of it.
            let next = if random.below(2) == 0 {
                let killed = world.crashed();
                // What the process still does on its way out here, a dead one would not.
                ledger.heads().listen(Box::new(|_| ()));
                killed.behaviour.roots.lock().unwrap().clone_from(&world.behaviour.roots.lock().unwrap());
                drop(ledger);
                killed
            } else {
                drop(ledger);
                world.crashed()
            };
            let roots = next.behaviour.roots.lock().unwrap().clone();
            world = if backups.is_empty() || random.below(3) > 0 {
                next
            } else {
                let chosen = usize::try_from(random.below(u64::try_from(backups.len()).unwrap())).unwrap();
                backups[chosen].crashed()
            };
            // What was signed stays signed, whatever is put in place.
            *world.behaviour.roots.lock().unwrap() = roots;
            world.behaviour.assert_one_root_for_each_size();
        }
        assert!(judge.0.lock().unwrap().refused.is_empty(), "{:?}", judge.0.lock().unwrap().refused);
    }
    println!("opened {opened} times, refused {refused} times");
    assert!(opened > 0 && refused > 0);
}

#[test]
fn a_ledger_for_which_nobody_outside_could_vouch_was_opened() {
    let mut world = World::new();
    let judge = Judge::of(world.verifier.clone());
    world.elsewhere = Some(judge.clone());
    judge.0.lock().unwrap().away = true;
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::EvidenceUnwitnessed);
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::EvidenceUnwitnessed));
    assert!(!world.anchor().exists() || portcullis_ledger::Anchor::read(&world.anchor()).unwrap().is_none());
    judge.0.lock().unwrap().away = false;
    drop(ledger);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(2));
    // Going on needs nobody.
    judge.0.lock().unwrap().away = true;
    world.permitted(&ledger, &Call::read(3));
    let roots = world.behaviour.roots.lock().unwrap().clone();
    drop(ledger);
    let size = *world.behaviour.roots.lock().unwrap().last_key_value().unwrap().0;
    assert!(size >= *roots.last_key_value().unwrap().0);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(4)), ReasonCode::EvidenceUnwitnessed);
    drop(ledger);
    assert_eq!(
        *world.behaviour.roots.lock().unwrap().last_key_value().unwrap().0,
        size,
        "something was signed"
    );
}

#[test]
fn a_refutation_was_forgotten_when_the_ledger_was_opened_again() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    let refutations = Refutations::of(&world.data());
    refutations.raise("w1", "it has seen 999 records").unwrap();
    // Whoever is asked now, or nobody.
    let size = *world.behaviour.roots.lock().unwrap().last_key_value().unwrap().0;
    for _ in 0..2 {
        let ledger = world.start();
        assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceBehindAnchor);
    }
    assert_eq!(
        *world.behaviour.roots.lock().unwrap().last_key_value().unwrap().0,
        size,
        "something was signed"
    );
    refutations.withdraw("w1").unwrap();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(3));
}

#[test]
fn a_backup_of_everything_signs_nothing_when_somebody_saw_more() {
    let mut world = World::new();
    let judge = Judge::of(world.verifier.clone());
    world.elsewhere = Some(judge.clone());
    let ledger = world.start();
    judge.watch(&world, &ledger);
    world.permitted(&ledger, &Call::charge(1, "1.00", Some("a")));
    let backup = world.crashed();
    world.permitted(&ledger, &Call::charge(2, "1.00", Some("b")));
    drop(ledger);
    let roots = world.behaviour.roots.lock().unwrap().clone();
    *backup.behaviour.roots.lock().unwrap() = roots.clone();
    let seen = judge.seen();
    let ledger = backup.start();
    assert_eq!(
        backup.refused(&ledger, &Call::charge(3, "1.00", Some("c"))),
        ReasonCode::EvidenceBehindAnchor
    );
    assert_eq!(backup.tripped(&ledger), Some(ReasonCode::EvidenceBehindAnchor));
    drop(ledger);
    assert_eq!(*backup.behaviour.roots.lock().unwrap(), roots, "something was signed");
    assert_eq!(judge.seen(), seen);
}
