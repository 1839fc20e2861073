//! A permit's lifetime is not prolonged.

use portcullis_sdk::{BootInstant, Permit};
use std::time::Duration;

fn prolong(permit: &mut Permit) {
    permit.expires = BootInstant::now().plus(Duration::from_secs(3600));
}

fn main() {}
