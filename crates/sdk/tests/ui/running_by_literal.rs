//! An action under way cannot be made up.

use portcullis_protocol::{Nonce, Request};
use portcullis_sdk::{Outcomes, Running};

fn forge(request: Request, outcomes: Outcomes) -> Running {
    let within = std::time::Duration::ZERO;
    Running { nonce: Nonce::from_bytes([0; 32]), request, within, outcomes, finished: false }
}

fn main() {}
