//! A permit's request is not exchanged.

use portcullis_protocol::Request;
use portcullis_sdk::Permit;

fn exchange(mut permit: Permit, other: Request) -> Permit {
    permit.request = other;
    permit
}

fn main() {}
