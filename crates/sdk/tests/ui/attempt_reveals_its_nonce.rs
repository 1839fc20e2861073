//! An attempt's nonce does not leave it before it is spent.

use portcullis_protocol::Nonce;
use portcullis_sdk::Attempt;

fn take(attempt: &Attempt) -> &Nonce {
    &attempt.nonce
}

fn main() {}
