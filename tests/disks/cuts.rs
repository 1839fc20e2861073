//! The power is cut at any write or sync, and what was not synced is lost, or left in pieces.

use std::collections::BTreeMap;

use portcullis_server::Config;
use serde_json::Value;

use crate::forgetful::{Forgetful, Unsynced};
use crate::judge::Permits;
use crate::scene::{Scene, Tally, rounds};
use crate::support::random::Random;
use crate::support::{Place, Signed, until};

/// Writes and syncs of a load, about; and of an opening.
const LOAD: usize = 160;
const OPENING: usize = 70;

/// A deployment whose data and anchor are to be made on a disk that forgets.
struct Powered {
    scene: Scene,
    /// What the log's key was asked to sign, on a disk that forgets nothing.
    signed: Signed,
    /// Every record that was durable before, by index.
    kept: BTreeMap<u64, Value>,
    // Unmounted last, when nobody uses it any more.
    disk: Forgetful,
}

impl Powered {
    fn new() -> Self {
        let mut place = Place::demo();
        let disk = Forgetful::mount(&place.path("disk"));
        let text = std::fs::read_to_string(&place.config_path).unwrap();
        // Nothing of these paths is there yet: who makes a directory is to make it durable too.
        let moved = text
            .replace("\ndata = \"data\"\n", "\ndata = \"disk/var/data\"\n")
            .replace("\nanchor = \"anchor/head\"\n", "\nanchor = \"disk/far/away/head\"\n");
        assert!(moved.contains("disk/var/data") && moved.contains("disk/far/away/head"), "{text}");
        std::fs::write(&place.config_path, moved).unwrap();
        place.config = Config::read(&place.config_path).unwrap().arbiter().unwrap();
        let signed = Signed::by(&mut place);
        Self { scene: Scene::on(place), signed, kept: BTreeMap::new(), disk }
    }

    /// A load, and a cut somewhere in it, or in the opening before it.
    fn round(&mut self, unsynced: Unsynced, random: &mut Random, tally: &mut Tally) {
        tally.rounds += 1;
        let own = random.clone();
        if random.one_in(3) {
            // What a killed process wrote and did not sync is there for the next one, and may not be after the cut.
            self.scene.start();
            let sent = self.scene.load(random);
            self.scene.kill();
            self.scene.answers(sent, tally);
        }
        if random.one_in(3) {
            self.disk.cut_after(random.below(OPENING), unsynced, own);
            let mut serve = self.scene.serve();
            self.scene.spawn(&mut serve);
            self.scene.age += 1;
            let up = || (self.disk.is_dark() || self.scene.place.is_ready()).then_some(());
            until("a cut, or an arbiter that is ready", up);
        } else {
            self.scene.start();
            self.disk.cut_after(random.below(LOAD), unsynced, own);
        }
        let sent = self.scene.load(random);
        self.scene.answers(sent, tally);
        tally.struck += usize::from(self.disk.cut());
        self.scene.kill();
        self.disk.power_on();
        self.judge(tally);
    }

    /// Holds the journal against what survived, and that against what had survived before.
    fn judge(&mut self, tally: &mut Tally) {
        for size in self.signed.split() {
            tally.violations.push(format!("two roots were signed for size {size}"));
        }
        let ran = self.scene.ran(tally);
        if ran.count() == 0 && self.kept.is_empty() {
            // A log of which nobody was told anything may be gone as a whole.
            return;
        }
        match Permits::read(&self.scene.place) {
            Ok(permits) => {
                permits.judge(&ran, &mut tally.violations);
                for (index, record) in &self.kept {
                    if permits.records.get(index) != Some(record) {
                        tally.violations.push(format!("record {index} was durable, and is another or gone"));
                    }
                }
                self.kept = permits.records;
            }
            Err(error) => tally.violations.push(error),
        }
    }

    /// The power stays: everything that ran is known, and more runs.
    fn end(mut self, tally: &mut Tally) {
        self.scene.start();
        self.scene.runs(tally);
        self.scene.repeat_all(tally);
        self.judge(tally);
        let again = self.signed.heads().values().filter(|roots| roots.len() > 1).count();
        for (what, count) in [("sizes signed", self.signed.heads().len()), ("sizes signed again", again)] {
            *tally.codes.entry(what.to_owned()).or_default() += count;
        }
        self.scene.end(tally);
    }
}

fn campaign(fault: &'static str, unsynced: Unsynced) {
    let (mut tally, mut random) = Tally::new(fault);
    let mut powered = Powered::new();
    for _ in 0..rounds(12, 600) {
        if powered.scene.is_old() {
            std::mem::replace(&mut powered, Powered::new()).end(&mut tally);
        }
        powered.round(unsynced, &mut random, &mut tally);
    }
    powered.end(&mut tally);
    tally.close();
}

#[test]
fn what_a_cut_of_the_power_loses_was_relied_on_by_nobody() {
    campaign("power cut, nothing unsynced survives", Unsynced::Lost);
}

#[test]
fn what_a_cut_of_the_power_leaves_in_pieces_is_found_or_changes_nothing() {
    campaign("power cut, unsynced pages and names survive by chance", Unsynced::Torn);
}

/// A campaign that finds nothing on a disk that lies would find nothing anywhere.
#[test]
fn a_disk_that_only_says_that_it_syncs_is_found_out() {
    let (mut tally, random) = Tally::new("control: syncing is only said");
    let mut powered = Powered::new();
    powered.scene.start();
    powered.scene.runs(&mut tally);
    powered.scene.settle();
    powered.disk.lie();
    powered.scene.runs(&mut tally);
    powered.disk.cut_after(0, Unsynced::Lost, random);
    powered.disk.cut();
    powered.scene.kill();
    powered.disk.power_on();
    powered.judge(&mut tally);
    // What was signed is gone, so that other records get its places.
    powered.scene.start();
    powered.scene.runs(&mut tally);
    assert_ne!(powered.signed.split(), [0; 0], "no two roots for a size");
    tally.rounds = 1;
    let found = std::mem::take(&mut tally.violations);
    let lost = |violation: &String| violation.contains("ran without a PERMIT on the disk");
    assert!(found.iter().any(lost), "{found:?}");
    tally.note(format!("found out: {}", found.len()));
}

/// Data directory, ledger and anchor were made and written, and the directories above them never synced.
#[test]
fn directories_that_were_made_and_not_synced_were_lost_with_the_log_and_keys_ran_twice() {
    let (mut tally, random) = Tally::new("power cut after the first charge of all");
    let mut powered = Powered::new();
    powered.scene.start();
    powered.scene.runs(&mut tally);
    powered.disk.cut_after(0, Unsynced::Lost, random);
    powered.disk.cut();
    powered.scene.kill();
    powered.disk.power_on();
    powered.judge(&mut tally);
    (tally.rounds, tally.struck) = (1, 1);
    powered.end(&mut tally);
    tally.close();
}
