//! Sources of facts, and what is excepted of them.

use std::collections::BTreeMap;

use portcullis_protocol::{Coverable, SurfaceName};

use super::Tendency::{MorePermissive, Neither, Stricter, Unknown};
use super::{Changes, aligned, moved, span};
use crate::sources::Sources;
use crate::{Exception, FactSource};

pub(super) fn sources(changes: &mut Changes, old: &Sources, new: &Sources) {
    let (came, left, stayed) = aligned(old, new);
    for (name, FactSource { types, max_age_ms }) in came {
        let types = types.iter().cloned().collect::<Vec<_>>().join(", ");
        let sentence =
            format!("new: {types} come from outside the bundle, at most {} old", span(*max_age_ms));
        changes.at("facts", name).say(Unknown, sentence);
    }
    for (name, _) in left {
        changes.at("facts", name).say(Unknown, "gone: its entities come from the bundle, or from nowhere");
    }
    for (name, (FactSource { types, max_age_ms }, new)) in stayed {
        changes.at("facts", name);
        changes.set((types, &new.types), (Unknown, Unknown), "types");
        changes.grew((*max_age_ms, new.max_age_ms), "`max_age`", span, MorePermissive);
    }
}

pub(super) fn exceptions(changes: &mut Changes, old: &[Exception], new: &[Exception]) {
    let (old, new) = (by_surface(old), by_surface(new));
    let (came, left, stayed) = aligned(&old, &new);
    for ((surface, covers), exception) in came {
        let (code, age) = (covers.code(), span(exception.max_age_ms));
        let sentence = format!("new: {code} is no reason against a PERMIT, up to {age}");
        changes.at("exception", surface).say(MorePermissive, sentence);
    }
    for ((surface, covers), _) in left {
        changes.at("exception", surface).say(Stricter, format!("gone: {} refuses again", covers.code()));
    }
    for ((surface, _), (old, new)) in stayed {
        compare(changes.at("exception", surface), old, new);
    }
}

fn by_surface(all: &[Exception]) -> BTreeMap<(SurfaceName, Coverable), Exception> {
    all.iter().map(|exception| ((exception.surface.clone(), exception.covers), exception.clone())).collect()
}

fn compare(changes: &mut Changes, old: &Exception, new: &Exception) {
    let Exception { surface, covers: _, sources, max_age_ms, owner, reason, review, until } = old;
    changes.set((sources, &new.sources), (MorePermissive, Stricter), "sources");
    changes.grew((*max_age_ms, new.max_age_ms), "`max_age`", span, MorePermissive);
    if *owner != new.owner {
        changes.say(Neither, format!("{} answers for it, and {owner} no more", new.owner));
    }
    if *reason != new.reason {
        changes.say(Neither, "another reason is given for it");
    }
    if *review != new.review {
        changes.say(Neither, "it is to be looked at again at another time");
    }
    moved(changes.at("exception", &format!("{surface} until")), (*until, new.until), MorePermissive);
}
