//! What a power cut may take back is built on by nobody: the order in which files and their names are synced, as strace(1) sees it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{Scene, Tally};
use crate::strace::{Traced, Tracer, lines, under_strace};
use crate::support::{Place, program, text, until};

const PATHS: &str = "decode-fds=path";
const SYNCS: [&str; 2] = ["fsync(", "fdatasync("];

/// Whether a call is one of these, on this very file.
fn is_of(line: &str, calls: &[&str], file: &Path) -> bool {
    calls.iter().any(|call| line.contains(&format!(" {call}"))) && line.contains(&format!("<{}>", text(file)))
}

/// Where the first sync of a file is, if it is before `end`.
fn synced(calls: &[String], file: &Path, end: usize) -> Option<usize> {
    calls[..end].iter().position(|line| is_of(line, &SYNCS, file))
}

/// Files of a deployment's ledger.
struct Files {
    log: std::path::PathBuf,
    database: std::path::PathBuf,
    anchor: std::path::PathBuf,
}

impl Files {
    fn of(place: &Place) -> Self {
        let folder = std::fs::canonicalize(place.config.data.join("ledger/000001")).unwrap();
        let anchor = std::fs::canonicalize(&place.config.anchor).unwrap();
        Self { log: folder.join("ledger.db-wal"), database: folder.join("ledger.db"), anchor }
    }

    /// Each must be synced before the process writes of its own: the file, or the folder that names it.
    fn looked_at(&self) -> [&Path; 5] {
        let generation = self.database.parent().unwrap();
        [&self.log, &self.anchor, self.anchor.parent().unwrap(), generation, generation.parent().unwrap()]
    }
}

/// A scene whose daemon was killed while the newest records lay in the write-ahead log.
fn killed(tally: &mut Tally) -> Scene {
    let mut scene = Scene::new();
    scene.start();
    let sent = vec![scene.send(true), scene.send(false)];
    scene.answers(sent, tally);
    scene.kill();
    scene
}

/// Opens the ledger under strace. The calls up to the first of the process's own records.
fn opening(scene: &mut Scene, files: &Files) -> Vec<String> {
    let rules = ["trace=fsync,fdatasync,pwrite64".to_owned(), PATHS.to_owned()];
    let mut command = scene.serve_traced(&rules);
    scene.spawn(&mut command);
    until("an open ledger", || scene.opens().then_some(()));
    scene.kill();
    let mut calls = lines(&scene.log());
    let own = calls.iter().position(|line| is_of(line, &["pwrite64("], &files.log));
    calls.truncate(own.expect("the opening is on record"));
    calls
}

/// The daemon before it had ended without syncing what it wrote: what is read is there, and is gone after a power cut.
#[test]
fn a_start_built_on_what_nobody_had_synced() {
    let mut tally = Tally::new("the order of an opening").0;
    let mut scene = killed(&mut tally);
    let files = Files::of(&scene.place);
    let calls = opening(&mut scene, &files);
    for file in files.looked_at() {
        assert!(synced(&calls, file, calls.len()).is_some(), "{} in {calls:#?}", file.display());
    }
    let written =
        calls.iter().position(|line| is_of(line, &["pwrite64("], &files.database)).expect("a checkpoint");
    assert!(synced(&calls, &files.log, written).is_some(), "{calls:#?}");
}

/// A reader of what is in the database already keeps the write-ahead log from being written there, and from being synced by that.
#[test]
fn a_start_beside_a_reader_built_on_a_log_that_nobody_had_synced() {
    let mut tally = Tally::new("the order of an opening beside a reader").0;
    let mut scene = Scene::new();
    scene.start();
    let files = Files::of(&scene.place);
    let program = "import sqlite3,sys\n\
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        print(connection.execute('PRAGMA wal_checkpoint(PASSIVE)').fetchone()[0])\n\
        connection.execute('BEGIN'); connection.execute('SELECT count(*) FROM records').fetchone()\n\
        print('reading', flush=True); sys.stdin.read()";
    let mut reader = Command::new("python3");
    reader.args(["-c", program]).arg(&files.database).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().expect("python3: `cargo xtask test` installs it");
    let mut told = BufReader::new(reader.stdout.take().unwrap()).lines();
    let mut next = || told.next().unwrap().unwrap();
    assert_eq!([next(), next()], ["0", "reading"]);
    let sent = vec![scene.send(true), scene.send(false)];
    scene.answers(sent, &mut tally);
    scene.kill();
    let calls = opening(&mut scene, &files);
    drop(reader.stdin.take());
    assert!(reader.wait().unwrap().success());
    assert!(synced(&calls, &files.log, calls.len()).is_some(), "{calls:#?}");
}

#[test]
fn a_permit_left_before_what_it_stands_on_was_synced() {
    let mut tally = Tally::new("the order of a decision").0;
    let mut scene = Scene::new();
    scene.start();
    let files = Files::of(&scene.place);
    let sent = vec![scene.send(true)];
    scene.answers(sent, &mut tally);
    scene.settle();
    let log = scene.place.path("calls");
    let rules = ["trace=fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg".to_owned(), PATHS.to_owned()];
    let tracer = Tracer::attach(Traced::Process(scene.pid()), &rules, &log);
    let sent = vec![scene.send(true)];
    assert_eq!(scene.answers(sent, &mut tally), 1);
    let calls = tracer.detach();
    let after = |start: usize, what: &dyn Fn(&str) -> bool| {
        let found = calls[start..].iter().position(|line| what(line)).map(|at| start + at);
        found.unwrap_or_else(|| panic!("from {start} on in {calls:#?}"))
    };
    let written = after(0, &|line| is_of(line, &["pwrite64("], &files.log));
    let answered = after(written, &|line| line.contains("HTTP/1.1 200"));
    let steps: [(&[&str], &Path); 3] =
        [(&SYNCS, &files.log), (&["pwrite64("], &files.anchor), (&SYNCS, &files.anchor)];
    let mut at = written;
    for (calls, file) in steps {
        at = after(at, &|line| is_of(line, calls, file));
    }
    assert!(at < answered, "{calls:#?}");
}

/// The file and its name: who was told that a key is revoked found it counting again after a power cut.
#[test]
fn a_configuration_that_was_changed_was_the_old_one_after_a_power_cut() {
    let place = Place::demo();
    let folder = std::fs::canonicalize(place.folder()).unwrap();
    let stranger = portcullis_ledger::generate(place.config.log_key.name().as_str()).unwrap().1.to_string();
    let known = place.configure("known.toml", |text| {
        text.replacen("\n[policy]", &format!("\nother_log_keys = [\"{stranger}\"]\n\n[policy]"), 1)
    });
    let known = std::fs::canonicalize(known).unwrap();
    let rules = ["trace=fsync,fdatasync,rename,renameat,renameat2".to_owned(), PATHS.to_owned()];
    let keys = |name: &str, arguments: &[&str]| {
        let log = place.path(name);
        let mut command = under_strace(&program(), &rules, &log);
        command.arg("keys").args(arguments).arg("--config").arg(&known);
        let output = command.output().expect("strace: `cargo xtask test` installs it");
        assert!(output.status.success(), "{output:?}");
        lines(&log)
    };
    let temporary = known.with_file_name("known.toml.new");
    let named = |line: &str| line.contains(" rename") && line.contains(&format!("\"{}\"", text(&known)));
    for (name, arguments) in [("revoked", &["revoke", &stranger][..]), ("rotated", &["rotate"])] {
        let calls = keys(name, arguments);
        let renamed = calls.iter().position(|line| named(line)).expect("a new configuration");
        assert!(synced(&calls, &temporary, renamed).is_some(), "{calls:#?}");
        assert!(calls[renamed..].iter().any(|line| is_of(line, &SYNCS, &folder)), "{calls:#?}");
        // The key file is there when the configuration says so.
        let made = synced(&calls, &folder.join("keys"), renamed).is_some();
        assert_eq!(made, name == "rotated", "{calls:#?}");
    }
}
