//! `[roster]` of `bundle.toml`: who may be asked for approvals. People, the roles they hold, and the public keys that
//! their answers are checked with. It is signed with the bundle, so that a server cannot enrol an approver of its own.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    ApprovalNeed, Digest, Domain, PersonId, PolicyId, RoleName, canonical, fold, skeleton,
};
use serde::{Deserialize, Serialize};

use crate::annotations::Annotations;

mod key;

pub use key::PersonKey;

/// The most people in a roster, and the most keys of one of them.
const MAX_PEOPLE: usize = 10_000;
const MAX_KEYS: usize = 16;

/// The people of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RosterText")]
pub struct Roster {
    people: BTreeMap<PersonId, Person>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// How people call them.
    pub name: String,
    /// The roles that they hold, sorted.
    pub roles: Vec<RoleName>,
    /// The public keys that check what they say. None of them is anybody else's.
    pub keys: Vec<PersonKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RosterText {
    people: BTreeMap<PersonId, Person>,
}

impl TryFrom<RosterText> for Roster {
    type Error = String;

    fn try_from(text: RosterText) -> Result<Self, String> {
        let mut people = text.people;
        if people.is_empty() || people.len() > MAX_PEOPLE {
            return Err(format!("a roster has 1 to {MAX_PEOPLE} people"));
        }
        for (id, person) in &mut people {
            person.check().map_err(|message| format!("person `{id}`: {message}"))?;
            person.roles.sort();
        }
        refuse_doubles(&people)?;
        Ok(Self { people })
    }
}

impl Person {
    fn check(&self) -> Result<(), String> {
        if !is_display_name(&self.name) {
            return Err("`name` is 1 to 128 visible characters, without blanks around them".to_owned());
        }
        if self.roles.is_empty() {
            return Err("`roles` is empty: nobody would ever ask them".to_owned());
        }
        if self.roles.iter().collect::<BTreeSet<_>>().len() != self.roles.len() {
            return Err("`roles` names one twice".to_owned());
        }
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            return Err(format!(
                "`keys` has 1 to {MAX_KEYS}: without one, nothing they say could be checked"
            ));
        }
        Ok(())
    }
}

/// A name that shows as it is: nothing invisible in it, nothing that turns the direction of the text.
fn is_display_name(name: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}'
                    | '\u{34f}'
                    | '\u{61c}'
                    | '\u{115f}'
                    | '\u{1160}'
                    | '\u{180e}'
                    | '\u{3164}'
                    | '\u{feff}'
                    | '\u{ffa0}'
            )
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
            || ('\u{fe00}'..='\u{fe0f}').contains(&c)
            || ('\u{e0000}'..='\u{e0fff}').contains(&c)
    };
    !name.is_empty() && name.len() <= 128 && name.trim() == name && !name.chars().any(hidden)
}

fn refuse_doubles(people: &BTreeMap<PersonId, Person>) -> Result<(), String> {
    let (mut looks, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut keys = BTreeMap::new();
    for (id, person) in people {
        if let Some(other) = looks.insert(skeleton(id.as_str()), id) {
            return Err(format!("people `{other}` and `{id}` look alike"));
        }
        if let Some(other) = names.insert(fold(&person.name), id) {
            return Err(format!("people `{other}` and `{id}` have the same name"));
        }
        for key in &person.keys {
            match keys.insert(key.bytes(), id) {
                Some(other) if other == id => return Err(format!("person `{id}` has a key twice")),
                Some(other) => return Err(format!("people `{other}` and `{id}` share a key")),
                None => {}
            }
        }
    }
    let mut roles = BTreeMap::new();
    for role in people.values().flat_map(|person| &person.roles) {
        if let Some(other) = roles.insert(skeleton(role.as_str()), role).filter(|other| *other != role) {
            return Err(format!("roles `{other}` and `{role}` look alike"));
        }
    }
    Ok(())
}

impl Roster {
    /// The people by their ids.
    #[must_use]
    pub const fn people(&self) -> &BTreeMap<PersonId, Person> {
        &self.people
    }

    /// SHA-256 over the roster's canonical JSON (RFC 8785), in a domain of its own: what a verifier pins. `None` if it has
    /// no canonical form, which no roster that was read is without.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let bytes = canonical::to_bytes(self).ok()?; // tidy: allow None is shown as no digest, and equals no pin
        Some(Digest::of(Domain::Roster, &[&bytes]))
    }

    fn holders<'a>(&'a self, roles: &'a BTreeSet<RoleName>) -> impl Iterator<Item = &'a PersonId> {
        let holds = |person: &Person| person.roles.iter().any(|role| roles.contains(role));
        self.people.iter().filter(move |(_, person)| holds(person)).map(|(id, _)| id)
    }
}

/// Looks whether every approval that a grant asks for can be given at all. The first that cannot, and why.
pub(crate) fn unanswerable(
    roster: Option<&Roster>,
    annotations: &BTreeMap<PolicyId, Annotations>,
) -> Option<(PolicyId, String)> {
    annotations.iter().find_map(|(policy, annotations)| {
        let needs = annotations.obligations.approvals.iter();
        needs.into_iter().find_map(|need| lacking(roster, need)).map(|message| (policy.clone(), message))
    })
}

fn lacking(roster: Option<&Roster>, need: &ApprovalNeed) -> Option<String> {
    let Some(roster) = roster else {
        return Some(
            "it needs an approval, and the bundle has no `[roster]` of people who could give it".to_owned(),
        );
    };
    let held = |role: &&RoleName| roster.people.values().any(|person| person.roles.contains(role));
    if let Some(role) = need.roles.iter().find(|role| !held(role)) {
        return Some(format!("it asks for role `{role}`, which nobody in the roster holds"));
    }
    let holders = roster.holders(&need.roles).count();
    let enough = u64::try_from(holders).is_ok_and(|holders| holders >= need.quorum);
    (!enough).then(|| format!("it asks {} people, and only {holders} hold its roles", need.quorum))
}

/// A person who is called like an agent could be taken for it, where who asks and who approves must differ.
pub(crate) fn agents_namesake(roster: &Roster, agents: &[String]) -> Option<(PersonId, String)> {
    let looks: BTreeMap<String, &String> = agents.iter().map(|agent| (skeleton(agent), agent)).collect();
    let namesake =
        |id: &PersonId| looks.get(&skeleton(id.as_str())).map(|agent| (id.clone(), (*agent).clone()));
    roster.people.keys().find_map(namesake)
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
