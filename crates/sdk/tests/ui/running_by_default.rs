//! There is no default action under way.

use portcullis_sdk::Running;

fn forge() -> Running {
    Running::default()
}

fn main() {}
