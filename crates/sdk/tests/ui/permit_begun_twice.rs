//! A permit is spent once.

use portcullis_sdk::{Outcomes, Permit};

fn twice(permit: Permit, outcomes: &Outcomes) {
    drop(permit.begin(outcomes));
    drop(permit.begin(outcomes));
}

fn main() {}
