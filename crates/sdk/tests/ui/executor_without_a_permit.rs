//! An executor that takes a permit does not run without one.

use portcullis_protocol::Request;
use portcullis_sdk::{Attempt, Outcomes, Permit, Running};

fn charge(permit: Permit, outcomes: &Outcomes) {
    drop(permit.begin(outcomes));
}

fn send(running: &Running) -> &Request {
    running.request()
}

fn without(attempt: Attempt, request: Request, permit: Permit, outcomes: &Outcomes) {
    charge(outcomes);
    charge(attempt, outcomes);
    charge(request, outcomes);
    send(&permit);
}

fn main() {}
