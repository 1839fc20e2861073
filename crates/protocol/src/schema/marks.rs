//! Which keys of a value are declared, as it is found out.

use std::collections::BTreeMap;

use super::{Meter, STEP, Stop};

/// What the schemas that a value is right by say of its members.
#[derive(Default)]
pub(super) struct Marks<'v> {
    /// Whether any of them says which members there are.
    pub(super) says: bool,
    pub(super) members: BTreeMap<&'v str, Marks<'v>>,
    pub(super) elements: BTreeMap<usize, Marks<'v>>,
}

impl Marks<'_> {
    pub(super) fn merge(&mut self, other: Self, meter: &mut Meter) -> Result<(), Stop> {
        self.says |= other.says;
        if self.members.is_empty() {
            self.members = other.members;
        } else {
            for (key, marks) in other.members {
                meter.look_for(key)?;
                self.members.entry(key).or_default().merge(marks, meter)?;
            }
        }
        if self.elements.is_empty() {
            self.elements = other.elements;
        } else {
            for (index, marks) in other.elements {
                meter.spend(STEP)?;
                self.elements.entry(index).or_default().merge(marks, meter)?;
            }
        }
        Ok(())
    }
}
