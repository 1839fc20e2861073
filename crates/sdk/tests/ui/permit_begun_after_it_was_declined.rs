//! What was given up cannot be spent.

use portcullis_sdk::{Outcomes, Permit};

fn both(permit: Permit, outcomes: &Outcomes) {
    drop(permit.decline());
    drop(permit.begin_sending(b"{}", outcomes));
}

fn main() {}
