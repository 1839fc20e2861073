//! A verified receipt alone is no permit: its attempt must be at hand.

use portcullis_sdk::Permit;
use portcullis_verify::VerifiedReceipt;

fn forge(receipt: VerifiedReceipt) -> Permit {
    receipt.into()
}

fn main() {}
