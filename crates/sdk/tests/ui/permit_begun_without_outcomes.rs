//! A permit is not spent where nobody knows whether the outcomes before it are on record.

use portcullis_sdk::Permit;

fn spend(permit: Permit) {
    drop(permit.begin());
}

fn main() {}
