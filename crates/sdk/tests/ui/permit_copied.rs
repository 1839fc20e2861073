//! A permit is not copied: whoever gave it away has it no more.

use portcullis_sdk::Permit;

fn charge(permit: Permit) {
    drop(permit.begin());
}

fn twice(permit: Permit) {
    charge(permit);
    charge(permit);
}

fn main() {}
