//! Keys, notes, checkpoints, proofs, receipts and packs: nothing verifies but what was signed.

use std::collections::BTreeMap;

use portcullis_protocol::BundleDigest;
use portcullis_verify::note::{MAX_NOTE_BYTES, signature_in_line, signature_line, signed_text};
use portcullis_verify::{
    Checkpoint, Hash, KeyName, LogKey, LogPath, PackParts, TlogProof, UnverifiedCheckpoint, UnverifiedNote,
    UnverifiedPack, UnverifiedReceipt, VerifiedPack, VerifierKey, dsse,
};
use serde_json::Value;

use crate::known::cases::{log_key, packs};
use crate::known::{KNOWN, head};

/// Names, keys, paths and signature lines have one spelling.
pub(crate) fn key(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
        let again = VerifierKey::ed25519(key.name().as_str(), key.public_key());
        assert_eq!(again.as_ref(), Ok(&key));
    }
    if let Ok(key) = text.parse::<LogKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(name) = KeyName::new(text) {
        assert!(!text.contains(['+', '\n', ' ', '\0']) && name.as_str() == text);
    }
    if let Ok(path) = text.parse::<LogPath>() {
        assert_eq!(path.to_string(), text);
    }
    for key in &KNOWN.keys {
        if let Ok(signature) = signature_in_line(text, key) {
            assert_eq!(signature_line(key, &signature), format!("{text}\n"));
        }
    }
}

/// What verifies was signed; what a signer writes is read as it was written.
pub(crate) fn note(data: &[u8]) {
    let verified = UnverifiedNote::parse(data).and_then(|note| note.verify(&KNOWN.keys));
    if let Ok(note) = verified {
        assert!(KNOWN.texts.contains(note.text()), "forged");
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if signed_text(text).is_err() {
        return;
    }
    let key = log_key();
    let note = key.note(text);
    if note.len() <= MAX_NOTE_BYTES {
        let read = UnverifiedNote::parse(note.as_bytes()).and_then(|note| note.verify(&KNOWN.keys));
        assert_eq!(read.expect("what was signed verifies").text(), text);
    }
}

/// What verifies was signed, and a claim has one text.
pub(crate) fn checkpoint(data: &[u8]) {
    let verify =
        |bytes: &[u8]| UnverifiedCheckpoint::parse(bytes).and_then(|parsed| parsed.verify(&KNOWN.keys));
    let verified = verify(data);
    let with_standing =
        UnverifiedCheckpoint::parse(data).and_then(|parsed| parsed.verify_with(&KNOWN.log_keys));
    assert_eq!(verified.is_ok(), with_standing.is_ok());
    if let Ok(verified) = verified {
        assert!(KNOWN.heads.contains(&head(&verified)), "forged");
        assert_eq!(verified.note_bytes(), data);
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let claim = text.parse::<Checkpoint>();
    if let Ok(claim) = &claim {
        assert_eq!(claim.to_string(), text);
    }
    if signed_text(text).is_ok() && text.len() < MAX_NOTE_BYTES / 2 {
        // Signed by the log's key, it verifies exactly if it is a claim about this log.
        let signed = verify(log_key().note(text).as_bytes());
        let of_the_log = claim.as_ref().is_ok_and(|claim| claim.origin == *log_key().public.name());
        assert_eq!(signed.is_ok(), of_the_log, "{signed:?}");
        assert!(signed.is_err() || signed.map(|signed| signed.checkpoint().clone()) == claim);
    }
}

/// Only the one spelling is read.
pub(crate) fn proof(data: &[u8]) {
    if let Ok(proof) = TlogProof::parse(data) {
        assert_eq!(proof.to_bytes(), data);
        assert!(proof.hashes.len() <= 64 && proof.extra.as_ref().is_none_or(|extra| extra.len() <= 65_535));
    }
}

/// What verifies is a record that was signed, at its place.
pub(crate) fn receipt(data: &[u8]) {
    let verified = UnverifiedReceipt::parse(data).and_then(|receipt| receipt.verify(&KNOWN.keys));
    let record = verified.as_ref().map_err(Clone::clone).and_then(|verified| verified.record());
    if let Ok(verified) = &verified {
        let (head, index) = (head(verified.checkpoint()), verified.index());
        assert!(KNOWN.has(&head, index, verified.record_bytes()), "forged");
        let proof = TlogProof::parse(data).expect("a receipt is a proof");
        assert_eq!(proof.to_bytes(), data);
    }
    if let Ok(record) = &record {
        assert_eq!(record.to_bytes().ok(), verified.ok().map(|verified| verified.record_bytes().to_vec()));
    }
    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(dsse::statement(text, &KNOWN.log_keys).is_ok(), record.is_ok());
    }
}

fn verify(bytes: &[u8]) -> Option<VerifiedPack> {
    let pack = UnverifiedPack::parse(bytes).and_then(|pack| pack.verify(&KNOWN.log_keys, &packs::digest_of));
    pack.ok()
}

/// What verifies holds only what was signed, and is the one spelling of it.
pub(crate) fn pack(data: &[u8]) {
    if let Some(pack) = verify(data) {
        honest(&pack, data);
    }
}

fn honest(pack: &VerifiedPack, bytes: &[u8]) {
    let head = head(pack.head());
    assert!(KNOWN.heads.contains(&head), "forged");
    for (index, record) in pack.records() {
        assert!(KNOWN.has(&head, *index, &record.to_bytes().expect("it was read")), "forged");
    }
    let (first, end) = pack.range();
    let there = u64::try_from(pack.records().len()).expect("fits");
    assert_eq!(pack.withheld() + there, end - first);
    assert!(pack.withheld() == 0 || !pack.selection().is_everything(), "something is left out of everything");
    let made = remade(bytes);
    assert!(made.is_some_and(|made| made == bytes), "the same evidence has another spelling");
}

/// The pack that is made of a container's members; `None` if that is none.
fn remade(bytes: &[u8]) -> Option<Vec<u8>> {
    let members: BTreeMap<String, Vec<u8>> = packs::split(bytes).into_iter().collect();
    let one = |name: &str| members.get(&format!("evidence/{name}")).cloned();
    let hashes =
        |name: &str| one(name).map(|bytes| bytes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect());
    let below = |folder: &str| {
        let found = members.iter().filter_map(move |(name, bytes)| {
            let stem = name.strip_prefix(&format!("evidence/{folder}/"))?.split('.').next()?;
            Some((stem.to_owned(), bytes.clone()))
        });
        found.collect::<Vec<_>>()
    };
    let receipts = |folder: &str| -> Option<BTreeMap<u64, Vec<u8>>> {
        below(folder).into_iter().map(|(stem, bytes)| Some((stem.parse().ok()?, bytes))).collect()
    };
    let digest = |stem: String| format!("sha256:{stem}").parse::<BundleDigest>().ok();
    let manifest: Value = serde_json::from_slice(&one("manifest.json")?).ok()?;
    let parts = PackParts {
        checkpoint: one("checkpoint")?,
        key: str::from_utf8(&one("keys/log.vkey")?).ok()?.trim_end().parse().ok()?,
        selection: serde_json::from_value(manifest["selection"].clone()).ok()?,
        first: manifest["first"].as_u64()?,
        leaves: hashes("range/leaves")?,
        before: hashes("range/before")?,
        after: hashes("range/after")?,
        receipts: receipts("receipts")?,
        context: receipts("context")?,
        bundles: below("bundles")
            .into_iter()
            .map(|(stem, bytes)| Some((digest(stem)?, bytes)))
            .collect::<Option<_>>()?,
    };
    parts.to_bytes(&KNOWN.log_keys, &packs::digest_of).ok()
}

/// Good packs whose members are left out, doubled, moved and altered, and listed as they are then: each two bytes of
/// the input say what to do to which member, and some of what follows goes into it.
pub(crate) fn pack_members(data: &[u8]) {
    let Some((which, mut steps)) = data.split_first() else { return };
    let pack = &KNOWN.packs[usize::from(*which) % KNOWN.packs.len()];
    let changed = packs::relisted(pack, |members| {
        while let Some(([what, member], rest)) = steps.split_first_chunk() {
            let at = usize::from(*member) % members.len();
            let (argument, rest) = rest.split_at(rest.len().min(4));
            steps = rest;
            step(members, *what, at, argument);
        }
    });
    if let Some(verified) = verify(&changed) {
        honest(&verified, &changed);
    }
    // The same with the text and the manifest that its makers would give it.
    if let Some(made) = remade(&changed) {
        honest(&verify(&made).expect("its makers verified it"), &made);
    }
}

fn step(members: &mut packs::Members, what: u8, at: usize, argument: &[u8]) {
    let mut word = [0; 4];
    word[..argument.len()].copy_from_slice(argument);
    let [place, more, byte, _] = word;
    let (place, other) = (usize::from(u16::from_le_bytes([place, more])), usize::from(place));
    if at == 0 || members[at].0.ends_with("manifest.json") {
        // Of the manifest, what it claims is changed; what it lists is listed anew.
        return claim(&mut members[at].1, what, u64::from(u32::from_le_bytes(word)));
    }
    let other = 1 + other % (members.len() - 1);
    match what % 7 {
        0 if members.len() > 2 => drop(members.remove(at)),
        1 => members.insert(other, members[at].clone()),
        2 => members.swap(at, other),
        3 => members[at].1 = members[other].1.clone(),
        4 => {
            let content = &mut members[at].1;
            let end = place.min(content.len());
            content.truncate(end);
        }
        5 => {
            let content = &mut members[at].1;
            if let Some(there) = content.get_mut(place) {
                *there = byte;
            }
        }
        _ => members[at].1.extend_from_slice(argument),
    }
}

fn claim(manifest: &mut Vec<u8>, what: u8, number: u64) {
    let Ok(mut claims) = serde_json::from_slice::<Value>(manifest) else { return };
    // Times of the vectors' records are close to one another.
    let time = Value::from(1_800_000_000_000 + number % 16);
    let Some(selection) = claims.get_mut("selection").and_then(Value::as_object_mut) else { return };
    match what % 8 {
        0 => drop(selection.insert("since".to_owned(), time)),
        1 => drop(selection.insert("until".to_owned(), time)),
        2 => drop(selection.remove("since")),
        3 => drop(selection.remove("until")),
        4 => drop(selection.remove("agent")),
        5 => {
            drop(selection.insert(
                "agent".to_owned(),
                Value::from(["assistant", "clerk"][usize::from(number % 2 == 0)]),
            ))
        }
        6 => claims["first"] = Value::from(number % 16),
        _ => claims["end"] = Value::from(number % 16),
    }
    *manifest = portcullis_protocol::canonical::to_bytes(&claims).expect("it was read");
}
