//! An action under way is not cloned.

use portcullis_sdk::Running;

fn twice(running: &Running) -> Running {
    running.clone()
}

fn main() {}
