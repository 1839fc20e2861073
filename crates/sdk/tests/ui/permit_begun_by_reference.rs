//! A permit that others still hold is not spent.

use portcullis_sdk::{Outcomes, Permit};

fn spend(permit: &Permit, outcomes: &Outcomes) {
    drop(permit.begin(outcomes));
}

fn main() {}
