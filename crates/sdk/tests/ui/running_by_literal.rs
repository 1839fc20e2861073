//! An action under way cannot be made up.

use portcullis_protocol::{Nonce, Request};
use portcullis_sdk::Running;

fn forge(request: Request) -> Running {
    Running { nonce: Nonce::from_bytes([0; 32]), request }
}

fn main() {}
