//! What files and gates hold back for later: attempts that come late, and the heads of an anchor.

use std::collections::BTreeSet;

use portcullis_protocol::wire::LateCall;
use portcullis_protocol::{Digest, Spooled};

use crate::frame::parse;
use crate::reference::Json;
use crate::seeds::spooled;
use crate::slot::{SLOT, decode, encode};

/// Nobody who reads the same body finds other entries in it, and none of it is left out.
pub(crate) fn call(data: &[u8]) {
    let Ok(call) = LateCall::parse(data) else { return };
    let read = Json::parse(data).expect("accepted, and no JSON");
    assert!(read.has_distinct_keys() && read.is_exact());
    let Json::Object(members) = &read else { panic!("accepted: {read:?}") };
    let [(name, Json::Array(entries))] = members.as_slice() else { panic!("accepted: {members:?}") };
    assert_eq!(name, "entries");
    assert_eq!(entries.len(), call.entries.len());
    entries.iter().zip(&call.entries).for_each(|(read, entry)| says(read, entry));
    let written = serde_json::to_vec(&call).expect("what was read can be written");
    assert!(LateCall::parse(&written).is_ok_and(|again| again == call), "read otherwise when it is written");
}

fn says(read: &Json, entry: &Spooled) {
    let attempted = read.last("attempted").expect("what was attempted");
    let told = |from: &Json, name: &str| match from.last(name) {
        Some(Json::Text(text) | Json::Number(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let resource = attempted.last("resource").expect("a resource");
    let found = [
        told(read, "spool"),
        told(read, "number"),
        told(attempted, "at"),
        told(attempted, "reason"),
        told(attempted, "agent"),
        told(attempted, "gate"),
        told(attempted, "attempt"),
        told(attempted, "surface"),
        told(attempted, "action"),
        told(attempted, "request"),
        told(resource, "type"),
        told(resource, "id"),
    ];
    let named = attempted.last("acts_for").map(|_| told(attempted, "acts_for"));
    assert_eq!(named, entry.attempted.acts_for.as_ref().map(ToString::to_string));
    let Spooled { spool, number, attempted } = entry;
    let said = [
        spool.to_string(),
        number.to_string(),
        attempted.at.0.to_string(),
        attempted.reason.to_string(),
        attempted.agent.to_string(),
        attempted.gate.to_string(),
        attempted.attempt.to_string(),
        attempted.surface.to_string(),
        attempted.action.to_string(),
        attempted.request.to_string(),
        attempted.resource.kind.clone(),
        attempted.resource.id.clone(),
    ];
    assert_eq!(found, said);
}

/// Every byte of a spool's file is an entry's, damage, or torn; none is passed over, and no entry is made up.
pub(crate) fn spool(data: &[u8]) {
    let content = parse(data);
    let known: BTreeSet<u64> = spooled().iter().map(|entry| entry.number).collect();
    for entry in &content.entries {
        assert!(known.contains(&entry.number) && spooled().contains(entry), "forged: {entry:?}");
    }
    accounted(data);
    // The digests keep nobody out who can write the file: whatever is written with the right ones is read as any reader
    // of JSON reads it.
    let mut file = Vec::new();
    let mut lines: Vec<&[u8]> = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        lines.push(line);
        file.extend_from_slice(format!("{} ", Digest::sha256(line)).as_bytes());
        file.extend_from_slice(line);
        file.push(b'\n');
    }
    let mut entries = parse(&file).entries.into_iter();
    for line in lines {
        let Ok(entry) = serde_json::from_slice::<Spooled>(line) else { continue };
        assert_eq!(entries.next().as_ref(), Some(&entry));
        let read = Json::parse(line).expect("accepted, and no JSON");
        assert!(read.has_distinct_keys());
        says(&read, &entry);
    }
    assert_eq!(entries.next(), None, "made up");
    accounted(&file);
}

fn accounted(file: &[u8]) {
    let content = parse(file);
    let is_entry = |line: &&[u8]| parse(line).entries.len() == 1;
    let entered: usize = file.split_inclusive(|byte| *byte == b'\n').filter(is_entry).map(<[u8]>::len).sum();
    let rest = content.unreadable.checked_add(content.torn).expect("less than a file");
    assert_eq!(entered, file.len() - usize::try_from(rest).expect("less than a file"));
}

/// A slot of an anchor holds what was written, in one spelling up to where the note ends; what was not written whole holds none.
pub(crate) fn anchor(data: &[u8]) {
    if let Some((turn, note)) = decode(data) {
        let Some(written) = encode(turn, &note) else { return assert!(data.len() > SLOT) };
        assert_eq!(&written[..44 + note.len()], &data[..44 + note.len()]);
    }
    let Some((turn, note)) = data.split_first_chunk::<8>() else { return };
    let turn = u64::from_be_bytes(*turn);
    let Some(slot) = encode(turn, note) else { return assert!(note.len() > SLOT - 44) };
    assert_eq!(decode(&slot), Some((turn, note.to_vec())));
    // Any changed byte of what was written, and it holds nothing.
    let at = usize::try_from(turn).expect("eight bytes") % (44 + note.len());
    let torn: Vec<u8> = slot.iter().enumerate().map(|(place, byte)| byte ^ u8::from(place == at)).collect();
    assert_eq!(decode(&torn), None);
}
