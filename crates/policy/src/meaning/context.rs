//! Mappings: which argument policy reads under which name, and as what.

use std::collections::BTreeMap;

use portcullis_protocol::{ContextKind, ContextRule};

use super::Tendency::{MorePermissive, Stricter, Unknown};
use super::{Changes, aligned};

type Rules = BTreeMap<String, ContextRule>;

pub(super) fn compare(changes: &mut Changes, old: &Rules, new: &Rules) {
    let (came, left, stayed) = aligned(old, new);
    for (key, rule) in came {
        let what = if rule.optional { "may" } else { "must" };
        changes
            .say(Unknown, format!("context `{key}` is new: calls {what} say it, and policies may read it"));
    }
    for (key, _) in left {
        changes.say(Unknown, format!("context `{key}` is gone: no policy reads it, and no call may say it"));
    }
    for (key, (old, new)) in stayed {
        let ContextRule { kind, from, optional } = old;
        if *from != new.from {
            let place =
                |from: &Option<String>| from.clone().map_or("nowhere".to_owned(), |at| format!("`{at}`"));
            let (was, is) = (place(from), place(&new.from));
            let sentence =
                format!("context `{key}` is read from another place in the arguments: from {is}, not {was}");
            changes.say(Unknown, sentence);
        }
        if *kind != new.kind {
            let (was, is) = (kind_of(*kind), kind_of(new.kind));
            changes.say(Unknown, format!("context `{key}` is {is}, not {was}: other values are admitted"));
        }
        match (*optional, new.optional) {
            (false, true) => changes.say(MorePermissive, format!("context `{key}` may be left out")),
            (true, false) => changes.say(Stricter, format!("context `{key}` may not be left out")),
            (true, true) | (false, false) => {}
        }
    }
}

fn kind_of(kind: ContextKind) -> String {
    match kind {
        ContextKind::String => "a string".to_owned(),
        ContextKind::Integer => "an integer".to_owned(),
        ContextKind::Boolean => "a boolean".to_owned(),
        ContextKind::Decimal { scale } => format!("a decimal of scale {scale}"),
        ContextKind::Path => "a path".to_owned(),
        ContextKind::Url => "a URL".to_owned(),
        ContextKind::Strings => "a set of strings".to_owned(),
    }
}
