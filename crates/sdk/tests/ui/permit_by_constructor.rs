//! A permit's constructor is not the public's.

use portcullis_protocol::{Nonce, Request};
use portcullis_sdk::{BootInstant, Permit};

fn forge(request: Request) -> Permit {
    let times = (BootInstant::now(), std::time::Duration::ZERO);
    Permit::new(Nonce::from_bytes([0; 32]), request, times, (String::new(), None))
}

fn main() {}
