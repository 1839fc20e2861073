//! An action has one outcome.

use portcullis_protocol::Outcome;
use portcullis_sdk::Running;

fn twice(running: Running) {
    drop(running.finish(Outcome::Failed, None));
    drop(running.finish(Outcome::Ok, None));
}

fn main() {}
