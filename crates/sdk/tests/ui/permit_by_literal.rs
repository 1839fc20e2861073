//! A permit cannot be put together from parts.

use portcullis_sdk::Permit;

fn forge(genuine: &Permit) -> Permit {
    Permit {
        nonce: portcullis_protocol::Nonce::from_bytes([0; 32]),
        request: genuine.request().clone(),
        expires: portcullis_sdk::BootInstant::now(),
        within: std::time::Duration::ZERO,
        receipt: genuine.receipt().to_owned(),
        exception: None,
    }
}

fn main() {}
