//! Names that differ and may yet mean the same to the next parser.

use std::collections::BTreeMap;

use crate::json::{Loose, unescape};
use crate::reason::ReasonCode;

/// A name as a parser that ignores case compares it. Lower case alone leaves `ſ` beside `s`, upper case alone the
/// Kelvin sign beside `k`, and both without the first step `ẞ` beside `ß`.
#[must_use]
pub fn fold(name: &str) -> String {
    name.to_lowercase().to_uppercase().to_lowercase()
}

/// A name of a-z, 0-9, `.`, `_` and `-` as it looks: two names of one skeleton are easily taken for each other.
#[must_use]
pub fn skeleton(name: &str) -> String {
    let shapes = name.replace("rn", "m").replace("vv", "w").replace("cl", "d");
    let shape = |letter| match letter {
        '0' => 'o',
        '1' | 'i' => 'l',
        '5' => 's',
        '.' | '_' => '-',
        other => other,
    };
    fold(&shapes).chars().map(shape).collect()
}

/// Refuses, in each object from which the pointer takes a member, two keys that fold to one and any spelling of
/// the member's key but the declared one: a tool that ignores case would read the other, or would read what
/// policy found missing.
pub(crate) fn refuse_other_spellings(arguments: &Loose, pointer: &str) -> Result<(), ReasonCode> {
    for (at, _) in pointer.match_indices('/') {
        let (parent, rest) = pointer.split_at(at);
        let Some(Loose::Object(members)) = arguments.pointer(parent) else { continue };
        let token = rest.split('/').nth(1).map_or_else(String::new, unescape);
        let mut spellings = BTreeMap::from([(fold(&token), &token)]);
        for key in members.keys() {
            if spellings.insert(fold(key), key).is_some_and(|other| other != key) {
                return Err(ReasonCode::RequestAmbiguousKey);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "spelling_tests.rs"]
mod tests;
