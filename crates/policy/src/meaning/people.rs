//! The roster: who may be asked for approvals, in which roles, and by which keys their answers are believed.

use std::collections::BTreeMap;

use super::Tendency::{MorePermissive, Stricter, Unknown};
use super::{Changes, aligned, names};
use crate::roster::{Person, PersonKey, Roster};

pub(super) fn compare(changes: &mut Changes, old: Option<&Roster>, new: Option<&Roster>) {
    let nobody = BTreeMap::new();
    let people = |roster: Option<&Roster>| roster.map_or(&nobody, Roster::people).clone();
    let (before, after) = (people(old), people(new));
    let (came, left, stayed) = aligned(&before, &after);
    for (id, person) in came {
        let roles = names(person.roles.iter()).map_or(String::new(), |roles| roles);
        changes.at("person", id).say(MorePermissive, format!("added: may approve as {roles}"));
    }
    for (id, _) in left {
        changes.at("person", id).say(Stricter, "removed: may approve nothing any more");
    }
    for (id, (old, new)) in stayed {
        person(changes.at("person", id), old, new);
    }
}

fn person(changes: &mut Changes, old: &Person, new: &Person) {
    let Person { name, roles, keys } = old;
    if *name != new.name {
        changes.say(Unknown, format!("is called `{}`, not `{name}`: perhaps somebody else", new.name));
    }
    changes.set((roles, &new.roles), (MorePermissive, Stricter), "roles");
    let absent = |from: &[PersonKey], other: &[PersonKey]| {
        from.iter().filter(|key| !other.iter().any(|known| known.bytes() == key.bytes())).count()
    };
    match (absent(&new.keys, keys), absent(keys, &new.keys)) {
        (0, 0) => {}
        (added, 0) => changes.say(MorePermissive, format!("{added} keys more are believed to be theirs")),
        (0, gone) => changes.say(Stricter, format!("{gone} keys are not believed to be theirs any more")),
        (_, _) => {
            changes.say(Unknown, "their keys are replaced: whoever holds the new ones answers in their name")
        }
    }
}
