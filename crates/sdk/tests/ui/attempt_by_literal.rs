//! An attempt's nonce is random, never chosen.

use portcullis_protocol::{Digest, GateId, Nonce, Request, Salt};
use portcullis_sdk::{Attempt, BootInstant};

fn choose(gate: GateId, request: Request, commitment: Digest) -> Attempt {
    Attempt {
        nonce: Nonce::from_bytes([0; 32]),
        salt: Salt::from_bytes([0; 32]),
        gate,
        request,
        commitment,
        started: BootInstant::now(),
    }
}

fn main() {}
