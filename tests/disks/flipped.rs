//! Flipped bits: in every column of every table, and anywhere in the ledger's files, while the daemon is down and while
//! it runs.
//!
//! A flip is found, or it changes nothing that anybody is told: whatever receipts come off the disk are those that came
//! off it before, what ran does not run again, and a key's kept result is the one that was reported, of a PERMIT too that was
//! open when the bit was flipped. A flip that a daemon
//! does not find once its scrub has read everything is one that neither `log check` nor `log replay` finds either, but that a
//! bundle's archive has no signature of a known key any more: to a daemon those may have been replaced. And what a daemon refuses as
//! damage, `log check` has named on the same disk before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_policy::bundles;
use portcullis_protocol::{AttemptId, Outcome};
use serde_json::{Value, json};

use crate::judge::{AGENT, Permits, Ran, run};
use crate::restored::Copy;
use crate::scene::{Scene, Tally, is_long, rounds};
use crate::support::http::{Server, get, post};
use crate::support::random::Random;
use crate::support::{Place, asked, pull, spent, text, until};

/// Calls that ran, two records each: enough for full tiles, and for a mark at closing.
const RECORDS: usize = 560;

/// Codes of damage.
const DAMAGE: [&str; 3] = ["evidence.corrupt", "evidence.behind_anchor", "evidence.vault_wrong_key"];

/// The one table of which a log that is closed has no rows: archives of activations that are under way.
const EMPTY: &str = "unnamed";

/// A ledger as it was before anything was flipped.
struct Original {
    scene: Scene,
    copy: Copy,
    permits: Permits,
    ran: Ran,
    /// What each key's repeat was answered.
    told: BTreeMap<String, Value>,
    /// A PERMIT whose outcome is still to be reported: not all of a row is read again once it has one.
    open: Open,
    /// How many keys were used.
    keys: usize,
    /// How many flips were noticed.
    found: usize,
}

/// A PERMIT that was spent, and the body that is still to be reported of it.
struct Open {
    attempt: AttemptId,
    report: Vec<u8>,
}

/// What it is reported to have given.
const GAVE: &str = "what the open PERMIT gave";

/// The charge that it is for.
fn charge() -> Value {
    json!({
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "1.00" }, "idempotency_key": "open",
    })
}

impl Open {
    fn new(scene: &Scene) -> Self {
        let server = Server::socket(&scene.place.socket());
        let (attempt, report) = spent(&scene.place, &server, &charge(), (Outcome::Ok, Some(GAVE)));
        Self { attempt, report }
    }

    /// Reports its outcome. What is wrong if that was taken, and a repeat of its key is told something else; for how long
    /// it is kept, replay compares.
    fn end(&self, scene: &Scene) -> Option<String> {
        let server = Server::socket(&scene.place.socket());
        let path = format!("/v1/decisions/{}/outcome", self.attempt);
        let told = post(&server, &path, &scene.place.token(AGENT), &self.report);
        if told.is_ok_and(|told| told.status == 200) {
            let (_, again) = asked(&scene.place, &server, &charge());
            let ran = again["decision"] == "PERMIT";
            let otherwise =
                again["reason"]["code"].as_str().is_some_and(|code| code.starts_with("idempotency."));
            let same = again["stored"]["result"] == GAVE;
            return (ran || (otherwise && !same))
                .then(|| format!("the open PERMIT's repeat was told {again}"));
        }
        None
    }
}

/// What came of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Nothing was permitted, for this kind of reason.
    Refused(Reason),
    /// Calls went on.
    Harmless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Found,
    Unwritable,
}

/// A deployment of whose ledger every table has rows: with a limit, a source of facts and a spool.
fn everything() -> Place {
    let mut bundle = bundles::demo();
    let more = "\n[limits.charges]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = 1000000\n\
                window = { sliding = \"1d\" }\n\n[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"1d\"\n";
    bundle.get_mut("bundle.toml").unwrap().extend_from_slice(more.as_bytes());
    let agents = bundle.insert("entities.json".into(), b"[]".to_vec()).unwrap();
    bundle.insert("tests/directory.json".into(), agents.clone());
    let mut place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    place.directory("spool");
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    let as_of = now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let agents = String::from_utf8(agents).unwrap();
    place.file("directory.json", &format!(r#"{{"v":1,"as_of":"{as_of}","entities":{agents}}}"#));
    place.config_path = place.configure("everything.toml", |text| {
        format!(
            "{text}\n[facts.directory]\nfile = \"directory.json\"\n\n[spool]\npath = \"spool/attempts\"\n"
        )
    });
    place
}

/// An attempt that is refused for want of the log's key, and is in the log late.
fn spooled(scene: &mut Scene, tally: &mut Tally) {
    let key = pull(&scene.place.signing_key());
    let sent = vec![scene.send(true)];
    assert_eq!(scene.answers(sent, tally), 0, "it ran without the log's key");
    assert!(tally.saw("signer.unavailable"));
    key.back();
    scene.runs(tally);
    until("an empty spool", || (readiness(scene)["spool"]["waiting"] == 0).then_some(()));
}

/// What the daemon says of itself.
fn readiness(scene: &Scene) -> Value {
    let said = get(&Server::socket(&scene.place.socket()), "/readyz");
    said.map_or(Value::Null, |said| serde_json::from_str(&said.body).unwrap())
}

impl Original {
    fn new(killed: bool, tally: &mut Tally, random: &mut Random) -> Self {
        let mut scene = Scene::on(everything());
        scene.start();
        spooled(&mut scene, tally);
        let mut records = 0;
        while records < RECORDS {
            let sent = (0..40).map(|number| scene.send(number % 8 == 0)).collect();
            records += scene.answers(sent, tally);
            let sent = scene.load(random);
            scene.answers(sent, tally);
        }
        scene.settle();
        let keys: Vec<_> = scene.keys.clone();
        let told = scene.repeats(&keys, tally);
        let open = Open::new(&scene);
        scene.end_daemon();
        if killed {
            // Behind a mark.
            scene.start();
            let sent = scene.load(random);
            scene.answers(sent, tally);
            until("the outcomes of all PERMITs but that one", || {
                (scene.place.log().outcomes(None) == 1).then_some(())
            });
            scene.kill();
        }
        let copy = Copy::of(&scene, "original");
        let permits = Permits::read(&scene.place).unwrap();
        let ran = scene.ran(tally);
        let keys = scene.keys.len();
        Self { scene, copy, permits, ran, told, open, keys, found: 0 }
    }

    /// Starts the daemon on flipped files, looks at what it does, and puts the original back.
    fn look(&mut self, what: &str, tally: &mut Tally) -> Came {
        let before = self.scene.ran(tally);
        // On the disk as it is: a daemon may do something about it.
        let checked = self.checked();
        self.scene.other_gate();
        self.scene.spawn(&mut self.scene.serve());
        let came = if self.scene.daemon.as_mut().unwrap().listens() {
            self.ask(what, tally)
        } else {
            tally.violations.push(format!("{what}: the daemon did not start"));
            Came::Refused(Reason::Unwritable)
        };
        self.scene.kill();
        self.compare(what, &before, came, tally);
        match came {
            Came::Harmless => self.check(what, tally),
            Came::Refused(Reason::Found) if checked.is_ok() => {
                tally.violations.push(format!("{what}: `log check` says nothing of what the daemon refuses"));
            }
            Came::Refused(Reason::Found | Reason::Unwritable) => {}
        }
        self.copy.all();
        self.scene.other_gate();
        // Keys that were used since are free again on the restored disk.
        self.scene.keys.truncate(self.keys);
        tally.rounds += 1;
        // What was written is on the disk; whether that is noticed is another question.
        tally.struck += 1;
        self.found += usize::from(came != Came::Harmless);
        came
    }

    /// Asks for all that was asked before, and for something new.
    fn ask(&mut self, what: &str, tally: &mut Tally) -> Came {
        self.scene.opens();
        let (found, refused) = (tally.found(), tally.blocked());
        let sent = (0..3).map(|_| self.scene.send(true)).collect();
        self.scene.answers(sent, tally);
        if let Some(violation) = self.open.end(&self.scene) {
            tally.violations.push(format!("{what}: {violation}"));
        }
        // One that refuses looks at its disk anew before each answer: a few are enough.
        let few = if tally.blocked() > refused { 4 } else { self.told.len() };
        let keys: Vec<_> = self.told.keys().take(few).cloned().collect();
        for (key, answer) in self.scene.repeats(&keys, tally) {
            let before = &self.told[&key];
            if *before != answer && answer["blocked"].is_null() {
                tally.violations.push(format!("{what}: the repeat of {key} was told {answer}, not {before}"));
            }
        }
        if tally.found() > found {
            return Came::Refused(Reason::Found);
        }
        // A busy machine may have answered nothing in time.
        match self.refused_after_scrub() {
            Some(said) if DAMAGE.iter().any(|code| said.contains(code)) => self.goes_on_after(tally),
            Some(_) => Came::Refused(Reason::Unwritable),
            None if tally.blocked() > refused => Came::Refused(Reason::Unwritable),
            None => Came::Harmless,
        }
    }

    /// What was found stays found: a daemon that permits anything behind that says that nothing is wrong, and is held to it.
    fn goes_on_after(&mut self, tally: &mut Tally) -> Came {
        let sent = (0..3).map(|_| self.scene.send(true)).collect();
        if self.scene.answers(sent, tally) > 0 { Came::Harmless } else { Came::Refused(Reason::Found) }
    }

    /// Waits until the scrub has read everything; what the daemon says of itself if it would permit nothing then.
    fn refused_after_scrub(&self) -> Option<String> {
        until("the end of the scrub's first pass", || {
            let said = readiness(&self.scene);
            let text = said.to_string();
            let passed = said["scrub"]["passes"].as_u64().is_some_and(|passes| passes > 0);
            let refused = said["ready"] == false && !text.contains("evidence.recovering");
            (passed || refused).then_some((!passed).then_some(text))
        })
    }

    /// What `log check` says of the disk, with the vault's key; it reads all of it anew.
    fn checked(&self) -> Result<String, String> {
        let config = text(&self.scene.place.config_path);
        run(&["log", "check", "--restart", "--with-key", "--config", &config])
    }

    /// What the daemon went on with is what was signed, and everything is decided again as it was.
    fn check(&self, what: &str, tally: &mut Tally) {
        let config = text(&self.scene.place.config_path);
        for command in [
            &["log", "check", "--restart", "--with-key", "--config", &config][..],
            &["log", "replay", "--config", &config],
        ] {
            match run(command) {
                // To a daemon the keys of an archived bundle may be those of an earlier time. That is said of what is sound alone.
                Err(error) if !error.contains("but nobody vouches for ") => {
                    tally.violations.push(format!("{what}: the daemon went on: {error}"));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Whatever the disk still proves is what it proved before, and covers what ran.
    fn compare(&mut self, what: &str, before: &Ran, came: Came, tally: &mut Tally) {
        let now = self.scene.ran(tally);
        let new = |now: &BTreeSet<String>, before: &BTreeSet<String>, original: &BTreeSet<String>| {
            now.difference(before).chain(original).cloned().collect()
        };
        let ran = Ran {
            keys: new(&now.keys, &before.keys, &self.ran.keys),
            reads: new(&now.reads, &before.reads, &self.ran.reads),
        };
        // What cannot be read proves nothing, and nothing wrong; but to a daemon that goes on it is wrong.
        let mut found = match Permits::read(&self.scene.place) {
            Ok(found) => found,
            Err(error) => {
                if came == Came::Harmless {
                    tally.violations.push(format!("{what}: the daemon went on: {error}"));
                }
                return;
            }
        };
        if came == Came::Harmless && found.records.len() < self.permits.records.len() {
            tally.violations.push(format!("{what}: the daemon went on with fewer records"));
        }
        for (seq, record) in &self.permits.records {
            if found.records.get(seq).is_some_and(|found| found != record) {
                tally.violations.push(format!("{what}: a receipt proves another record {seq}"));
            }
        }
        if found.records.len() >= self.permits.records.len() {
            let from = tally.violations.len();
            found.judge_flipped(&self.permits, &ran, &mut tally.violations);
            for violation in &mut tally.violations[from..] {
                *violation = format!("{what}: {violation}");
            }
        }
    }

    fn end(self, tally: &mut Tally) {
        let ran = self.scene.ran(tally).count();
        tally.executed(ran);
        tally.permitted(self.permits.count);
        tally.note(format!("noticed: {}", self.found));
    }
}

/// What the script prints.
fn flip(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/disks/flip.py");
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_flipped_value_of_any_column_is_found_or_changes_nothing_that_anybody_is_told() {
    let (mut tally, mut random) = Tally::new("a flipped bit in a column of each table");
    let mut original = Original::new(false, &mut tally, &mut random);
    let database = text(&original.scene.database());
    let columns = flip(&[&database]);
    original.copy.all();
    let mut missed = Vec::new();
    for _ in 0..rounds(1, 20) {
        let all = columns.lines().collect();
        for column in if is_long() { all } else { of_each_table(all, &mut random) } {
            let [table, name, rows] = column.split(' ').collect::<Vec<_>>()[..] else { panic!("{column}") };
            let rows: usize = rows.parse().unwrap();
            assert_eq!(rows == 0, table == EMPTY, "rows of `{table}` to be flipped: {rows}");
            if rows == 0 {
                continue;
            }
            let (row, bit) = (random.below(rows).to_string(), random.below(1 << 12).to_string());
            let what = flip(&[&database, table, name, &row, &bit]);
            match original.look(what.trim(), &mut tally) {
                Came::Refused(Reason::Found) => {}
                Came::Refused(Reason::Unwritable) => {
                    tally.violations.push(format!("{what}: refused, but not as damage"));
                }
                Came::Harmless => missed.push(format!("{table}.{name}")),
            }
        }
    }
    assert!(original.found > 0, "no flip was noticed");
    missed.sort();
    missed.dedup();
    tally.note(format!("harmless: {}", missed.join(" ")));
    original.end(&mut tally);
    tally.close();
}

/// One column of each table.
fn of_each_table<'a>(columns: Vec<&'a str>, random: &mut Random) -> Vec<&'a str> {
    let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for column in columns {
        tables.entry(column.split(' ').next().unwrap()).or_default().push(column);
    }
    tables.values().map(|columns| columns[random.below(columns.len())]).collect()
}

/// It lies in a table that no signature covers, and was handed to whoever repeated the key.
#[test]
fn a_flipped_result_was_told_as_if_the_tool_had_said_it() {
    let (mut tally, mut random) = Tally::new("a flipped bit in a kept result");
    let mut original = Original::new(false, &mut tally, &mut random);
    let database = text(&original.scene.database());
    let columns = flip(&[&database]);
    original.copy.all();
    let kept = ["results result", "payloads sealed"];
    let column = columns.lines().find(|line| kept.iter().any(|kept| line.starts_with(kept)));
    let [table, name, rows] = column.unwrap().split(' ').collect::<Vec<_>>()[..] else { panic!("{columns}") };
    assert_ne!(rows, "0");
    for _ in 0..rounds(1, 20) {
        let bit = random.below(1 << 10).to_string();
        flip(&[&database, table, name, "all", &bit]);
        original.look("each kept result flipped", &mut tally);
    }
    assert!(original.found > 0, "no flip was noticed");
    original.end(&mut tally);
    tally.close();
}

/// The files that a ledger keeps.
fn files(scene: &Scene) -> Vec<PathBuf> {
    let database = scene.database();
    let data = &scene.place.config.data;
    let all = [
        database.clone(),
        database.clone(),
        database.clone(),
        database.with_extension("db-wal"),
        scene.place.config.anchor.clone(),
        data.join("released"),
        data.join("ledger/CURRENT"),
    ];
    all.into_iter().filter(|path| path.metadata().is_ok_and(|file| file.len() > 0)).collect()
}

/// Flips some bits of one page, or fills a stretch of it.
fn damage(path: &Path, random: &mut Random) -> String {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let at = random.below(length);
    let count = if random.one_in(4) { 1 + random.below(512) } else { 1 };
    let mut bytes = vec![0; count.min(length - at)];
    let offset = u64::try_from(at).unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    if bytes.len() == 1 {
        bytes[0] ^= 1 << random.below(8);
    } else {
        bytes.fill(u8::try_from(random.below(256)).unwrap());
    }
    file.write_all_at(&bytes, offset).unwrap();
    format!("{} bytes at {at} of {}", bytes.len(), path.file_name().unwrap().display())
}

/// The pages of a database, by number from 0, and their size in bytes (<https://www.sqlite.org/fileformat.html>, 1.3).
fn pages(database: &Path) -> (Vec<usize>, usize) {
    let file = std::fs::read(database).unwrap();
    let size = match u16::from_be_bytes([file[16], file[17]]) {
        1 => 65_536,
        size => usize::from(size),
    };
    assert_eq!(file.len() % size, 0);
    ((0..file.len() / size).collect(), size)
}

/// Flips a bit in each of some pages of a ledger's database: 20 by chance, or in the long form all that are the `part`-th of
/// `parts`.
fn flipped_pages((part, parts): (usize, usize), tally: &mut Tally, random: &mut Random) {
    let mut original = Original::new(false, tally, random);
    let database = original.scene.database();
    let (mut pages, size) = pages(&database);
    let all = pages.len();
    pages.sort_by_cached_key(|_| random.bits());
    pages.truncate(rounds(20, all));
    pages.retain(|page| page % parts == part);
    let mut harmless = Vec::new();
    for page in &pages {
        let file = File::options().read(true).write(true).open(&database).unwrap();
        let at = u64::try_from(page * size + random.below(size)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << random.below(8);
        file.write_all_at(&byte, at).unwrap();
        if original.look(&format!("page {page}, byte {at}"), tally) == Came::Harmless {
            harmless.push(*page);
        }
    }
    assert!(original.found > 0, "no flip was noticed");
    harmless.sort_unstable();
    tally.note(format!("{} of {all} pages, harmless: {harmless:?}", pages.len()));
    original.end(tally);
}

#[test]
fn a_flipped_bit_of_any_page_is_found_or_changes_nothing_that_anybody_is_told() {
    let (mut tally, mut random) = Tally::new("a flipped bit in each page");
    let parts = rounds(1, 3);
    // Most of a round is waiting: each part has a ledger of its own.
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..parts)
            .map(|part| {
                let (mut tally, mut random) = tally.part(&mut random);
                scope.spawn(move || {
                    flipped_pages((part, parts), &mut tally, &mut random);
                    tally
                })
            })
            .collect();
        running.into_iter().for_each(|part| tally.join(part.join().unwrap()));
    });
    tally.close();
}

fn damaged_files(killed: bool, fault: &'static str) {
    let (mut tally, mut random) = Tally::new(fault);
    let mut original = Original::new(killed, &mut tally, &mut random);
    let mut harmless = 0;
    for _ in 0..rounds(8, 600) {
        let files = files(&original.scene);
        let what = damage(&files[random.below(files.len())], &mut random);
        harmless += usize::from(original.look(&what, &mut tally) == Came::Harmless);
    }
    tally.note(format!("harmless: {harmless}"));
    original.end(&mut tally);
    tally.close();
}

#[test]
fn flipped_bits_of_the_files_of_a_closed_ledger_are_found_or_change_nothing() {
    damaged_files(false, "flipped bits in the files of a closed ledger");
}

#[test]
fn flipped_bits_of_the_files_of_a_killed_ledger_are_found_or_change_nothing() {
    damaged_files(true, "flipped bits in the files of a killed ledger");
}

#[test]
fn bits_flipped_under_a_running_daemon_are_found_or_change_nothing() {
    let (mut tally, mut random) = Tally::new("bits flipped under a running daemon");
    let mut original = Original::new(false, &mut tally, &mut random);
    let mut harmless = 0;
    for _ in 0..rounds(6, 300) {
        let before = original.scene.ran(&mut tally);
        original.scene.start();
        original.scene.runs(&mut tally);
        let files = files(&original.scene);
        let mut what = String::new();
        for _ in 0..1 + random.below(3) {
            what = damage(&files[random.below(files.len())], &mut random);
        }
        let sent = original.scene.load(&mut random);
        original.scene.answers(sent, &mut tally);
        // What its scrub had read by then it reads again in hours: the next process does at once.
        original.ask(&what, &mut tally);
        original.scene.kill();
        original.compare(&what, &before, Came::Refused(Reason::Unwritable), &mut tally);
        // And once more by a process that has seen nothing of it.
        harmless += usize::from(original.look(&what, &mut tally) == Came::Harmless);
    }
    tally.note(format!("harmless: {harmless}"));
    original.end(&mut tally);
    tally.close();
}
