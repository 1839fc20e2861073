//! An attempt is not cloned: two of it would be two permits of one receipt.

use portcullis_sdk::Attempt;

fn twice(attempt: &Attempt) -> Attempt {
    attempt.clone()
}

fn main() {}
