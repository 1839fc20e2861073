//! A permit that others still hold is not spent.

use portcullis_sdk::Permit;

fn spend(permit: &Permit) {
    drop(permit.begin());
}

fn main() {}
