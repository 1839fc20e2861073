//! The log's own second key: cosigned checkpoints, receipts that are refreshed into them, and verifiers that demand them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_ledger::{Checkpoints, generate_cosigner};
use portcullis_verify::{
    CosignerKey, CosignerKind, UnverifiedCheckpoint, UnverifiedReceipt, VerifiedCheckpoint,
};
use serde_json::{Value, json};

use crate::rollback::{back_up, restore};
use crate::support::http::get;
use crate::support::witnesses::private;
use crate::support::{Daemon, Gate, Place, WitnessProcess, demo_server, program, text, until};

/// A deployment with a second key, which the arbiter uses if `by_itself`.
struct Cosigned {
    place: Place,
    key: CosignerKey,
    file: PathBuf,
}

impl Cosigned {
    fn new(by_itself: bool, more: &str) -> Self {
        let mut place = Place::demo();
        place.file("journal", "");
        let name = place.config.log_key.name().to_string();
        let (secret, key) = generate_cosigner(&name, CosignerKind::MlDsa44).unwrap();
        let file = place.path("keys/second.key");
        private(&file, &secret);
        let key_file = if by_itself { "key_file = \"keys/second.key\"\n" } else { "" };
        place.add_sections(&format!("[cosigning]\nkey = \"{key}\"\n{key_file}{more}"));
        Self { place, key, file }
    }

    fn calls(&self, count: usize) {
        let mut gate = Gate::start(&self.place.config_path, &demo_server(&self.place.path("journal")));
        for _ in 0..count {
            gate.call("read_balance", json!({ "account": "acme" })).ran();
        }
        assert!(gate.end().success());
    }

    /// Takes up what a command did to the configuration.
    fn reconfigured(&mut self) {
        self.place.config =
            portcullis_server::Config::read(&self.place.config_path).unwrap().arbiter().unwrap();
    }

    /// The newest checkpoint that the second key cosigned.
    fn newest(&self) -> Option<VerifiedCheckpoint> {
        let kept = Checkpoints::of(&self.place.config.data, self.place.config.log_keys.clone());
        kept.newest(|head| head.cosigned_by(std::slice::from_ref(&self.key)).is_ok())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).arg("--config").arg(&self.place.config_path).output().unwrap()
    }

    /// What `verify` says of a file, where the second key's cosignature is demanded.
    fn demanded(&self, file: &Path) -> Result<String, String> {
        let (log, key, file) = (self.place.config.log_key.to_string(), self.key.to_string(), text(file));
        let signs = self.place.config.signers.authority().unwrap().keys()[0].to_string();
        let mut command = Command::new(program());
        command.args(["verify", "--key", &log, "--require-cosigner", &key, "--bundle-key", &signs, &file]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    fn missing(&self) -> String {
        format!("NOT VERIFIED: `{}` (ML-DSA-44) did not cosign the checkpoint", self.key.name())
    }
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "`{why}`: {said}");
}

#[test]
fn receipts_are_refreshed_into_cosigned_checkpoints_and_others_are_refused_where_the_second_key_is_demanded()
{
    let cosigned = Cosigned::new(false, "");
    cosigned.calls(2);
    let (place, file) = (&cosigned.place, text(&cosigned.file));
    let show = |name: &str, more: &[&str]| -> PathBuf {
        let seq = place.rows()[0].record.seq.to_string();
        let receipt = ok(cosigned.run(&[&["receipts", "show", &seq], more].concat()));
        place.file(name, &receipt)
    };
    // No key file is named, and nobody cosigned yet.
    assert!(cosigned.newest().is_none());
    refused(&cosigned.run(&["log", "cosign"]), "give --key");
    refused(&cosigned.run(&["log", "export", &text(&place.path("none")), "--cosigned"]), "log cosign");
    assert!(cosigned.demanded(&show("before", &[])).unwrap_err().contains(&cosigned.missing()));

    ok(cosigned.run(&["log", "cosign", "--key", &file]));
    let head = cosigned.newest().unwrap();
    cosigned.calls(1);
    assert!(cosigned.place.log().records.len() > usize::try_from(head.size()).unwrap());
    let refreshed = show("refreshed", &[]);
    let said = cosigned.demanded(&refreshed).unwrap();
    assert!(said.contains("verified"), "{said}");
    let proof = std::fs::read(&refreshed).unwrap();
    let verified = UnverifiedReceipt::parse(&proof).unwrap().verify_with(&place.config.log_keys).unwrap();
    assert_eq!(verified.checkpoint().checkpoint(), head.checkpoint());
    // The same under the newest head has the log's own signature alone.
    assert!(cosigned.demanded(&show("at-head", &["--at-head"])).unwrap_err().contains(&cosigned.missing()));
    // A record that no cosigned checkpoint covers has no other receipt than that.
    let newest = place.rows().last().unwrap().record.seq;
    assert!(newest > head.size());
    let uncovered = place.file("uncovered", &ok(cosigned.run(&["receipts", "show", &newest.to_string()])));
    assert!(cosigned.demanded(&uncovered).unwrap_err().contains(&cosigned.missing()));

    // Any byte of the second key's line is demanded to be right, and its line in another receipt says nothing there.
    let receipt = String::from_utf8(proof).unwrap();
    let line = receipt.lines().last().unwrap();
    for at in [line.len() / 3, line.len() / 2, line.len() - 40] {
        let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = line.to_owned();
        changed.replace_range(at..=at, other);
        let error = cosigned.demanded(&place.file("changed", &receipt.replace(line, &changed))).unwrap_err();
        assert!(error.contains("is wrong: the checkpoint was altered"), "{error}");
    }
    let transplanted = format!("{}{line}\n", std::fs::read_to_string(&uncovered).unwrap());
    let error = cosigned.demanded(&place.file("transplanted", &transplanted)).unwrap_err();
    assert!(error.contains("is wrong: the checkpoint was altered"), "{error}");
    let stripped = receipt.replace(&format!("{line}\n"), "");
    assert!(cosigned.demanded(&place.file("stripped", &stripped)).unwrap_err().contains(&cosigned.missing()));
}

/// Some of them verified where the second key was demanded and some did not, and nobody had said so.
#[test]
fn exported_receipts_were_under_a_cosigned_checkpoint_or_not_without_a_word() {
    let cosigned = Cosigned::new(false, "");
    cosigned.calls(2);
    let place = &cosigned.place;
    let cosign = || ok(cosigned.run(&["log", "cosign", "--key", &text(&cosigned.file)]));
    let export = |name: &str, more: &[&str]| {
        let directory = place.path(name);
        let output = cosigned.run(&[&["receipts", "export", &text(&directory), "--json"], more].concat());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let files: Vec<PathBuf> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(said["receipts"], json!(files.len()), "{said}");
        let demanded = files.iter().filter(|file| cosigned.demanded(file).is_ok()).count();
        assert_eq!(said["cosigned"], json!(demanded), "{said}");
        let of = ["cosigned", "not_cosigned", "left_out"].map(|count| said[count].as_u64().unwrap());
        (output, of, said["why_not"].as_str().unwrap_or("").to_owned())
    };
    let told = |name: &str, more: &[&str], words: &str| {
        let said = ok(cosigned.run(&[&["receipts", "export", &text(&place.path(name))], more].concat()));
        assert!(said.contains(words), "`{words}`: {said}");
    };
    let (output, counts, why) = export("none", &[]);
    assert_eq!((output.status.code(), counts, &*why), (Some(0), [0, 2, 0], "none_cosigned"));
    told("none", &[], "2 of them under the newest head, which nobody cosigned: no checkpoint of this log is");
    let (output, counts, why) = export("none-demanded", &["--cosigned"]);
    assert_eq!((output.status.code(), counts, &*why), (Some(1), [0, 0, 2], "none_cosigned"));
    refused(&output, "2 receipts are left out: no checkpoint of this log is cosigned");

    cosign();
    cosigned.calls(1);
    let size = cosigned.newest().unwrap().size();
    let (output, counts, why) = export("some", &[]);
    assert_eq!((output.status.code(), counts, &*why), (Some(0), [2, 1, 0], "newer_than_checkpoint"));
    told("some", &[], &format!("2 of them under the cosigned checkpoint of {size} records"));
    told(
        "some",
        &[],
        &format!(
            "1 of them under the newest head, which nobody cosigned: the cosigned checkpoint covers {size}"
        ),
    );
    let (output, counts, why) = export("some-demanded", &["--cosigned"]);
    assert_eq!((output.status.code(), counts, &*why), (Some(1), [2, 0, 1], "newer_than_checkpoint"));
    refused(&output, "1 receipts are left out: the cosigned checkpoint covers");
    let newest = place.rows().last().unwrap().record.seq.to_string();
    let show = ["receipts", "show", &newest, "--cosigned"];
    refused(&cosigned.run(&show), &format!("no cosigned checkpoint covers record {newest}"));
    let (output, counts, why) = export("head", &["--at-head"]);
    assert_eq!((output.status.code(), counts, &*why), (Some(0), [0, 3, 0], "at_head"));
    told(
        "head",
        &["--at-head"],
        "3 of them under the newest head, which nobody cosigned: --at-head asked for that",
    );
    refused(&cosigned.run(&[&show[..], &["--at-head"]].concat()), "cannot be used with");

    cosign();
    let (output, counts, why) = export("all", &["--cosigned"]);
    assert_eq!((output.status.code(), counts, &*why), (Some(0), [3, 0, 0], ""));
    ok(cosigned.run(&show));
}

/// What only the key signed that was replaced was attested and packed by nobody any more, and the key that is to follow, and the
/// one that was replaced, attested like any other.
#[test]
fn over_a_rotation_receipts_attestations_and_packs_are_proved_by_the_keys_of_their_time() {
    let mut cosigned = Cosigned::new(false, "");
    let attests = text(&cosigned.place.path("keys/attest.key"));
    ok(cosigned.run(&["keys", "generate", &attests, "--name", "example.org/attest"]));
    let old_file = text(&cosigned.place.path("keys/log.key"));
    let seq = |cosigned: &Cosigned, last: bool| {
        let rows = cosigned.place.rows();
        rows[if last { rows.len() - 1 } else { 0 }].record.seq.to_string()
    };
    let attested = |cosigned: &Cosigned, key: &str| {
        let seq = seq(cosigned, false);
        cosigned.run(&["receipts", "show", &seq, "--format", "dsse", "--key", key])
    };
    cosigned.calls(2);
    ok(cosigned.run(&["log", "cosign", "--key", &text(&cosigned.file)]));
    let before = ok(cosigned.run(&["receipts", "show", &seq(&cosigned, false), "--at-head"]));
    let before = cosigned.place.file("before", &before);
    let old = cosigned.place.config.log_key.clone();

    ok(cosigned.run(&["keys", "rotate"]));
    cosigned.reconfigured();
    let (new, signer) = cosigned.place.config.next.clone().unwrap();
    let new_file = text(signer.key_file().unwrap());
    for key in [&old_file, &new_file] {
        refused(&attested(&cosigned, key), "signs the log; make a key for attestations");
    }
    cosigned.calls(1);
    ok(cosigned.run(&["keys", "rotate", "--finish"]));
    cosigned.reconfigured();
    cosigned.calls(1);
    refused(&attested(&cosigned, &old_file), "signed the log before; make a key for attestations");
    refused(&attested(&cosigned, &new_file), "signs the log; make a key for attestations");
    assert_eq!(cosigned.place.config.log_key, new);
    let retired = cosigned.place.config.log_keys.all().iter().find(|key| key.key == old).unwrap().to_string();
    let (old, new) = (old.to_string(), new.to_string());
    let verifies = |keys: &[&str], file: &Path| {
        let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", key]).collect();
        let mut command = Command::new(program());
        command.arg("verify").args(keys).arg(file).output().unwrap().status.code() == Some(0)
    };

    // Each attestation has a receipt by a key of its time.
    let folder = cosigned.place.path("attestations");
    ok(cosigned.run(&["receipts", "export", "--format", "dsse", "--key", &attests, &text(&folder)]));
    let mut by = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let envelope: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let payload = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            envelope["payload"].as_str().unwrap(),
        );
        let statement: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
        let receipt = cosigned.place.file("inner", statement["predicate"]["receipt"].as_str().unwrap());
        assert!(verifies(&[&new, &retired], &receipt));
        *by.entry((verifies(&[&old], &receipt), verifies(&[&new], &receipt))).or_insert(0) += 1;
    }
    assert_eq!(by.into_iter().collect::<Vec<_>>(), [((false, true), 2), ((true, false), 2)]);
    assert!(verifies(&[&retired], &before) && !verifies(&[&new], &before));

    // A pack is under one head: the newest is by the new key, the cosigned one by the old. What is printed verifies it.
    let by_what_is_said = |arguments: &[&str], file: &str| {
        let said = ok(cosigned.run(arguments));
        let line = said.lines().find_map(|line| line.strip_prefix("verify: portcullis ")).unwrap().to_owned();
        let output =
            Command::new("sh").args(["-c", &format!("{} {line}", text(&program()))]).output().unwrap();
        assert!(output.status.success(), "{file}: {line}: {output:?}");
        line
    };
    let (whole, cut) = (text(&cosigned.place.path("whole.tar")), text(&cosigned.place.path("cut.tar")));
    let line = by_what_is_said(&["evidence", "pack", "--out", &whole], &whole);
    assert!(line.contains(&new) && !line.contains(&old), "{line}");
    let line = by_what_is_said(&["evidence", "pack", "--out", &cut, "--cosigned"], &cut);
    assert!(line.contains(&format!("--key '{retired}'")) && !line.contains(&new), "{line}");
    let (tiles, cut) = (text(&cosigned.place.path("tiles")), text(&cosigned.place.path("cut")));
    assert!(by_what_is_said(&["log", "export", &tiles], &tiles).contains(&new));
    assert!(by_what_is_said(&["log", "export", &cut, "--cosigned"], &cut).contains(&retired));

    // Revoked, it proves nothing, and all of it is proved anew.
    ok(cosigned.run(&["keys", "revoke", &old]));
    cosigned.reconfigured();
    let revoked = format!("{old} revoked");
    assert!(!verifies(&[&new, &revoked], &before));
    refused(&attested(&cosigned, &old_file), "signed the log, and is revoked; make a key");
    for last in [false, true] {
        let receipt = ok(cosigned.run(&["receipts", "show", &seq(&cosigned, last)]));
        assert!(verifies(&[&new, &revoked], &cosigned.place.file("anew", &receipt)));
    }
    refused(
        &cosigned.run(&["evidence", "pack", "--cosigned", "--out", &cut]),
        "no checkpoint of this log is cosigned",
    );
}

#[test]
fn exported_logs_and_packs_carry_the_cosignatures_and_are_refused_without_where_they_are_demanded() {
    let cosigned = Cosigned::new(false, "");
    cosigned.calls(3);
    ok(cosigned.run(&["log", "cosign", "--key", &text(&cosigned.file)]));
    cosigned.calls(1);
    let place = &cosigned.place;
    let verify = |directory: &Path| {
        let (log, key, directory) =
            (place.config.log_key.to_string(), cosigned.key.to_string(), text(directory));
        let arguments = ["log", "verify", &directory, "--key", &log, "--require-cosigner", &key];
        Command::new(program()).args(arguments).output().unwrap()
    };
    let (with, without) = (place.path("with"), place.path("without"));
    ok(cosigned.run(&["log", "export", &text(&with), "--cosigned"]));
    ok(verify(&with));
    ok(cosigned.run(&["log", "export", &text(&without)]));
    let output = verify(&without);
    assert!(String::from_utf8_lossy(&output.stdout).contains("did not cosign the checkpoint"), "{output:?}");
    let mut checkpoint = std::fs::read_to_string(with.join("checkpoint")).unwrap();
    let at = checkpoint.len() - 1_000;
    let other = if checkpoint.as_bytes()[at] == b'A' { "B" } else { "A" };
    checkpoint.replace_range(at..=at, other);
    std::fs::write(with.join("checkpoint"), checkpoint).unwrap();
    let output = verify(&with);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("is wrong: the checkpoint was altered"),
        "{output:?}"
    );

    let (pack, plain) = (place.path("pack.tar"), place.path("plain.tar"));
    ok(cosigned.run(&["evidence", "pack", "--out", &text(&pack), "--cosigned"]));
    ok(cosigned.run(&["evidence", "pack", "--out", &text(&plain)]));
    assert!(cosigned.demanded(&pack).unwrap().contains("verified"));
    assert!(cosigned.demanded(&plain).unwrap_err().contains(&cosigned.missing()));
}

#[test]
fn the_arbiter_cosigns_beside_its_work_and_shows_it() {
    let cosigned = Cosigned::new(true, "interval_ms = 20\n\n[log]\npublic = true\n");
    let daemon = Daemon::start(&cosigned.place);
    let shown = until("a checkpoint with the second key's line", || {
        let note = get(&daemon.server(), "/log/checkpoint").ok()?.body;
        let head = UnverifiedCheckpoint::parse(note.as_bytes()).ok()?;
        let head = head.verify_with(&cosigned.place.config.log_keys).unwrap();
        head.cosigned_by(std::slice::from_ref(&cosigned.key)).ok().map(|found| (head, found))
    });
    assert!(shown.1[0].time() > 1_700_000_000);
    let health: Value = serde_json::from_str(&get(&daemon.server(), "/readyz").unwrap().body).unwrap();
    assert!(health["cosigning"]["size"].as_u64().unwrap() >= shown.0.size(), "{health}");
    // Without the key nothing is cosigned, which is told, and everything else goes on.
    std::fs::rename(&cosigned.file, cosigned.place.path("away")).unwrap();
    let before = cosigned.newest().unwrap().size();
    let gate_config = cosigned.place.elsewhere(&cosigned.place.socket_url());
    let mut gate = Gate::start(&gate_config, &demo_server(&cosigned.place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    until("the error in the health", || {
        let health: Value = serde_json::from_str(&get(&daemon.server(), "/readyz").ok()?.body).ok()?;
        assert_eq!(health["ready"], true, "{health}");
        health["cosigning"]["error"].is_string().then_some(())
    });
    assert_eq!(cosigned.newest().unwrap().size(), before);
    std::fs::rename(cosigned.place.path("away"), &cosigned.file).unwrap();
    until("a newer cosigned checkpoint", || (cosigned.newest()?.size() > before).then_some(()));
}

#[test]
fn records_bring_the_next_cosignature_before_its_time_and_fewer_do_not() {
    let cosigned = Cosigned::new(true, "interval_ms = 3600000\nrecords = 20\n");
    let gate_config = cosigned.place.elsewhere(&cosigned.place.socket_url());
    let _daemon = Daemon::start(&cosigned.place);
    let first = until("the first cosigned checkpoint", || cosigned.newest()).size();
    let mut gate = Gate::start(&gate_config, &demo_server(&cosigned.place.path("journal")));
    let mut call = || gate.call("read_balance", json!({ "account": "acme" })).ran().to_owned();
    (0..2).for_each(|_| drop(call()));
    assert_eq!(cosigned.newest().unwrap().size(), first);
    (0..12).for_each(|_| drop(call()));
    let second =
        until("the second cosigned checkpoint", || cosigned.newest().filter(|head| head.size() > first));
    assert!(second.size() >= first + 20);
}

#[test]
fn a_log_that_is_shown_under_cosigned_checkpoints_shows_no_other_head() {
    let cosigned = Cosigned::new(false, "\n[log]\npublic = true\ncosigned = true\n");
    cosigned.calls(130);
    let daemon = Daemon::start(&cosigned.place);
    assert_eq!(get(&daemon.server(), "/log/checkpoint").unwrap().status, 404, "nothing is cosigned yet");
    ok(cosigned.run(&["log", "cosign", "--key", &text(&cosigned.file)]));
    let head = cosigned.newest().unwrap();
    assert!(head.size() > 256);
    let mut gate = Gate::start(
        &cosigned.place.elsewhere(&cosigned.place.socket_url()),
        &demo_server(&cosigned.place.path("journal")),
    );
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    let shown = get(&daemon.server(), "/log/checkpoint").unwrap();
    assert_eq!(shown.body.as_bytes(), head.note_bytes());
    // An answer that is no text is a tile.
    let is_there = |path: &str| get(&daemon.server(), path).map_or(true, |answer| answer.status == 200);
    assert!(is_there("/log/tile/0/000"));
    let width = head.size() - 256;
    assert!(is_there(&format!("/log/tile/0/001.p/{width}")));
    assert!(!is_there(&format!("/log/tile/0/001.p/{}", width + 1)));
}

#[test]
fn what_does_not_contain_what_was_cosigned_before_is_not_cosigned() {
    let cosigned = Cosigned::new(false, "");
    let (place, file) = (&cosigned.place, text(&cosigned.file));
    let (secret, _) = generate_cosigner(cosigned.key.name().as_str(), CosignerKind::MlDsa44).unwrap();
    private(&place.path("keys/third.key"), &secret);
    cosigned.calls(1);
    refused(&cosigned.run(&["log", "cosign", "--key", &text(&place.path("keys/third.key"))]), "another key");
    refused(&cosigned.run(&["log", "cosign", "--key", &text(&place.path("keys/log.key"))]), "key");
    back_up(place);
    cosigned.calls(5);
    ok(cosigned.run(&["log", "cosign", "--key", &file]));
    let kept = place.config.data.join("checkpoints");
    let away = place.path("checkpoints");
    assert!(Command::new("cp").arg("-a").args([&kept, &away]).status().unwrap().success());
    restore(place);
    assert!(Command::new("cp").arg("-a").args([&away, &kept]).status().unwrap().success());
    let why = "was cosigned that it does not contain";
    refused(&cosigned.run(&["log", "cosign", "--key", &file]), why);
    // Grown beyond it, by another history, it does not contain it either.
    cosigned.calls(20);
    refused(&cosigned.run(&["log", "cosign", "--key", &file]), why);
    let seq = place.rows()[0].record.seq.to_string();
    refused(&cosigned.run(&["receipts", "show", &seq]), why);
    refused(&cosigned.run(&["log", "export", &text(&place.path("log")), "--cosigned"]), why);
    ok(cosigned.run(&["receipts", "show", &seq, "--at-head"]));
}

#[test]
fn witnesses_and_the_second_key_are_on_one_checkpoint() {
    let mut cosigned = Cosigned::new(true, "interval_ms = 20\n");
    let witness = WitnessProcess::start(&cosigned.place, "w1", CosignerKind::Ed25519);
    cosigned.place.watched_by(1, &[witness.section("w1")]);
    let daemon = Daemon::start(&cosigned.place);
    let keys = [cosigned.key.clone(), witness.key.clone()];
    let kept = Checkpoints::of(&cosigned.place.config.data, cosigned.place.config.log_keys.clone());
    let head = until("a checkpoint with both lines", || kept.newest(|head| head.cosigned_by(&keys).is_ok()));
    assert_eq!(head.cosignatures(&keys).unwrap().len(), 2);
    drop(daemon);
}
