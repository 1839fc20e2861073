//! A permit is spent once.

use portcullis_sdk::Permit;

fn twice(permit: Permit) {
    drop(permit.begin());
    drop(permit.begin());
}

fn main() {}
