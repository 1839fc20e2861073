//! A permit's constructor is not the public's.

use portcullis_protocol::{Nonce, Request};
use portcullis_sdk::{BootInstant, Permit};

fn forge(request: Request) -> Permit {
    Permit::new(Nonce::from_bytes([0; 32]), request, BootInstant::now(), String::new())
}

fn main() {}
