//! What was given up cannot be spent.

use portcullis_sdk::Permit;

fn both(permit: Permit) {
    drop(permit.decline());
    drop(permit.begin_sending(b"{}"));
}

fn main() {}
