//! There is no default permit.

use portcullis_sdk::Permit;

fn forge() -> Permit {
    Permit::default()
}

fn main() {}
