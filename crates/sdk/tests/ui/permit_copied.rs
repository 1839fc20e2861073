//! A permit is not copied: whoever gave it away has it no more.

use portcullis_sdk::{Outcomes, Permit};

fn charge(permit: Permit, outcomes: &Outcomes) {
    drop(permit.begin(outcomes));
}

fn twice(permit: Permit, outcomes: &Outcomes) {
    charge(permit, outcomes);
    charge(permit, outcomes);
}

fn main() {}
