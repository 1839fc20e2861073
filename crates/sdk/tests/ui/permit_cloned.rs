//! A permit is not cloned.

use portcullis_sdk::Permit;

fn twice(permit: &Permit) -> Permit {
    permit.clone()
}

fn main() {}
