//! `portcullis evidence pack`, and what `portcullis verify` says of what it made.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bundles::{rooted, team};
use crate::check::exchange_signatures;
use crate::support::{Gate, Place, demo_server, text};
use crate::{Ended, run, with};

/// A deployment with a read, two charges and a refusal in its log.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    for key in ["a", "b"] {
        gate.call_with("charge", &json!({ "account": "acme", "amount": "12.50" }), Some(key)).ran();
    }
    assert_eq!(gate.call("delete_everything", json!({})).code(), "surface.unknown");
    assert!(gate.end().success());
    place
}

fn pack(place: &Place, name: &str, more: &[&str]) -> PathBuf {
    let file = place.path(name);
    let said = with(&place.config_path, &[&["evidence", "pack", "--out", &text(&file)], more].concat());
    assert!(said.ok().contains("verify: portcullis verify"), "{said:?}");
    file
}

fn verify(place: &Place, file: &std::path::Path, more: &[&str]) -> Ended {
    run(&[&["verify", "--key", &place.config.log_key.to_string(), &text(file)], more].concat())
}

/// What is said of a pack whose bundles' signatures nobody asked for.
fn json(place: &Place, file: &std::path::Path) -> Value {
    let ended = verify(place, file, &["--json"]);
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    let bundles = said["bundle_signatures"]["not_looked_at"].as_array().unwrap();
    assert_eq!(
        (ended.code, &said["verified"]),
        (if bundles.is_empty() { 0 } else { 2 }, &json!(true)),
        "{said}"
    );
    assert_eq!(said["whole"], json!(bundles.is_empty()), "{said}");
    said
}

/// Whether a pack was said to be verified but for the signatures of its bundles, and nothing more.
fn is_not_looked_at(said: &Ended) -> bool {
    let but = ": verified, but for the signatures of its bundles, which were NOT LOOKED AT\n";
    said.code == 2 && said.err.is_empty() && said.out.contains(but) && !said.out.contains(": verified\n")
}

#[test]
fn a_pack_of_everything_verifies_with_the_public_key_alone_and_no_byte_of_it_can_change() {
    let place = place();
    let file = pack(&place, "all.tar", &[]);
    let log = place.log();
    let verified = json(&place, &file);
    assert_eq!(verified["records"].as_array().unwrap().len(), log.records.len());
    assert_eq!((&verified["first"], &verified["withheld"]), (&json!(0), &json!(0)));
    let said = verify(&place, &file, &[]);
    assert!(is_not_looked_at(&said) && said.out.contains("None is left"), "{said:?}");

    let bytes = std::fs::read(&file).unwrap();
    let bad = place.path("bad.tar");
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&bad, changed).unwrap();
        let said = verify(&place, &bad, &[]);
        assert!(said.code == 1 && said.out.contains("NOT VERIFIED"), "byte {at}: {said:?}");
    }
    for end in [bytes.len() - 1, bytes.len() - 512, bytes.len() / 2] {
        std::fs::write(&bad, &bytes[..end]).unwrap();
        let said = verify(&place, &bad, &[]);
        assert!(said.code == 1 && said.out.contains("cut short"), "cut at {end}: {said:?}");
    }
    let other = Place::demo();
    let said = verify(&other, &file, &[]);
    assert!(said.code == 1 && said.out.contains("NOT VERIFIED"), "{said:?}");
    // The same log and the same claim give the same file.
    assert_eq!(std::fs::read(pack(&place, "again.tar", &[])).unwrap(), bytes);
    with(&place.config_path, &["evidence", "pack", "--out", &text(&file)]).failed("cannot be written");
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "an existing file is left alone");
}

/// What a record names a bundle by does not cover its signatures, and a pack whose bundle had lost them, or had others, verified
/// without a word of it.
#[test]
fn a_pack_verified_though_the_signature_of_its_bundle_was_altered_or_stripped() {
    let place = place();
    let whole = pack(&place, "all.tar", &[]);
    let key = place.config.signers.authority().unwrap().keys()[0].to_string();
    let said = verify(&place, &whole, &[]);
    assert!(is_not_looked_at(&said), "{said:?}");
    let signatures = json(&place, &whole)["bundle_signatures"].clone();
    assert!(signatures["checked"] == false && signatures.get("signers").is_none(), "{signatures}");
    assert_eq!(signatures["not_looked_at"].as_array().unwrap().len(), 1, "{signatures}");
    assert!(verify(&place, &whole, &["--bundle-key", &key]).ok().contains(": verified\n"));
    let said = verify(&place, &whole, &["--bundle-key", &key, "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert_eq!((&said["verified"], &said["whole"]), (&json!(true), &json!(true)), "{said}");
    let signers = said["bundle_signatures"]["signers"].as_object().unwrap();
    assert!(!signers.is_empty() && signers.values().all(|by| *by == json!([key])), "{said}");
    let other = portcullis_server::new_key(&place.path("other.key"), "portcullis.test/other").unwrap();
    let said = verify(&place, &whole, &["--bundle-key", &other.to_string()]);
    assert!(
        said.code == 1 && said.out.contains("NOT VERIFIED: nobody vouches for bundle sha256:"),
        "{said:?}"
    );

    let digest = signers.keys().next().unwrap().clone();
    let signature = std::fs::read(place.config.bundle.join("bundle.sig")).unwrap();
    let mut altered = signature.clone();
    let last = altered.len() - 6;
    altered[last] = if altered[last] == b'A' { b'B' } else { b'A' };
    // By the text that was signed alone, which has nobody's signature.
    let end = signature.windows(2).position(|two| two == b"\n\n").unwrap() + 2;
    for (what, bytes, words) in [
        ("altered", altered.as_slice(), "does not verify: the signature of"),
        ("stripped", &signature[..end], "has no signature in it"),
    ] {
        let copy = place.copied();
        exchange_signatures(&copy, &signature, bytes);
        // Nothing that passes for evidence is made of it.
        let changed = copy.path(&format!("{what}.tar"));
        let said = with(&copy.config_path, &["evidence", "pack", "--out", &text(&changed)]);
        said.failed("are not those that it was archived with");
        assert!(
            said.err.contains(words) && said.err.contains(&digest) && !changed.exists(),
            "{what}: {said:?}"
        );
    }
}

/// A pack was made, without a word, of a bundle for which nobody vouched any more.
#[test]
fn a_pack_of_a_bundle_for_which_nobody_vouches_says_so_with_its_digest() {
    let place = place();
    let own = place.config.signers.authority().unwrap().keys()[0].to_string();
    let other = portcullis_server::new_key(&place.path("other.key"), "portcullis.test/other").unwrap();
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    std::fs::write(&place.config_path, config.replace(&own, &other.to_string())).unwrap();
    let packed = |name: &str, more: &[&str]| {
        let out = text(&place.path(name));
        with(&place.config_path, &[&["evidence", "pack", "--out", &out], more].concat())
    };
    let said = packed("plain.tar", &[]);
    assert!(said.code == 2 && said.out.contains("but nobody vouches for sha256:"), "{said:?}");
    let said = packed("json.tar", &["--json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, json["unvouched"].as_array().unwrap().len()), (2, 1), "{said:?}");
    // With the key of its time it is as it was.
    assert!(packed("old.tar", &["--bundle-key", &own]).ok().contains(&format!("--bundle-key {own}")));
    let old = packed("old-json.tar", &["--bundle-key", &own, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(old.ok()).unwrap()["unvouched"], json!([]));
    assert_eq!(
        std::fs::read(place.path("old.tar")).unwrap(),
        std::fs::read(place.path("plain.tar")).unwrap()
    );
}

/// Its own words on how to verify it left out by whom its bundles must be signed.
#[test]
fn what_a_pack_is_verified_by_is_said_with_all_that_it_takes() {
    let [place, rooted_place] = [Place::demo(), Place::demo()];
    let team = team(rooted_place.path("").as_path());
    rooted(&rooted_place, &team);
    let of = |place: &Place, name: &str| {
        let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
        gate.call("read_balance", json!({ "account": "acme" })).ran();
        assert!(gate.end().success());
        let said = with(&place.config_path, &["evidence", "pack", "--out", &text(&place.path(name))]);
        let line =
            said.ok().lines().find_map(|line| line.strip_prefix("verify: portcullis ")).unwrap().to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(run(&words).ok().contains(": verified\n"), "{line}");
        line
    };
    assert!(of(&place, "keys.tar").contains(" --bundle-key "));
    assert!(of(&rooted_place, "root.tar").contains(&format!(" --root-pin {}", team.1)));
}

#[test]
fn a_pack_is_held_against_the_roots_by_which_its_bundles_were_signed() {
    let place = Place::demo();
    let team = team(place.path("").as_path());
    rooted(&place, &team);
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    let (file, (root, pin, _)) = (pack(&place, "all.tar", &[]), &team);
    let said = verify(&place, &file, &["--root", root, "--root-pin", pin]);
    assert!(said.ok().contains("is signed by") && !said.out.contains("NOT LOOKED AT"), "{said:?}");
    verify(&place, &file, &["--root", root, "--root-pin", &format!("sha256:{}", "0".repeat(64))]).failed("");
    let one = place.config.signers.authority().unwrap().keys()[0].to_string();
    verify(&place, &file, &["--root", root, "--root-pin", pin, "--bundle-key", &one])
        .failed("cannot be used with");
}

#[test]
fn a_selection_has_its_records_in_full_and_the_others_counted() {
    let place = place();
    let file = pack(&place, "charges.tar", &["--surface", "demo.charge", "--agent", "demo-agent"]);
    let verified = json(&place, &file);
    let records = verified["records"].as_array().unwrap();
    let kinds = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((kinds("decision"), kinds("outcome")), (2, 2));
    assert!(records.iter().all(|record| record["kind"] != "decision" || record["surface"] == "demo.charge"));
    // A read, its outcome and a refusal.
    assert_eq!(verified["withheld"], 3);
    assert!(verify(&place, &file, &[]).out.contains("That the 3 withheld records do not match"));
    let nobody = json(&place, &pack(&place, "nobody.tar", &["--agent", "stranger-agent"]));
    assert!(nobody["records"].as_array().unwrap().iter().all(|record| record["kind"] == "event"));
}

#[test]
fn a_time_selects_a_range_with_its_neighbours() {
    let place = place();
    let log = place.log();
    // From the second charge to before the refusal.
    let times: Vec<u64> = log.records.iter().map(|record| record.time().0).collect();
    let (since, until) = (times[times.len() / 3], times[2 * times.len() / 3]);
    let file = pack(&place, "time.tar", &["--since", &since.to_string(), "--until", &until.to_string()]);
    let verified = json(&place, &file);
    let expected = times.iter().filter(|time| (since..until).contains(*time)).count();
    assert_eq!(verified["records"].as_array().unwrap().len(), expected);
    assert_eq!(verified["withheld"], 0);
    let future = json(&place, &pack(&place, "future.tar", &["--since", "2999-01-01"]));
    assert_eq!(future["first"], json!(log.records.len()));
    with(&place.config_path, &["evidence", "pack", "--since", "noon"]).failed("is no time");
    with(&place.config_path, &["evidence", "pack", "--since", "2026-11-20", "--until", "2026-11-19"])
        .failed("--until lies before --since");
}

#[test]
fn other_programs_open_a_pack_and_its_receipts_verify_by_themselves() {
    let place = place();
    let file = pack(&place, "all.tar", &[]);
    let folder = place.directory("opened");
    let opened = Command::new("tar").args(["-xf", &text(&file), "-C", &text(&folder)]).output().unwrap();
    assert!(opened.status.success() && opened.stderr.is_empty(), "{opened:?}");
    let index = std::fs::read_to_string(folder.join("evidence/index.txt")).unwrap();
    assert!(index.contains("Every record of the range is here in full"), "{index}");
    let key = std::fs::read_to_string(folder.join("evidence/keys/log.vkey")).unwrap();
    assert_eq!(key.trim(), place.config.log_key.to_string());
    let mut receipts = 0;
    for entry in std::fs::read_dir(folder.join("evidence/receipts")).unwrap() {
        assert_eq!(verify(&place, &entry.unwrap().path(), &[]).code, 0);
        receipts += 1;
    }
    assert_eq!(receipts, place.log().records.len());
}

#[test]
fn the_packs_of_the_vectors_verify_or_are_refused_as_their_manifest_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let keys = manifest["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap());
    let keys: Vec<&str> = keys.flat_map(|key| ["--key", key]).collect();
    let packs = manifest["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "pack");
    let (mut accepted, mut refused) = (0, 0);
    for case in packs {
        let file = folder.join(case["file"].as_str().unwrap());
        let said = run(&[&["verify"], keys.as_slice(), &[&text(&file)]].concat());
        let Some(error) = case["error"].as_str() else {
            let bytes = std::fs::read(&file).unwrap();
            let has_bundles = bytes.windows(17).any(|found| found == b"evidence/bundles/");
            assert!(if has_bundles { is_not_looked_at(&said) } else { said.ok().contains(": verified\n") });
            accepted += 1;
            continue;
        };
        assert!(said.code == 1 && said.out.contains("NOT VERIFIED"), "{said:?}");
        // What does not even begin as a pack is taken for a receipt.
        let is_pack = std::fs::read(&file).unwrap().starts_with(b"evidence/manifest.json");
        let error = error.trim_end_matches('…');
        assert!(!is_pack || said.out.contains(error), "{error}: {said:?}");
        refused += 1;
    }
    assert!(accepted >= 4 && refused >= 60, "{accepted} accepted, {refused} refused");
}

/// Stripped, altered, by a stranger, or of too few: what the root does not vouch for, by its exact words.
#[test]
fn the_packs_of_the_vectors_are_held_against_the_root_of_their_bundles() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let root = text(&folder.join(manifest["bundle_root"]["file"].as_str().unwrap()));
    let pin = manifest["bundle_root"]["pin"].as_str().unwrap();
    let key = manifest["keys"][0].as_str().unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for case in manifest["cases"].as_array().unwrap() {
        let Some(signatures) = case.get("signatures") else { continue };
        let file = text(&folder.join(case["file"].as_str().unwrap()));
        let said = |more: &[&str]| run(&[&["verify", "--key", key, &file, "--root", &root], more].concat());
        let (plain, json) = (said(&["--root-pin", pin]), said(&["--root-pin", pin, "--json"]));
        let json: Value = serde_json::from_str(&json.out).unwrap();
        let Some(error) = signatures["error"].as_str() else {
            assert!(plain.ok().contains(": verified\n") && plain.out.contains("is signed by"), "{plain:?}");
            assert_eq!((&json["verified"], &json["whole"]), (&json!(true), &json!(true)), "{json}");
            accepted += 1;
            continue;
        };
        assert_eq!((plain.code, &*plain.out), (1, &*format!("{file}: NOT VERIFIED: {error}\n")), "{plain:?}");
        assert_eq!(json, json!({ "file": file, "verified": false, "error": error }));
        refused += 1;
    }
    assert!(accepted >= 1 && refused >= 10, "{accepted} accepted, {refused} refused");
}
